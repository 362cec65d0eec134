"""InfluxDB line protocol: text into columns, and columns into the rows of templates."""
