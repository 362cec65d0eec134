"""What is listed of a data directory, and that damage does not end the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine, LockedError, NotFoundError, Template
from mainstem_engine.dump import DUMPS, dump_directory
from mainstem_engine.part.manifest import PartList, PartMeta
from mainstem_engine.part_list_records import part_list_records

HOSTILE = "x\x1b[2J‮\n"


@pytest.fixture
def data(open_engine: Any, meters: Template, tmp_path: Path) -> Path:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.create_database("root.a", keep_ns=4 * 10**18)
    tags: dict[str, list[Any]] = {"location": [HOSTILE], "group": [7]}
    engine.device_ids("meters", ["root.a.d1"], tags, create=True)
    columns = {
        "voltage": [1, None, 3],
        "current": [0.5, float("nan"), 2.0],
        "note": ["a" * 999] * 3,
    }
    engine.write("meters", "root.a.d1", [1, 2, 3], columns).wait()
    engine.flush()
    engine.write("meters", "root.a.d2", [9], {"voltage": [9]}).wait()
    engine.abandon()
    return tmp_path / "data"


def entries(data: Path, kind: str, **options: Any) -> Iterator[dict[str, Any]]:
    return (e for e in dump_directory(data, **options) if e["entry"] == kind)


def test_everything_is_json(data: Path) -> None:
    found = list(dump_directory(data))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    kinds = {entry["entry"] for entry in found}
    assert kinds == {
        "change", "section", "database", "template", "device", "part", "block", "column",
        "segment", "record",
    }  # fmt: skip


def test_records(data: Path) -> None:
    records = list(entries(data, "record", what=["log"]))
    lsns = [record["lsn"] for record in records]
    assert lsns == list(range(lsns[0], lsns[0] + len(lsns)))
    last = [record for record in records if record["kind"] == "PTS"][-1]
    assert (last["header"]["t"], last["header"]["n"]) == ("meters", 1)
    assert last["header"]["cols"] == [[1, "INT32", False, 0]]
    assert last["buffers"] == [4, 8, 4]
    assert [r["kind"] for r in entries(data, "record", what=["log"], table="METERS")][-1] == "PTS"
    assert list(entries(data, "record", what=["log"], table="none")) == []


def test_parts(data: Path) -> None:
    (part,) = entries(data, "part", what=["parts"])
    assert (part["table"], part["rows"], part["devices"]) == ("meters", 3, [0, 0])
    (block,) = entries(data, "block", what=["parts"])
    assert (block["rows"], block["time_ns"]) == (3, [1_000_000, 3_000_000])
    columns = {column["name"]: column for column in entries(data, "column", what=["parts"])}
    assert set(columns) == {"(device)", "(time)", "(origin)", "(lsn)", "current", "voltage", "note"}
    voltage = columns["voltage"]
    assert (voltage["type"], voltage["nulls"], voltage["bitmap_bytes"]) == ("INT32", 1, 1)
    assert (voltage["min"], voltage["max"], voltage["sum"]) == (1, 3, 4)
    assert (columns["note"]["encoding"], columns["(device)"]["bytes"]) == ("CONSTANT", 0)
    assert "min" not in columns["current"], "a block with NaN has no extremes"


def test_the_catalog(data: Path) -> None:
    (database,) = entries(data, "database", what=["catalog"])
    assert (database["name"], database["keep"]) == ("root.a", 4 * 10**18)
    (device,) = entries(data, "device", what=["catalog"])
    assert device["tags"] == {"location": HOSTILE, "group": 7}
    (template,) = entries(data, "template", what=["catalog"])
    assert len(template["measurements"]) == 4


def test_the_limit_is_of_each_kind(data: Path) -> None:
    assert len(list(dump_directory(data, limit=1))) == len(DUMPS)


def test_refusals(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(dump_directory(tmp_path))
    engine = Engine.open(data)
    with pytest.raises(LockedError):
        list(dump_directory(data))
    engine.close()


@pytest.mark.parametrize("what", sorted(DUMPS))
def test_damage_is_an_entry(data: Path, what: str) -> None:
    patterns = {"log": "log/*.log", "parts": "parts/*.part", "part-list": "part-list"}
    for path in data.glob(patterns.get(what, "checkpoint/*.ckpt")):
        content = bytearray(path.read_bytes())
        content[-30] ^= 0xFF
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    unsound = [section for section in entries(data, "section") if not section["whole"]]
    assert list(entries(data, "damage", what=[what])) or (what == "checkpoint" and unsound)


def test_a_part_list_is_read_past_damage(tmp_path: Path) -> None:
    from mainstem_engine.filesystem import Filesystem

    fs, path = Filesystem(), tmp_path / "part-list"
    parts = PartList.open(fs, path)
    ends = [path.stat().st_size]
    for number in range(4):
        meta = PartMeta(f"{number}", "t" * 50, 0, 1, 1, 0, 0, 0, 0, {0: (number, number)})
        parts.commit(add=[meta], checkpoint=f"c{number}")
        ends.append(path.stat().st_size)
    parts.close()
    whole = path.read_bytes()
    assert [r.checkpoint for r in part_list_records(whole)] == ["c0", "c1", "c2", "c3"]
    for offset in range(ends[1], ends[2]):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x41
        found = list(part_list_records(bytes(damaged)))
        assert [r.checkpoint for r in found if r.problem is None] == ["c0", "c2", "c3"], offset
        (bad,) = [r for r in found if r.problem is not None]
        assert (bad.offset, bad.bytes, bad.torn) == (ends[1], ends[2] - ends[1], False)
    for cut in range(ends[3] + 1, ends[4]):
        *_, last = part_list_records(whole[:cut])
        assert (last.torn, last.bytes) == (True, cut - ends[3])
