"""What an edge can do for commands."""
