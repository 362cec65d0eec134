"""The way in: limits, scope, ids, what is put aside, one record, the acknowledgement."""
