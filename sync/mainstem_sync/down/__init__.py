"""The way down: what a tier wants of the nodes below it, how it gets there, what became of it."""
