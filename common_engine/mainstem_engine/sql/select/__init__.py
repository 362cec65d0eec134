"""What the parts of a SELECT mean: tables, columns, times, calls, keys. Nothing here plans."""
