"""What a configuration lets go up."""

from __future__ import annotations

from pathlib import Path

from mainstem_node.config.kinds import Listen
from mainstem_node.config.schema import ExportConfig, NodeConfig
from mainstem_node.reconfiguring import exports_of
from mainstem_sync import Export


def test_alarms_go_before_all_else_and_nothing_else_does() -> None:
    rules = (
        ExportConfig(template="press_machine", mode="raw", under="root.a"),
        ExportConfig(template="press_machine", mode="rollup", every=60 * 10**9),
        ExportConfig(template="alarms", mode="raw"),
    )
    place = Path("data")
    config = NodeConfig(
        id="press", tier="edge", listen=Listen("127.0.0.1", 0), data_dir=place, export=rules
    )
    assert exports_of(config) == [
        Export("press_machine", under="root.a"),
        Export("press_machine", "rollup", "1m"),
        Export("alarms", urgent=True),
    ]
