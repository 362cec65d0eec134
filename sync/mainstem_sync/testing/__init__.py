"""For tests: a network in memory, nodes on real engines, a seeded simulation."""
