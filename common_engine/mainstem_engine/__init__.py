"""Mainstem's storage engine."""
