"""In-memory twins of the network for testing the protocol without a socket."""
