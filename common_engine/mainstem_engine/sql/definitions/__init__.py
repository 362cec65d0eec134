"""Statements that define: databases, templates, tables, devices, and their removal."""
