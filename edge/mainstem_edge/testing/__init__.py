"""Parts for tests of the edge: fake connections, a template to try things on, a gated disk."""
