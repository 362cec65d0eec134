"""The metadata budget: what fits, what waits for a merge, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template
from mainstem_engine.catalog.budget import default_metadata_bytes
from mainstem_engine.errors import MetadataLimitError, SchemaError

OpenEngine = Callable[..., Engine]


def wide(name: str, measurements: int = 100) -> Template:
    columns = tuple(Measurement(0, f"m{i}", ColumnType.DOUBLE) for i in range(measurements))
    return Template(name, columns)


def paths(start: int, end: int) -> list[str]:
    return [f"root.plant.line.device{number:06d}" for number in range(start, end)]


def test_the_default_is_a_quarter_of_the_limit() -> None:
    assert default_metadata_bytes(1 << 30) == 1 << 28
    assert default_metadata_bytes(16 << 20) == 32 << 20


def test_templates_are_refused_and_nothing_else_breaks(open_engine: OpenEngine) -> None:
    engine = open_engine(metadata_bytes_max=150_000)
    engine.create_template(wide("a"))
    engine.create_template(wide("b"))
    with pytest.raises(MetadataLimitError, match="template c") as caught:
        engine.create_template(wide("c"))
    assert caught.value.field == "metadata_bytes_max"
    assert caught.value.hint is not None
    assert "one template for equal devices" in caught.value.hint
    assert caught.value.used_bytes + caught.value.needed_bytes > caught.value.limit_bytes == 150_000
    assert engine.create_template(wide("a"), if_not_exists=True).name == "a"
    with pytest.raises(SchemaError, match="exists"):
        engine.create_template(wide("a"))
    engine.write("a", "root.x.d1", [1], {"m0": [1.5]}).wait()
    assert engine.scan("a").read_all().num_rows == 1
    statistics = engine.statistics()
    assert 100_000 < statistics.metadata_bytes < statistics.metadata_bytes_max == 150_000


def test_devices_wait_for_a_merge(open_engine: OpenEngine) -> None:
    """Many times more devices than fit into memory: each merge makes room."""
    engine = open_engine(metadata_bytes_max=400_000)
    engine.create_template(wide("t", 1))
    for start in range(0, 20_000, 1000):
        engine.device_ids("t", paths(start, start + 1000), create=True)
        assert engine.statistics().metadata_bytes <= 400_000
    assert engine.catalog.devices.base is not None
    assert engine.device_ids("t", paths(0, 20_000)).tolist() == list(range(20_000))
    engine.close()
    again = open_engine(metadata_bytes_max=400_000)
    assert again.device_ids("t", paths(0, 20_000)).tolist() == list(range(20_000))


def test_devices_are_refused_when_a_merge_frees_too_little(open_engine: OpenEngine) -> None:
    engine = open_engine(metadata_bytes_max=60_000)
    engine.create_template(wide("t", 90))
    engine.device_ids("t", paths(0, 20), create=True)
    with pytest.raises(MetadataLimitError, match="1000 devices"):
        engine.device_ids("t", paths(20, 1020), create=True)
    assert len(engine.catalog.devices) == 20
    engine.write("t", paths(3, 4), [5], {"m0": [1.0]}).wait()
    engine.flush()
    assert engine.scan("t").read_all()["device"].to_pylist() == paths(3, 4)


def test_without_a_flush_the_wait_ends(open_engine: OpenEngine) -> None:
    engine = open_engine(metadata_bytes_max=200_000)
    engine.create_template(wide("t", 1))
    engine._store.on_full = lambda: None
    with pytest.raises(MetadataLimitError):
        engine.device_ids("t", paths(0, 50_000), create=True)


def test_writers_wait_for_the_thread_that_merges(tmp_path: Path) -> None:
    options = EngineOptions(durability="os", metadata_bytes_max=600_000, flush_every_ns=0)
    with Engine.open(tmp_path / "data", options) as engine:
        engine.create_template(wide("t", 1))
        failed: list[BaseException] = []

        def create(first: int) -> None:
            try:
                for start in range(first, first + 6000, 600):
                    engine.device_ids("t", paths(start, start + 600), create=True)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=create, args=(first,)) for first in (0, 6000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(engine.catalog.devices) == 12_000
        assert sorted(engine.catalog.devices.paths(range(12_000))) == paths(0, 12_000)
        assert engine.statistics().metadata_bytes <= 600_000


def test_what_many_templates_take_is_known_without_asking_each(open_engine: OpenEngine) -> None:
    """A running sum, which is the same after revisions, merges and a new start."""
    engine = open_engine()
    for number in range(5):
        engine.create_template(wide(f"t{number}", 3))
        engine.device_ids(f"t{number}", [f"root.a.d{number}"], create=True)
    engine.alter_template("t0", add=[Measurement(0, "more", ColumnType.DOUBLE)])
    templates = engine.catalog.templates
    assert (
        templates.measurements == sum(len(t.template.measurements) for t in templates.all()) == 16
    )
    used = engine.statistics().metadata_bytes
    engine.close()
    again = open_engine()
    assert again.catalog.templates.measurements == 16
    assert again.statistics().metadata_bytes == used
    again.close()
