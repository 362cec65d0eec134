"""The federation protocol between a child tier and its parent."""
