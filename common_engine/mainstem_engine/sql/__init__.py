"""The SQL front end: our dialect in, engine scans and DuckDB behind."""
