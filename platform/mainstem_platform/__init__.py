"""The factory platform."""
