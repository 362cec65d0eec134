"""Changes of alarms, told to others: kept until they are, or are too old."""
