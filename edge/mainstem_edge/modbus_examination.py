"""What ``mainstem doctor`` looks at of a Modbus line: that it can be opened.

Nothing is asked of the devices, and a serial port is not opened: a node that runs has it.
"""

from __future__ import annotations

import os
from pathlib import Path

from mainstem_edge.assembly.modbus import line_settings
from mainstem_edge.modbus.errors import LineError
from mainstem_edge.modbus.line import Line
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig
from mainstem_node.doctor.finding import BAD, FINE, Finding


def examine_line(node: str, check: str, config: ModbusCollectorConfig) -> Finding:
    """Raises OSError for a file of `tls` that cannot be read."""
    settings = line_settings(config)
    if settings.scheme == "serial" and os.name == "posix":
        return _examine_port(node, check, Path(settings.place))
    line = Line(settings)
    try:
        line.open()
    except LineError as error:
        return Finding(node, check, BAD, error.message, "start it, or correct `url` and `tls`")
    line.close()
    return Finding(node, check, FINE, f"{settings} answers")


def _examine_port(node: str, check: str, port: Path) -> Finding:
    if not port.exists():
        return Finding(
            node, check, BAD, f"there is no {port}", "plug the adapter in, or correct `url`"
        )
    if not os.access(port, os.R_OK | os.W_OK):
        return Finding(
            node, check, BAD, f"{port} may not be opened",
            "put the user of the node into the group that owns it, often dialout",
        )  # fmt: skip
    return Finding(node, check, FINE, f"{port} is there and may be opened")
