"""Databases, templates, devices and tags."""

from __future__ import annotations

from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.names import canonical_path, database_path, split_path
from mainstem_engine.catalog.templates import Table

__all__ = ["Catalog", "Database", "Table", "canonical_path", "database_path", "split_path"]
