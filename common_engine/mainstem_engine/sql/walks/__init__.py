"""Walks: operations over rows in order of time, between Arrow tables and `analysis`."""
