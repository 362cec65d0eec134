"""Topology YAML to typed configuration."""
