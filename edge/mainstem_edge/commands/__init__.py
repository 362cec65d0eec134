"""What the edge adds to the ``mainstem`` command: looking at sources before they are collected,
and trying alarm rules.

One file per command. Their modules import only typer at the top, as all command modules do.
"""

from collections.abc import Mapping

import typer

from mainstem_edge.commands import modbus, opcua, rule

APPS: Mapping[str, typer.Typer] = {"modbus": modbus.app, "opcua": opcua.app, "rule": rule.app}
"""By the name of the command; found by ``mainstem_node.commands.of_tiers``."""
