"""Statements that change rows and tags: INSERT, DELETE, SET TAG."""
