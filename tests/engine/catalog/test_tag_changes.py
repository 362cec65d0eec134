"""Tags that change, devices that go and come: against dictionaries, over merges and starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Tag, Template
from mainstem_engine.catalog import tag_changes
from mainstem_engine.catalog.revisions import TagRevision
from mainstem_engine.errors import NotOwnerError, SchemaError
from mainstem_engine.testing.clock import FakeClock

TEMPLATE = Template("t", (Measurement(0, "x", ColumnType.DOUBLE),), (Tag("a"), Tag("b")))
NAMES = ["a", "b", "c"]
VALUES = [None, "v0", "v1", "v2", "v3"]
DEVICES = 6

devices = st.integers(0, DEVICES - 1)
names = st.sampled_from(NAMES)
values = st.sampled_from(VALUES)
steps = st.one_of(
    st.tuples(st.just("make"), devices, st.dictionaries(names, values)),
    st.tuples(st.just("set"), devices, st.dictionaries(names, values, min_size=1)),
    st.tuples(st.just("drop"), devices, st.none()),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("forget"), names, st.none()),
    st.tuples(st.just("declare"), names, st.none()),
    st.tuples(st.just("start"), st.booleans(), st.booleans()),
)


class Model:
    """The tags that are declared, and those of the devices that are there."""

    def __init__(self) -> None:
        self.declared = ["a", "b"]
        self.tags: dict[int, dict[str, Any]] = {}


class Pair:
    """An engine and its model; ``step`` does the same to both."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.engine = self._open()
        self.engine.create_template(TEMPLATE)
        self.model = Model()

    def _open(self) -> Engine:
        return Engine.open(self._root, EngineOptions(background=False, clock=FakeClock()))

    def step(self, kind: str, first: Any, second: Any) -> None:
        model, engine = self.model, self.engine
        if kind == "make":
            tags = {name: value for name, value in second.items() if name in model.declared}
            engine.device_ids(
                "t", [path(first)], {name: [value] for name, value in tags.items()}, create=True
            )
            model.tags.setdefault(first, {name: tags.get(name) for name in model.declared})
        elif kind == "set" and first in model.tags:
            tags = {name: value for name, value in second.items() if name in model.declared}
            engine.set_tags("t", self.ids([first]), tags)
            model.tags[first].update(tags)
        elif kind == "drop" and first in model.tags:
            engine.drop_devices(self.ids([first]))
            del model.tags[first]
        elif kind == "rename" and first in model.declared and second not in model.declared:
            engine.alter_tags("t", TagRevision(rename={first: second}))
            model.declared[model.declared.index(first)] = second
            model.tags = {
                device: {second if name == first else name: value for name, value in tags.items()}
                for device, tags in model.tags.items()
            }
        elif kind == "forget" and first in model.declared:
            engine.alter_tags("t", TagRevision(drop=[first]))
            model.declared.remove(first)
            for tags in model.tags.values():
                del tags[first]
        elif kind == "declare" and first not in model.declared:
            engine.alter_tags("t", TagRevision(add=[Tag(first)]))
            model.declared.append(first)
            for tags in model.tags.values():
                tags[first] = None
        elif kind == "start":
            self._start(flush=first, merge=second)

    def _start(self, *, flush: bool, merge: bool) -> None:
        if flush:
            self.engine._store.catalog_files.merge_next = merge
            self.engine.flush()
            self.check()
            self.engine.close()
        else:
            self.engine.abandon()
        self.engine = self._open()

    def ids(self, some: list[int]) -> Any:
        return self.engine.device_ids("t", [path(device) for device in some])

    def check(self) -> None:
        known, model = self.engine.catalog.devices, self.model
        found = known.of_family("t")
        assert sorted(known.paths(found)) == sorted(path(device) for device in model.tags)
        assert [tag.name for tag in self.engine.catalog.template("t").tags] == model.declared
        for device, tags in model.tags.items():
            number = known.id_of(path(device))
            assert number is not None
            present = {name: value for name, value in tags.items() if value is not None}
            assert known.tags(number) == present
            for name, value in tags.items():
                codes, held = known.tag_codes("t", name, np.array([number], np.uint32))
                assert held[codes[0]] == value
        for name in model.declared:
            for value in VALUES:
                wanted = [path(d) for d, tags in model.tags.items() if tags[name] == value]
                assert sorted(known.paths(known.matching("t", {name: value}))) == sorted(wanted)

    def close(self) -> None:
        self.engine.close()


def path(device: int) -> str:
    return f"root.a.d{device}"


MAKE = ("make", 0, {"a": "v0", "b": "v1"})
MERGE = ("start", True, True)


@settings(max_examples=25, deadline=None)
@example([MAKE, ("rename", "a", "c"), ("declare", "a", None), ("set", 0, {"a": "v2"})])
@example([MAKE, MERGE, ("rename", "a", "c"), ("make", 1, {"c": "v3"}), MERGE])
@example([MAKE, MERGE, ("set", 0, {"a": "v3"}), ("make", 1, {"a": "v2"}), MERGE])
@example([MAKE, *[("forget", "a", None), ("declare", "a", None), ("set", 0, {"a": "v1"})] * 3])
@example([MAKE, ("drop", 0, None), MERGE, ("make", 0, {"b": "v2"}), ("make", 1, {}), MERGE])
@given(st.lists(steps, min_size=4, max_size=25))
def test_any_changes(script: list[tuple[str, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(Path(directory))
        try:
            for step in script:
                pair.step(*step)
                pair.check()
            for flush, merge in ((False, False), (True, False), (True, True)):
                pair.step("start", flush, merge)
                pair.check()
        finally:
            pair.close()


def test_changes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_changes, "CHANGES_MAX", 3)
    pair = Pair(tmp_path)
    for device in range(3):
        pair.step("make", device, {"a": "v0"})
    pair.engine.set_tags("t", pair.ids([0, 1, 2]), {"a": "v1"})
    with pytest.raises(SchemaError, match="more than 3 tag values"):
        pair.engine.set_tags("t", pair.ids([0]), {"b": "v1"})
    pair.close()


def test_what_a_child_has_made_is_not_dropped(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    ids = pair.engine.device_ids("t", ["root.a.d1"], create=True, foreign=True)
    with pytest.raises(NotOwnerError):
        pair.engine.drop_devices(ids)
    pair.close()
