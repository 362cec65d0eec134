"""What an engine and a directory say about themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, NotFoundError, Template, directory_statistics


@pytest.fixture
def filled(open_engine: Any, meters: Template) -> Engine:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.write("meters", "root.a.d1", [1, 2], {"voltage": [1, 2]}).wait()
    engine.flush()
    engine.write("meters", "root.a.d2", [3], {"voltage": [3]}).wait()
    return engine


def contents(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_an_open_engine(filled: Engine) -> None:
    found = filled.statistics()
    assert (found.parts, found.head_rows, found.devices) == (1, 1, 2)
    assert found.durability == "os"
    assert found.applied_lsn - found.checkpoint_lsn == 2
    assert found.damages == ()
    table = found.tables["meters"]
    assert (table.devices, table.head_rows, table.parts, table.part_rows) == (2, 1, 1, 2)
    assert (table.time_min_ns, table.time_max_ns) == (1_000_000, 2_000_000)
    assert table.part_bytes == found.part_bytes > 0
    assert table.head_bytes == found.head_bytes > 0
    assert found.housekeeping.flushes == 1
    assert found.housekeeping.last_flush_ns > 0
    assert found.log.appended_lsn == found.applied_lsn
    assert found.memory.used["head"] == found.head_bytes
    assert sum(found.memory.limits.values()) <= filled.options.memory_limit_bytes


def test_a_directory_is_read_while_it_is_owned_and_left_as_it_is(filled: Engine) -> None:
    before = contents(filled.path)
    found = directory_statistics(filled.path)
    assert contents(filled.path) == before
    assert found.node_uuid == filled.node_uuid
    assert (found.rows, found.parts, found.devices) == (2, 1, 1)
    assert (found.databases, found.templates) == (("root.a",), ("meters",))
    assert found.last_lsn == filled.applied_lsn
    assert found.checkpoint_lsn == found.first_lsn - 1
    assert (found.log_segments, found.damages) == (1, ())
    assert found.log_bytes > 0
    assert found.tables["meters"].part_rows == 2


def test_an_empty_directory(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    engine.abandon()
    found = directory_statistics(str(tmp_path / "data"))
    assert (found.rows, found.devices, found.templates, found.damages) == (0, 0, (), ())


def test_what_is_not_a_data_directory(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"identity\.json"):
        directory_statistics(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "offset"),
    [
        ("identity.json", 2),
        ("part-list", 3),
        ("parts/*.part", -40),
        ("checkpoint/*.ckpt", -1),
        ("log/*.log", 3),
    ],
)
def test_damage_is_listed_and_nothing_is_raised(filled: Engine, pattern: str, offset: int) -> None:
    filled.close()
    for path in filled.path.glob(pattern):
        data = bytearray(path.read_bytes())
        data[offset] ^= 0x55
        path.write_bytes(data)
    found = directory_statistics(filled.path)
    assert found.damages


def test_damaged_records_are_listed(filled: Engine) -> None:
    for i in range(3):
        filled.write("meters", "root.a.d2", [10 + i], {"voltage": [3]}).wait()
    filled.abandon()
    (path, *_) = [p for p in filled.path.glob("log/*.log") if p.stat().st_size > 64]
    data = bytearray(path.read_bytes())
    data[64 + 200] ^= 0xFF
    path.write_bytes(data)
    (damage,) = directory_statistics(filled.path).damages
    assert "records" in damage


def test_where_the_bytes_of_a_table_are(filled: Engine) -> None:
    filled.close()
    table = directory_statistics(filled.path).tables["meters"]
    assert {column.column for column in table.columns} == {"(time)", "(origin)", "(lsn)", "voltage"}
    voltage = [column for column in table.columns if column.column == "voltage"]
    assert {(column.encoding, column.values) for column in voltage} == {
        ("PLAIN", 2),
        ("CONSTANT", 1),
    }
    assert {column.bytes_per_value for column in voltage} == {4}
    assert table.part_values == 3
    assert table.bytes_per_point == table.part_bytes / 3
    assert 0 < sum(column.bytes for column in table.columns) < table.part_bytes
