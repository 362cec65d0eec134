"""What options of a database do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.conftest import OpenEngine

from mainstem_engine import ColumnType, Measurement, Template
from mainstem_engine.catalog.database_options import (
    check_options,
    extends_templates,
    least_flush_every_ns,
    part_settings,
)
from mainstem_engine.catalog.databases import Database
from mainstem_engine.errors import SchemaError

S = 10**9


def database(**options: str) -> Database:
    return Database("root.a", options=options)


def test_options_are_checked() -> None:
    check_options({"block_rows": "8", "compression": "zstd", "flush_every": "90s", "other": "x"})
    for name, wrong in [
        ("block_rows", "7"),
        ("block_rows", "many"),
        ("compression", "GZIP"),
        ("flush_every", "0s"),
        ("flush_every", "soon"),
        ("auto_extend", "yes"),
    ]:
        with pytest.raises(SchemaError, match=name) as caught:
            check_options({name: wrong})
        assert caught.value.field == name


def test_the_least_interval_counts() -> None:
    some = [database(), database(flush_every="5m"), database(flush_every="20")]
    assert least_flush_every_ns(some, 60 * S) == 20 * S
    assert least_flush_every_ns(some, 5 * S) == 5 * S
    assert least_flush_every_ns(some[:2], 0) == 300 * S
    assert least_flush_every_ns(some[:1], 0) == 0


def test_a_named_compression_stays() -> None:
    kinds = (
        Measurement(0, "a", ColumnType.INT32),
        Measurement(1, "b", ColumnType.INT32, compression="LZ4"),
    )
    found, rows = part_settings(database(compression="snappy"), Template("t", kinds), 4096)
    assert [found[0].compression, found[1].compression, rows] == ["SNAPPY", "LZ4", 4096]
    assert part_settings(database(block_rows="512"), Template("t", kinds), 4096)[1] == 512
    assert extends_templates(database(auto_extend="ON"))
    assert not extends_templates(database())
    assert not extends_templates(None)


def test_parts_of_a_database_are_written_as_it_says(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.create_database("root.a", block_rows=1000, compression="LZ4")
    engine.create_database("root.b")
    engine.create_template(Template("t", (Measurement(0, "w", ColumnType.TEXT),)))
    words = [f"word {n % 97}" for n in range(4000)]
    for path in ("root.a.d", "root.b.d"):
        engine.write("t", path, list(range(4000)), {"w": words}).wait()
    engine.flush()
    blocks: dict[str, Any] = {}
    for part in engine._store.inventory.of_table("t"):
        path = engine.catalog.devices.path(part.meta.device_min)
        blocks[path] = part.blocks.rows.tolist()  # type: ignore[union-attr]
    assert blocks == {"root.a.d": [1000] * 4, "root.b.d": [4000]}
    engine.compact()
    assert engine.scan("t").read_all().num_rows == 8000
