"""The bytes of the protocol: frames, the messages in them, batches of records."""
