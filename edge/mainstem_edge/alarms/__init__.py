"""Alarm rules: what is watched while rows come in, and what is written of it."""
