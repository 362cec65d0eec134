"""The keys of ``link:`` and what they come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_node.config.loader import check, load_topology
from mainstem_node.link_budget import link_budget

NODE = """
federation: acme
nodes:
  - {{id: group, tier: group, listen: "127.0.0.1:0", data_dir: group}}
  - id: plant
    tier: platform
    listen: 127.0.0.1:0
    data_dir: plant
    parent: {{node: group, url: "http://127.0.0.1:1"}}
    link: {link}
"""
FRIDAY_NOON_NS = 1_795_172_400 * 1_000_000_000
"""2026-11-20, 12:00 in Berlin."""


def topology(tmp_path: Path, link: str) -> Path:
    path = tmp_path / "topology.yaml"
    path.write_text(NODE.format(link=link))
    return path


@pytest.mark.parametrize(
    ("link", "bytes_per_s"),
    [
        ("{}", None),
        ("{limit: 1Mbit/s}", 125_000),
        ("{windows: [{from: '08:00', to: '18:00', limit: 256kbit/s}]}", 32_000),
        ("{limit: 1Mbit/s, windows: [{from: '18:00', to: '08:00', limit: 0bit/s}]}", 125_000),
        (
            "{limit: 1Mbit/s, windows: [{days: 'sat,fri', from: '12:00', to: '12:01',"
            " zone: Europe/Berlin, limit: 0bit/s}]}",
            0,
        ),
    ],
)
def test_the_rate_that_holds(tmp_path: Path, link: str, bytes_per_s: float | None) -> None:
    path = topology(tmp_path, link)
    assert check(path, env={}) == []
    node = load_topology(path).nodes[1]
    assert link_budget(node.link, lambda: FRIDAY_NOON_NS).bytes_per_s() == bytes_per_s


@pytest.mark.parametrize("days", ["mon-tue-wed", "monday", "mon-"])
def test_days_that_are_none_are_found_by_check(tmp_path: Path, days: str) -> None:
    window = f"{{days: {days}, from: '08:00', to: '18:00', limit: 8bit/s}}"
    problems = check(topology(tmp_path, f"{{windows: [{window}]}}"), env={})
    assert len(problems) == 1
    assert "days" in str(problems[0])
