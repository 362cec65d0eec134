"""From the tree of a SELECT to a plan: what is scanned, and the program that runs over it."""
