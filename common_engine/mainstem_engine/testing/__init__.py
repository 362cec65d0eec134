"""Tools for testing an engine: a faulty file system, clocks, strategies, a reference model."""
