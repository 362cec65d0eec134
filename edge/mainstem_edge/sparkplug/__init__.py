"""Sparkplug B 3.0, as a host application: payloads, the state of each edge node, and commands."""
