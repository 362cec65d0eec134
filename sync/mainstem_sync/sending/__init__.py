"""The way up: what is owed, in which order, under which budget, and what became of it."""
