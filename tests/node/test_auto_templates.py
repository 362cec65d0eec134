"""Templates that data makes: what is made, what is left alone, and the bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstem_engine.engine import Engine
from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_node.auto_templates import AutoTemplates

TEXT, DOUBLE, INT64 = ColumnType.TEXT, ColumnType.DOUBLE, ColumnType.INT64


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path / "data") as opened:
        yield opened


def names(engine: Engine, template: str) -> list[str]:
    return [m.name for m in engine.catalog.table(template).shown]


def test_a_template_is_made_and_extended(engine: Engine) -> None:
    templates = AutoTemplates(engine)
    found = templates.fitted("cpu", {"host": TEXT}, {"usage": DOUBLE})
    assert found is not None
    assert templates.fitted("CPU", {"host": TEXT, "core": TEXT}, {"Usage": INT64, "n": INT64})
    assert names(engine, "cpu") == ["usage", "n"]
    table = engine.catalog.table("cpu")
    assert [tag.name for tag in table.template.tags] == ["host", "core"]
    assert table.template.measurements[0].type == DOUBLE  # as it was made
    assert engine.durable_lsn >= engine.committed_lsn


def test_what_fits_is_not_touched(engine: Engine) -> None:
    engine.create_template(Template("cpu", (Measurement(0, "usage", DOUBLE),)))
    before = engine.committed_lsn
    assert AutoTemplates(engine).fitted("cpu", {}, {"usage": INT64}) is not None
    assert engine.committed_lsn == before


def test_so_many_templates_a_minute(engine: Engine) -> None:
    clock = Clock()
    templates = AutoTemplates(engine, templates_per_minute=2, monotonic=clock)
    made = [templates.fitted(f"t{n}", {}, {"a": DOUBLE}) is not None for n in range(4)]
    assert made == [True, True, False, False]
    clock.now += 30
    assert templates.fitted("t2", {}, {"a": DOUBLE}) is not None
    assert templates.fitted("t3", {}, {"a": DOUBLE}) is None


def test_so_many_columns_a_minute(engine: Engine) -> None:
    clock = Clock()
    templates = AutoTemplates(engine, columns_per_minute=3, monotonic=clock)
    wanted = dict.fromkeys("abcde", DOUBLE)
    assert templates.fitted("t", {}, wanted) is not None
    assert names(engine, "t") == ["a", "b", "c"]
    clock.now += 60
    templates.fitted("t", {}, wanted)
    assert names(engine, "t") == ["a", "b", "c", "d", "e"]


def test_a_name_that_cannot_be_is_no_template(engine: Engine) -> None:
    templates = AutoTemplates(engine)
    assert templates.fitted("a/b", {}, {"a": DOUBLE}) is None
    assert templates.fitted("x" * 300, {}, {"a": DOUBLE}) is None


def test_a_rollup_is_left_alone(engine: Engine) -> None:
    engine.create_template(Template("cpu", (Measurement(0, "usage", DOUBLE),)))
    engine.create_rollup("cpu", "1m", 60 * 10**9)
    before = names(engine, "cpu_1m")
    found = AutoTemplates(engine).fitted("cpu_1m", {}, {"other": DOUBLE})
    assert found is not None
    assert found.replaces_rows
    assert names(engine, "cpu_1m") == before
