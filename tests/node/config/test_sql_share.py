"""Limits of statements follow the memory of a small node."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.node.doctor.test_checks import topology

from mainstem_node.config.schema import MIB
from mainstem_node.config.sql_share import sql_share


def test_a_node_with_the_default_has_what_the_file_says(tmp_path: Path) -> None:
    node = topology(tmp_path, "    sql: {read: {result_limit: 1GiB}}\n").nodes[0]
    assert sql_share(node) is node.sql


@pytest.mark.parametrize(
    ("limit", "database", "result"), [("192MiB", 64, 32), ("96MiB", 32, 16), ("48MiB", 32, 8)]
)
def test_a_small_node_has_a_share_of_its_memory(
    tmp_path: Path, limit: str, database: int, result: int
) -> None:
    node = topology(tmp_path, f"    storage: {{memory_limit: {limit}}}\n").nodes[0]
    share = sql_share(node)
    assert share.processes == 1
    for role in (share.admin, share.write, share.read):
        assert (role.memory_limit, role.result_limit) == (database * MIB, result * MIB)
        assert role.concurrency == 1


def test_what_the_file_allows_less_stays_so(tmp_path: Path) -> None:
    text = "    storage: {memory_limit: 96MiB}\n    sql: {read: {result_limit: 2MiB}}\n"
    read = sql_share(topology(tmp_path, text).nodes[0]).read
    assert (read.result_limit, read.row_limit) == (2 * MIB, 1_000_000)
