"""The topology file: from YAML to frozen structs; every message has file, line and remedy."""

from __future__ import annotations

from mainstem_node.config.loader import check, load_topology
from mainstem_node.config.schema import NodeConfig, TemplateConfig, Topology
from mainstem_node.config.schema_json import config_schema
from mainstem_node.config.units import conversion, duration_name
from mainstem_node.errors import ConfigError, ConfigProblem

__all__ = [
    "Topology",
    "NodeConfig",
    "TemplateConfig",
    "load_topology",
    "check",
    "config_schema",
    "conversion",
    "duration_name",
    "ConfigError",
    "ConfigProblem",
]
