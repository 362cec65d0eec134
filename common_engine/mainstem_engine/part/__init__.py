"""Immutable files of sorted rows, and the list that says which exist."""
