"""One file per payload codec."""
