"""Where samples come from: one file per protocol."""
