"""Names that begin with # are those of dropped columns: nobody else gets one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Tag, Template
from mainstem_engine.errors import NotFoundError, SchemaError

INT = ColumnType.INT32


def template(
    name: str, *columns: str, time_name: str = "time", tags: tuple[str, ...] = ()
) -> Template:
    measurements = tuple(Measurement(0, column, INT) for column in columns)
    return Template(name, measurements, tuple(Tag(tag) for tag in tags), time_name=time_name)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path, EngineOptions(background=False, durability="os")) as engine:
        engine.create_template(template("pump", "speed", "heat"))
        yield engine


CHANGES: dict[str, Callable[[Engine], object]] = {
    "measurement": lambda engine: engine.create_template(template("t", "#1")),
    "measurement_word": lambda engine: engine.create_template(template("t", "#x")),
    "time": lambda engine: engine.create_template(template("t", "a", time_name="#t")),
    "time_device": lambda engine: engine.create_template(template("t", "a", time_name="device")),
    "tag": lambda engine: engine.create_template(template("t", "a", tags=("#1",))),
    "template": lambda engine: engine.create_template(template("#t", "a")),
    "extend": lambda engine: engine.extend_template("pump", [Measurement(0, "#7", INT)]),
    "add": lambda engine: engine.alter_template("pump", add=[Measurement(0, "#7", INT)]),
    "rename": lambda engine: engine.alter_template("pump", rename={"speed": "#0"}),
    "rename_word": lambda engine: engine.alter_template("pump", rename={"speed": "#gone"}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_name_with_the_sign_is_refused(engine: Engine, kind: str) -> None:
    with pytest.raises(SchemaError) as caught:
        CHANGES[kind](engine)
    assert caught.value.field is not None
    assert caught.value.hint is not None
    assert [m.name for m in engine.catalog.template("pump").measurements] == ["speed", "heat"]


def test_dropped_measurements_keep_their_ids_out_of_sight(engine: Engine) -> None:
    engine.hide_measurements("pump", ["Speed"])
    engine.alter_template("pump", add=[Measurement(0, "speed", ColumnType.TEXT)])
    kept = engine.catalog.template("pump").measurements
    assert [(m.id, m.name) for m in kept] == [(0, "#0"), (1, "heat"), (2, "speed")]
    with pytest.raises(NotFoundError) as caught:
        engine.alter_template("pump", widen={"nope": ColumnType.INT64})
    assert "#0" not in str(caught.value)
    with pytest.raises(NotFoundError):
        engine.hide_measurements("pump", ["nope"])


def test_rollups_follow_a_template_that_has_lost_columns(engine: Engine) -> None:
    engine.create_rollup("pump", "1m", 60 * 10**9)
    engine.hide_measurements("pump", ["speed"])
    late = engine.create_rollup("pump", "1h", 3600 * 10**9)
    assert {m.name.partition("_")[0] for m in late.measurements} == {"heat"}
    engine.alter_template("pump", add=[Measurement(0, "speed", ColumnType.TEXT)])
    for name in ("1m", "1h"):
        again = engine.create_rollup("pump", name, {"1m": 60, "1h": 3600}[name] * 10**9)
        shown = engine.catalog.table(f"pump_{name}").shown
        assert {m.name.partition("_")[0] for m in shown} == {"heat", "speed"}
        assert [m.name for m in shown if m.name.startswith("speed")] == [
            "speed_count", "speed_first", "speed_first_time", "speed_last", "speed_last_time",
        ]  # fmt: skip
        engine.create_template(
            Template(
                f"child_{name}", again.measurements, rollup_of="child", every_ns=again.every_ns
            ),
            foreign=True,
        )


def test_a_dropped_column_is_not_written_read_or_deleted_by_its_number(engine: Engine) -> None:
    engine.hide_measurements("pump", ["speed"])
    ids = engine.device_ids("pump", ["root.main.p"], create=True)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="it has heat"):
            engine.write("pump", ids, [1], {"#0": np.array([1], np.int32)})
    for sql in ("INSERT INTO p (time, `#0`) VALUES (1, 1)", "SELECT `#0` FROM p",
                "DELETE FROM p.`#0`"):  # fmt: skip
        with pytest.raises(NotFoundError):
            engine.sql(sql)


def test_a_template_of_a_child_comes_with_its_dropped_columns(engine: Engine) -> None:
    engine.create_template(template("lift", "#0", "load"), foreign=True)
    engine.create_template(template("lift", "#0", "#1", "height"), foreign=True)
    table = engine.catalog.table("lift")
    assert [m.name for m in table.shown] == ["load", "height"]
    engine.alter_template("lift", rename={"load": "#9"})
    assert [m.name for m in engine.catalog.table("lift").shown] == ["height"]
