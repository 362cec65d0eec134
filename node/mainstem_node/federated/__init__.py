"""Questions to the nodes below: what is not held here is asked for, and put with the rest."""
