"""How one column of one block becomes bytes and back."""
