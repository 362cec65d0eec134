"""Configuration that comes from above: documents, their revisions, and how one takes effect."""
