"""SELECTs with clauses and functions of time become SELECTs over walks."""
