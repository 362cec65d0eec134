"""What a node knows of the federation, folded from its own log."""
