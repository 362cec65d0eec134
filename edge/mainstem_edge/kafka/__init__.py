"""Kafka: how far each partition has come, what is remembered of it, and where records stand."""
