"""A fleet in virtual time: the real protocol at every node, the upper tiers in processes of their
own so that what they spend can be metered. What it is for is told in fleet.py."""
