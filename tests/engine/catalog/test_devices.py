"""Devices against a dictionary, through merges and re-opens; readers beside a change of base."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mainstem_engine.catalog import key_shards, value_table
from mainstem_engine.catalog.catalog import Catalog, encode_snapshot
from mainstem_engine.catalog.databases import Database
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.names import is_below
from mainstem_engine.catalog.sections import CatalogFiles, check_catalog_files
from mainstem_engine.catalog.templates import checked_template, template_to_map
from mainstem_engine.errors import CorruptionError, SchemaError
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import NO_DEVICE, ColumnType, Measurement, Tag, Template

FAMILIES = ("t", "u")
ELEMENTS = ("a", "b", "main", "`x.y`", "é")
PATHS = st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(
    lambda elements: ".".join(["root", *elements])
)
TAGS = st.sampled_from([None, "x", "X", "", "é", "É", 1, 1.0, True, 2, 0.0, -0.0, b"x", b""])
DATABASES = st.sampled_from(["root.a", "root.b", "root.a.b", "root.main", "root.a.`x.y`", "root.é"])


def define(catalog: Catalog, name: str) -> None:
    wanted = checked_template(
        Template(name, (Measurement(0, "m", ColumnType.DOUBLE),), (Tag("p"), Tag("q")))
    )
    catalog.apply_schema(
        catalog.schema_record("template", foreign=False, **template_to_map(wanted))
    )


def add(
    catalog: Catalog, family: str, paths: list[str], tags: dict[str, list[Any]], foreign: bool
) -> DeviceRecord:
    for database in catalog.missing_databases(paths):
        catalog.apply_schema(catalog.schema_record("database", **database.to_map()))
    record = catalog.device_record(family, paths, tags, foreign)
    catalog.apply_devices(record.to_header())
    return record


def merge(catalog: Catalog, files: CatalogFiles, *, forced: bool = True) -> bytes:
    """As a flush does it: the section, and the base in place."""
    files.merge_next = forced
    snapshot = catalog.snapshot()
    section = encode_snapshot(snapshot, files)
    if snapshot.merged is not None:
        catalog.adopt(snapshot.merged)
        files.remove_all_but(snapshot.merged)
    return section


class DevicesMachine(RuleBasedStateMachine):
    """Everything that can happen to a catalog, and a dictionary that says how it should be."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.files = CatalogFiles(Filesystem(), Path(self._directory.name))
        self.catalog = Catalog()
        self.model: list[tuple[str, str, dict[str, Any], bool]] = []
        self.databases: list[str] = []
        self.headers: list[dict[str, Any]] = []
        self.waiting: Any = None

    @initialize()
    def templates(self) -> None:
        for name in FAMILIES:
            define(self.catalog, name)

    @rule(
        family=st.sampled_from(FAMILIES),
        paths=st.lists(PATHS, min_size=1, max_size=5, unique=True),
        p=st.none() | st.lists(TAGS, min_size=5, max_size=5),
        q=st.none() | st.lists(TAGS, min_size=5, max_size=5),
        foreign=st.booleans(),
    )
    def devices(self, family: str, paths: list[str], p: Any, q: Any, foreign: bool) -> None:
        known = {path for path, *_ in self.model}
        new = [path for path in paths if path not in known]
        if not new:
            return
        tags = {n: v[: len(new)] for n, v in (("p", p), ("q", q)) if v is not None}
        record = add(self.catalog, family, new, tags, foreign)
        self.headers.append(record.to_header())
        for place, path in enumerate(new):
            values = {n: v[place] for n, v in tags.items() if v[place] is not None}
            self.model.append((path, family, values, foreign))

    @rule(name=DATABASES)
    def database(self, name: str) -> None:
        self.catalog.apply_schema(self.catalog.schema_record("database", **Database(name).to_map()))

    @rule()
    def merged(self) -> None:
        merge(self.catalog, self.files)
        self.waiting = None

    @rule(forced=st.booleans())
    def begin(self, forced: bool) -> None:
        """A flush begins; what follows happens before it ends."""
        self.files.merge_next = forced
        self.waiting = self.catalog.snapshot()

    @precondition(lambda self: self.waiting is not None)
    @rule(adopted=st.booleans())
    def end(self, adopted: bool) -> None:
        encode_snapshot(self.waiting, self.files)
        if adopted and self.waiting.merged is not None:
            self.catalog.adopt(self.waiting.merged)
            self.files.remove_all_but(self.waiting.merged)
        self.waiting = None

    @rule(forced=st.booleans(), replayed=st.integers(0, 3))
    def reopened(self, forced: bool, replayed: int) -> None:
        section = merge(self.catalog, self.files, forced=forced)
        self.catalog = Catalog.restore(section, self.files)
        for header in self.headers[len(self.headers) - replayed :]:
            self.catalog.apply_devices(header)
        self.waiting = None

    @invariant()
    def as_the_model(self) -> None:
        devices, catalog = self.catalog.devices, self.catalog
        paths = [path for path, *_ in self.model]
        ids = list(range(len(paths)))
        assert len(devices) == len(paths)
        asked = [*paths, "root.none", paths[0] if paths else "root"]
        expected = [*ids, NO_DEVICE, 0 if paths else NO_DEVICE]
        assert devices.lookup(asked).tolist() == expected
        assert devices.lookup(asked * 3).tolist() == expected * 3
        assert [devices.id_of(path) for path in paths] == ids
        assert devices.paths(ids) == paths
        assert devices.paths(np.array(ids[::-1], np.uint32)) == paths[::-1]
        assert [devices.path(device) for device in ids] == paths
        for device, (path, family, tags, foreign) in enumerate(self.model):
            assert devices.family_name(device) == family
            assert repr(devices.tags(device)) == repr(
                {n: tags[n] for n in devices.tags(device) if n in tags}
            )
            assert len(devices.tags(device)) == len(tags)
            assert devices.is_foreign(device) == foreign
            index = catalog.databases.index_of_path(path)
            assert devices.database_index(device) == index
        indexes = devices.database_indexes(np.array(ids, np.uint32)).tolist()
        for family in FAMILIES:
            mine = [d for d in ids if self.model[d][1] == family]
            assert devices.of_family(family).tolist() == mine
            assert devices.family_databases(family) == sorted({indexes[d] for d in mine})
            held = [self.model[d][2].get("p") for d in mine]
            codes, values = devices.tag_codes(family, "P", np.array(mine, np.uint32))
            assert [repr(values[code]) for code in codes.tolist()] == list(map(repr, held))
            assert len(set(codes.tolist())) == len(set(map(repr, held))), "one code for a value"
            for wanted in ("x", "X", "", "É", 1, 0.0, None, b"x", b""):
                found = [d for d in mine if self.model[d][2].get("p") == wanted]
                assert devices.matching(family, {"P": wanted}).tolist() == found
            both = [
                d for d in mine
                if self.model[d][2].get("p") in ("x", 2) and self.model[d][2].get("q") is None
            ]  # fmt: skip
            assert devices.matching(family, {"p": ["x", 2], "q": None}).tolist() == both
        for prefix in ("root", "root.a", "root.a.b", "root.a.`x.y`", "root.none"):
            inside = [d for d in ids if is_below(paths[d], prefix)]
            assert devices.below(prefix).tolist() == inside

    def teardown(self) -> None:
        self._directory.cleanup()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few devices are several shards, and some tags have no bitmaps."""
    monkeypatch.setattr(key_shards, "SHARD_KEYS", 4)
    monkeypatch.setattr(value_table, "VALUES_PER_SHARD", 3)
    for module in ("devices", "tags"):
        monkeypatch.setattr(f"mainstem_engine.catalog.{module}.INDEXED_VALUES_MAX", 4)


TestDevices = DevicesMachine.TestCase
TestDevices.settings = settings(
    max_examples=100, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> CatalogFiles:
    return CatalogFiles(Filesystem(), tmp_path)


def grown(count: int) -> Catalog:
    catalog = Catalog()
    define(catalog, "t")
    add(catalog, "t", [f"root.a.d{i}" for i in range(count)], {"p": list(range(count))}, False)
    return catalog


def test_a_small_overlay_is_not_merged(files: CatalogFiles, monkeypatch: Any) -> None:
    monkeypatch.setattr("mainstem_engine.catalog.sections.MERGE_DEVICES_MIN", 10)
    catalog = grown(10)
    merge(catalog, files, forced=False)
    assert catalog.devices.base is None
    add(catalog, "t", ["root.a.more"], {}, False)
    merge(catalog, files, forced=False)
    assert catalog.devices.base is not None
    assert catalog.devices.base.count == 11
    merge(catalog, files)
    assert catalog.devices.base.count == 11
    assert catalog.devices.overlay_bytes < 5000


def test_a_section_without_its_directory_says_so(files: CatalogFiles) -> None:
    section = merge(grown(3), files)
    with pytest.raises(SchemaError, match="base"):
        Catalog.restore(section)


def test_the_section_of_a_large_base_is_small(files: CatalogFiles) -> None:
    catalog = grown(5000)
    merge(catalog, files)
    add(catalog, "t", ["root.a.new"], {"p": [7]}, False)
    assert len(merge(catalog, files, forced=False)) < 1000


def test_damage_to_ids_is_found_at_once(files: CatalogFiles) -> None:
    catalog = Catalog()
    define(catalog, "t")
    paths = [f"root.a.d{9 - number}" for number in range(9)]
    add(catalog, "t", paths, {}, False)
    section = merge(catalog, files)
    check_catalog_files(Filesystem(), files.directory.parent, section)
    base = catalog.devices.base
    assert base is not None
    path = files.directory / base.name.name
    data = bytearray(path.read_bytes())
    columns = base.devices(np.arange(9)).astype("<u4").tobytes()
    data[data.find(columns)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match="device_of_key"):
        Catalog.restore(section, files)
    with pytest.raises(CorruptionError, match="device_of_key"):
        check_catalog_files(Filesystem(), files.directory.parent, section)


def test_devices_made_in_order_of_their_names_need_no_permutation(files: CatalogFiles) -> None:
    catalog = grown(9)
    section = merge(catalog, files)
    assert b"device_of_key" not in next(files.directory.iterdir()).read_bytes()
    devices = Catalog.restore(section, files).devices
    assert devices.lookup([f"root.a.d{i}" for i in range(10)]).tolist()[:9] == list(range(9))
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            devices.path(wrong)


def test_ids_that_were_never_given(files: CatalogFiles) -> None:
    catalog = grown(5)
    for _ in range(2):
        for wrong in (-1, 5):
            with pytest.raises(IndexError):
                catalog.devices.path(wrong)
            with pytest.raises(IndexError):
                catalog.devices.paths([0, wrong])
        merge(catalog, files)


def test_readers_see_one_state_while_bases_change(files: CatalogFiles) -> None:
    """Writers add, bases are put in place; at every moment a reader sees all that was added."""
    catalog = grown(8)
    stop, wrong = threading.Event(), list[str]()

    def read() -> None:
        devices = catalog.devices
        while not stop.is_set():
            count = len(devices)
            ids = np.arange(count, dtype=np.uint32)
            paths = devices.paths(ids)
            if devices.lookup(paths).tolist() != ids.tolist():
                wrong.append("lookup")
            codes, values = devices.tag_codes("t", "p", ids)
            if [values[code] for code in codes.tolist()] != list(range(count)):
                wrong.append("tags")
            last = count - 1
            if devices.tags(last) != {"p": last} or devices.id_of(paths[last]) != last:
                wrong.append("last")
            if devices.matching("t", {"p": last}).tolist() not in ([last], []):
                wrong.append("matching")
            if not set(devices.of_family("t").tolist()) <= set(range(len(devices))):
                wrong.append("family")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(40):
        count = len(catalog.devices)
        some = range(count, count + 3)
        add(catalog, "t", [f"root.a.d{i}" for i in some], {"p": list(some)}, False)
        if turn % 2:
            merge(catalog, files)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(catalog.devices) == 8 + 120
