"""Databases, templates, devices and tags."""
