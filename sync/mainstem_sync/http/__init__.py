"""The protocol over HTTP: the only part that knows an event loop."""
