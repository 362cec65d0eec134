"""The log: durable, ordered, chained. Everything else is derived from it."""
