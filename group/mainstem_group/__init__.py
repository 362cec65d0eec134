"""The group: the whole organisation."""
