"""What a file says of each kind of collector."""
