"""One damaged place of the catalog's base costs what was written there, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mainstem_engine import (
    ColumnType,
    CorruptionError,
    Engine,
    EngineOptions,
    Measurement,
    Tag,
    Template,
)
from mainstem_engine.catalog import key_shards, value_table
from mainstem_engine.catalog.base_file import HEAD, StoredSection, parse_index
from mainstem_engine.check import check_directory
from mainstem_engine.repair import RepairReport, plan_repair, repair_directory

T0 = 1_790_000_000_000
SHARD_KEYS = 16
IN_BASE = 60
OVERLAY = 7
FAMILIES = ("meters", "pumps")


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(key_shards, "SHARD_KEYS", SHARD_KEYS)
    patch.setattr(value_table, "VALUES_PER_SHARD", SHARD_KEYS)
    yield
    patch.undo()


def path_of(device: int) -> str:
    """In no order, so that there are permutations."""
    return f"root.{'ab'[device % 2]}.n{device * 37 % 101:03d}"


def family_of(device: int) -> str:
    return FAMILIES[device // 3 % 2]


def add(engine: Engine, devices: range) -> None:
    for device in devices:
        family, path = family_of(device), path_of(device)
        tags: dict[str, list[Any]] = {"site": [f"s{device % 5}"], "serial": [device]}
        engine.device_ids(family, [path], tags, create=True)
        engine.write(family, path, [T0 + device], {"value": [device]}).wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """Two databases and families, a base of several shards, devices beyond it; no DEV records."""
    data = tmp_path_factory.mktemp("whole") / "data"
    with Engine.open(data, EngineOptions(background=False, durability="os")) as engine:
        engine.create_database("root.a", keep_ns=10**18)
        engine.create_database("root.b")
        for name in FAMILIES:
            value = Measurement(0, "value", ColumnType.INT64)
            tags = (Tag("site"), Tag("serial", ColumnType.INT32))
            engine.create_template(Template(name, (value,), tags))
        engine.set_ttl("root.a.n001", 10**17)
        add(engine, range(IN_BASE))
        engine._store.catalog_files.merge_next = True
        engine.flush()
        add(engine, range(IN_BASE, IN_BASE + OVERLAY))
        engine.flush()
        engine._store.release_log()
        assert len(devices_of(engine)) == IN_BASE + OVERLAY
    return data


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


@dataclass
class Device:
    path: str
    family: str
    tags: dict[str, Any]
    database: str
    foreign: bool


def devices_of(engine: Engine) -> list[Device]:
    devices = engine.catalog.devices
    return [
        Device(
            devices.path(device),
            devices.family_name(device),
            devices.tags(device),
            engine.catalog.database_of(device).name,
            devices.is_foreign(device),
        )
        for device in range(len(devices))
    ]


def definitions_of(engine: Engine) -> Any:
    catalog = engine.catalog
    named = [d for d in catalog.databases if d.name != "root.lost"]
    tables = [(t.template, t.foreign, t.set_paths) for t in catalog.templates.all()]
    return named, tables, catalog.rules.to_map()


def opened(data: Path) -> Engine:
    return Engine.open(data, EngineOptions(background=False, durability="os"))


def base_of(data: Path) -> Path:
    (found,) = data.glob("catalog/*.base")
    return found


def sections_of(path: Path) -> tuple[dict[str, Any], dict[str, StoredSection]]:
    content = path.read_bytes()
    length = HEAD.unpack_from(content)[2]
    fields, sections = parse_index(content[HEAD.size : HEAD.size + length])
    return dict(fields), sections


def flip(path: Path, offset: int, count: int = 1) -> None:
    content = bytearray(path.read_bytes())
    for place in range(offset, offset + count):
        content[place] ^= 0x55
    path.write_bytes(content)


def spoil(data: Path, *names: str) -> None:
    path = base_of(data)
    sections = sections_of(path)[1]
    for name in names:
        section = sections[name]
        flip(path, section.offset + section.length // 2)


def lose(expected: list[Device], ids: Any) -> None:
    for device in ids:
        expected[device].path, expected[device].database = f"root.lost.d{device}", "root.lost"


def without(expected: list[Device], name: str) -> list[int]:
    """Takes out what was written in that section of the base; the ids that lost something."""
    kind, *numbers = name.split("/")
    in_base = expected[:IN_BASE]
    lost: list[int] = []
    if kind == "paths":
        order = sorted(range(IN_BASE), key=lambda device: in_base[device].path.encode())
        start = int(numbers[0]) * SHARD_KEYS
        lost = order[start : start + SHARD_KEYS]
        lose(expected, lost)
    elif kind in ("codes", "values"):
        tag = ("site", "serial")[int(numbers[1])]
        mine = [d for d in range(IN_BASE) if in_base[d].family == FAMILIES[int(numbers[0])]]
        values = list(dict.fromkeys(msgpack.packb(in_base[d].tags[tag]) for d in mine))
        if kind == "values":
            start = int(numbers[2]) * SHARD_KEYS
            values = values[start : start + SHARD_KEYS]
        lost = [d for d in mine if msgpack.packb(in_base[d].tags[tag]) in values]
        for device in lost:
            del expected[device].tags[tag]
    return lost


def repaired(data: Path, change: Callable[[list[Device]], Any]) -> RepairReport:
    """The report of a repair after which everything is as before, but for ``change``."""
    damaged = base_of(data)
    content = damaged.read_bytes()
    with pytest.raises(CorruptionError) as refused:
        opened(data)
    assert "mainstem db repair" in (refused.value.hint or "")
    assert any("catalog" in action for action in plan_repair(data).actions)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    assert (report.lost_rows, report.lost_lsns) == ({}, ())
    assert report.kept is not None
    assert (report.kept / "catalog" / damaged.name).read_bytes() == content
    assert not repair_directory(data).actions, "a second repair finds nothing to do"
    expected = expected_devices()
    change(expected)
    for _ in range(2):
        with opened(data) as engine:
            assert devices_of(engine) == expected
            assert definitions_of(engine) == DEFINITIONS[0]
            for family in FAMILIES:
                rows = engine.sql(f"SELECT device, value, serial FROM {family}").rows()
                assert sorted(rows) == sorted(
                    [device.path, number, device.tags.get("serial")]
                    for number, device in enumerate(expected)
                    if device.family == family
                )
            assert all(each.balanced for each in engine.store_accounting().values())
            for number, device in enumerate(expected):
                assert engine.catalog.devices.id_of(device.path) == number
            engine._store.catalog_files.merge_next = True
            engine.flush()
    assert check_directory(data).whole
    return report


DEFINITIONS: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def definitions(whole: Path) -> None:
    with opened(whole) as engine:
        DEFINITIONS[:] = [definitions_of(engine)]


def expected_devices() -> list[Device]:
    return [
        Device(
            path_of(device),
            family_of(device),
            {"site": f"s{device % 5}", "serial": device},
            f"root.{'ab'[device % 2]}",
            False,
        )
        for device in range(IN_BASE + OVERLAY)
    ]


SECTIONS = [
    *(f"paths/{shard}" for shard in range(4)),
    "device_of_key",
    "key_of_device",
    "family_of",
    "position_of",
    "database_of",
    "foreign",
    *(f"ids/{family}" for family in range(2)),
    *(f"codes/{family}/{tag}" for family in range(2) for tag in range(2)),
    *(
        f"{way}/{family}/{tag}"
        for way in ("hashes", "numbers")
        for family in (0, 1)
        for tag in (0, 1)
    ),
    *(f"values/{family}/0/0" for family in range(2)),
    *(f"values/{family}/1/{shard}" for family in range(2) for shard in range(2)),
]


def test_these_are_all_sections(whole: Path) -> None:
    assert set(sections_of(base_of(whole))[1]) == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section(data: Path, name: str) -> None:
    spoil(data, name)
    lost: list[int] = []
    report = repaired(data, lambda expected: lost.extend(without(expected, name)))
    said = "\n".join(report.unknown)
    if name == "foreign":
        assert said == "whether devices 0 to 59 are a child's: it is as their templates are"
    elif not lost:
        assert said == ""
    elif name.startswith("paths"):
        assert said.startswith("paths of devices ")
    else:
        assert said.startswith("tag 's")
    for device in lost:
        if device - 1 not in lost and device + 1 not in lost:
            assert f" {device}," in said.replace(":", ",") + ","


@pytest.mark.parametrize(
    "names",
    [
        ("device_of_key", "key_of_device"),
        ("family_of", "ids/0"),
        ("family_of", "ids/0", "ids/1", "position_of", "database_of"),
    ],
)
def test_what_two_damaged_sections_agree_on(data: Path, names: tuple[str, ...]) -> None:
    """Two entries of a permutation may be in doubt; families follow from the rows, too."""
    spoil(data, *names)
    doubtful: list[int] = []
    report = repair_directory(data)
    assert report.after.whole
    with opened(data) as engine:
        found = devices_of(engine)
    expected = expected_devices()
    for number, device in enumerate(found):
        if device.path.startswith("root.lost"):
            doubtful.append(number)
    lose(expected, doubtful)
    assert found == expected
    assert len(doubtful) == (2 if names[0] == "device_of_key" else 0)


@pytest.mark.parametrize("offset", [1, 9, 12, 13, 17, 21, HEAD.size + 3, HEAD.size + 200])
def test_a_byte_of_head_or_index_costs_nothing(data: Path, offset: int) -> None:
    flip(base_of(data), offset)
    if offset == 21:
        assert check_directory(data).whole, "nothing depends on these bytes"
        return
    assert repaired(data, lambda _: None).unknown == ()


@pytest.mark.parametrize("damage", ["index", "cut", "gone"])
def test_a_base_of_which_nothing_is_left(data: Path, damage: str) -> None:
    path = base_of(data)
    if damage == "index":
        flip(path, HEAD.size + 10, 40)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    with pytest.raises(CorruptionError, match="base"):
        opened(data)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    assert any("paths of devices 0 to 59" in text for text in report.unknown)
    assert any("tags of devices 0 to 59" in text for text in report.unknown)
    expected = expected_devices()
    lose(expected, range(IN_BASE))
    for device in expected[:IN_BASE]:
        device.tags = {}
    with opened(data) as engine:
        assert devices_of(engine) == expected, "families are those that have the rows"
        assert definitions_of(engine) == DEFINITIONS[0]
        rows = engine.sql("SELECT device, value FROM meters").rows()
        assert ["root.lost.d0", 0] in rows


def test_a_base_that_is_cut_behind_its_index(data: Path) -> None:
    path = base_of(data)
    section = sections_of(path)[1]["ids/1"]
    path.write_bytes(path.read_bytes()[: section.offset])
    report = repair_directory(data)
    assert report.after.whole
    assert [text[:10] for text in report.unknown] == ["tag 'site'", "tag 'seria"]
    with opened(data) as engine:
        found = devices_of(engine)
    assert [device.path for device in found] == [device.path for device in expected_devices()]


@pytest.mark.parametrize("source", ["base", "checkpoint"])
def test_names_that_another_file_still_has(data: Path, whole: Path, source: str) -> None:
    """Ids are for ever, so what an earlier repair kept is right."""
    kept = data / "repair-1"
    if source == "base":
        (kept / "catalog").mkdir(parents=True)
        shutil.copy(base_of(whole), kept / "catalog" / "000000000077.base")
        flip(kept / "catalog" / "000000000077.base", -70)
    else:
        with opened(data) as engine:
            add(engine, range(IN_BASE + OVERLAY, IN_BASE + OVERLAY + 1))
            engine.flush()
        (checkpoint,) = data.glob("checkpoint/*.ckpt")
        (kept / "checkpoint").mkdir(parents=True)
        shutil.copy(checkpoint, kept / "checkpoint" / "older.ckpt")
        with opened(data) as engine:
            engine._store.catalog_files.merge_next = True
            add(engine, range(IN_BASE + OVERLAY + 1, IN_BASE + OVERLAY + 2))
            engine.flush()
    spoil(data, "paths/1", "paths/2")
    report = repair_directory(data)
    assert report.after.whole
    with opened(data) as engine:
        found = [device.path for device in devices_of(engine)]
    lost = [number for number, path in enumerate(found) if path.startswith("root.lost")]
    if source == "base":
        assert (report.unknown, lost) == ((), [])
    else:
        assert lost
        newer = IN_BASE + OVERLAY + 1
        assert set(lost) <= {*range(IN_BASE), newer}, "the checkpoint named those between"
    assert all(path == path_of(n) for n, path in enumerate(found) if n not in lost)


def test_section_and_base_are_both_damaged(data: Path) -> None:
    """Templates are lost with the section; names are those of the base's whole shards."""
    from mainstem_engine.checkpoint import inspect_checkpoint
    from mainstem_engine.filesystem import Filesystem

    spoil(data, "paths/0", "position_of")
    (checkpoint,) = data.glob("checkpoint/*.ckpt")
    _, sections = inspect_checkpoint(Filesystem(), checkpoint.parent, checkpoint.name)
    flip(checkpoint, next(s.offset for s in sections if s.name == "catalog") + 3)
    report = repair_directory(data)
    assert report.after.whole, report.after.damages
    expected = expected_devices()
    lost = without(expected, "paths/0")
    with opened(data) as engine:
        found = devices_of(engine)[:IN_BASE]
        assert [each.path for each in found] == [each.path for each in expected[:IN_BASE]]
        assert [each.tags for each in found] == [each.tags for each in expected[:IN_BASE]]
    assert len(lost) == SHARD_KEYS
