"""WHERE of SHOW DEVICES, SHOW TIMESERIES and SELECT TAGS, beside the same condition in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine.errors import SqlError, SqlUnsupportedError
from mainstem_engine.sql.listings import device_filter
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import open_engine, runner

Run = Callable[..., Result]
Device = dict[str, Any]

DEVICES: list[Device] = [
    {"tbname": "m1", "template": "meters", "place": "north", "number": 2},
    {"tbname": "m2", "template": "meters", "place": "south", "number": 3},
    {"tbname": "m3", "template": "meters", "place": None, "number": 3},
    {"tbname": "m4", "template": "meters", "place": "no%th", "number": None},
    {"tbname": "p1", "template": "pumps", "place": 5, "kind": "größe"},
    {"tbname": "p2", "template": "pumps", "place": None, "kind": None},
    {"tbname": "solo", "template": None},
]


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory, executor: InProcessExecutor) -> Iterator[Run]:
    path: Path = tmp_path_factory.mktemp("works") / "data"
    with open_engine(path) as engine:
        run = runner(Session(engine, executor))
        run(
            """
            CREATE STABLE meters (ts TIMESTAMP, amps FLOAT, volts INT UNIT='V')
                TAGS (place TEXT, number INT);
            CREATE STABLE pumps (ts TIMESTAMP, flow DOUBLE ENCODING GORILLA)
                TAGS (place INT, kind TEXT);
            """
        )
        for device in DEVICES:
            if device["template"] is not None:
                tags = [key for key in device if key not in ("tbname", "template")]
                run(
                    f"CREATE TABLE {device['tbname']} USING {device['template']} "
                    f"({', '.join(tags)}) TAGS ({', '.join('?' * len(tags))})",
                    *(device[tag] for tag in tags),
                )
        run("CREATE TABLE solo (ts TIMESTAMP, x TEXT)")
        yield run


def text(device: Device, key: str) -> str | None:
    """A tag that templates declare differently is compared as text."""
    value = device.get(key)
    return None if value is None else str(value)


CONDITIONS: dict[str, Callable[[Device], bool]] = {
    "place = 'north'": lambda d: text(d, "place") == "north",
    "place = 'north' OR number = 3": lambda d: d.get("place") == "north" or d.get("number") == 3,
    "number > 2": lambda d: (d.get("number") or 0) > 2,
    "number BETWEEN 2 AND 3 AND place LIKE '%th'": lambda d: (
        d.get("number") in (2, 3) and d.get("place") in ("north", "south")
    ),
    "place LIKE 'n%' AND number IN (2, 3)": lambda d: d["tbname"] == "m1",
    "place IS NULL": lambda d: d.get("place") is None,
    "NOT place = 'north'": lambda d: text(d, "place") not in (None, "north"),
    "place CONTAINS '%'": lambda d: "%" in (text(d, "place") or ""),
    "TAGS(place) = '5'": lambda d: text(d, "place") == "5",
    "upper(kind) = 'GRÖSSE' OR kind LIKE 'gr_ße'": lambda d: d.get("kind") == "größe",
    "template = 'pumps'": lambda d: d["template"] == "pumps",
    "template IS NULL": lambda d: d["template"] is None,
    "database = 'root.main' AND tbname <> 'solo'": lambda d: d["tbname"] != "solo",
    "tbname LIKE 'm_' AND device LIKE '%2'": lambda d: d["tbname"] == "m2",
    "length(tbname) = 4": lambda d: d["tbname"] == "solo",
    "1 = 0": lambda _: False,
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("piece_rows", [2, 50_000])
def test_devices(
    works: Run, condition: str, piece_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_filter, "PIECE_ROWS", piece_rows)
    wanted = [f"root.main.{d['tbname']}" for d in DEVICES if CONDITIONS[condition](d)]
    found = [row[0] for row in works(f"SHOW DEVICES WHERE {condition}").rows()]
    assert sorted(found) == sorted(wanted)
    assert works(f"COUNT DEVICES WHERE {condition}").rows() == [[len(wanted)]]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("DATATYPE = FLOAT", ["m1.amps", "m2.amps", "m3.amps", "m4.amps"]),
        ("type IN (INT, 'double') AND place IS NULL", ["m3.volts", "p2.flow"]),
        ("encoding = gorilla OR number = 2", ["m1.amps", "m1.volts", "p1.flow", "p2.flow"]),
        ("TIMESERIES CONTAINS '1.' AND compression = AUTO", ["m1.amps", "m1.volts", "p1.flow"]),
        ("timeseries LIKE '%solo.x'", ["solo.x"]),
        ("unit = 'V' AND number = 3", ["m2.volts", "m3.volts"]),
        ("place = 'south'", ["m2.amps", "m2.volts"]),
        ("DATATYPE = BLOB", []),
    ],
)
@pytest.mark.parametrize("piece_rows", [3, 50_000])
def test_series(
    works: Run,
    condition: str,
    wanted: list[str],
    piece_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_filter, "PIECE_ROWS", piece_rows)
    rows = works(f"SHOW TIMESERIES WHERE {condition}").rows()
    assert [row[0] for row in rows] == [f"root.main.{name}" for name in wanted]
    assert works(f"COUNT TIMESERIES WHERE {condition}").rows() == [[len(wanted)]]


def test_a_tag_has_the_type_that_the_listed_templates_declare(works: Run) -> None:
    rows = works("SHOW DEVICES pumps WHERE place > 4 AND place < 6").rows()
    assert [row[0] for row in rows] == ["root.main.p1"]


def test_tags(works: Run) -> None:
    assert works("SELECT TAGS tbname FROM meters WHERE number > 2").rows() == [["m2"], ["m3"]]
    asked = works("SELECT TAGS tbname FROM meters WHERE place CONTAINS ? OR number < ?", "ou", 3)
    assert asked.rows() == [["m1"], ["m2"]]
    assert works("SELECT DISTINCT TAGS number FROM meters").rows() == [[2], [3], [None]]
    listed = works("SHOW TABLE TAGS number FROM meters LIMIT 1")
    assert ([c["name"] for c in listed.columns], listed.rows()) == (
        ["tbname", "number"],
        [["m1", 2]],
    )


@pytest.mark.parametrize(
    "condition",
    [
        "volts > 1",
        "place = (SELECT 'north')",
        "max(number) = 3",
        "row_number() OVER () = 1",
        "read_text('/etc/passwd') = place",
        "place = nothing",
    ],
)
def test_what_is_refused(works: Run, condition: str) -> None:
    with pytest.raises(SqlUnsupportedError) as caught:
        works(f"SHOW DEVICES WHERE {condition}")
    assert caught.value.hint


def test_an_error_of_the_condition_is_told(works: Run) -> None:
    with pytest.raises(SqlError, match="north"):
        works("SHOW DEVICES meters WHERE CAST(place AS INT) = 3")
