"""Files that others write: which are complete, where they stand, what of them is stored."""
