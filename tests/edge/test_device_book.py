"""New devices: made once, limited, and never where they do not belong."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_edge.device_book import UNRESOLVED, DeviceBook, DeviceLimit, Entry
from mainstem_engine.engine import Engine
from mainstem_engine.errors import ClosedError, EngineError, LogFailedError, OverloadedError
from mainstem_engine.model import ColumnType, Measurement, Template


def book(engine: Engine, limit: int = 100) -> DeviceBook:
    return DeviceBook(engine, "press", DeviceLimit(limit))


def test_devices_are_made_with_their_tags_and_found_again(engine: Engine) -> None:
    first, second = Entry("root.a.d1", {"line": "x", "slot": 3}), Entry("root.a.d2", {"line": "y"})
    same = Entry("root.a.d1")
    book(engine).resolve([first, second, same], create=True)
    assert [first.id, second.id, same.id] == [0, 1, 0]
    assert engine.catalog.devices.tags(0) == {"line": "x", "slot": 3}
    later = Entry("root.a.d2", {"line": "other"})
    book(engine).resolve([later], create=False)
    assert later.id == 1
    assert engine.catalog.devices.tags(1) == {"line": "y"}


def test_an_unknown_device_is_not_made_when_that_is_off(engine: Engine) -> None:
    entry = Entry("root.a.d1")
    book(engine).resolve([entry], create=False)
    assert (entry.id, entry.reason) == (UNRESOLVED, "unknown_device")
    engine.device_ids("press", ["root.a.d1"], create=True)
    book(engine).resolve([entry], create=False)
    assert (entry.id, entry.reason) == (0, "")


def test_a_minute_has_room_for_so_many_new_devices() -> None:
    now = [0.0]
    limit = DeviceLimit(3, monotonic=lambda: now[0])
    assert [limit.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 20.0
    assert [limit.take(), limit.take()] == [True, False]
    now[0] = 1000.0
    assert [limit.take() for _ in range(4)] == [True, True, True, False]


def test_devices_beyond_the_limit_get_the_reason(engine: Engine) -> None:
    entries = [Entry(f"root.a.d{n}") for n in range(4)]
    book(engine, limit=2).resolve(entries, create=True)
    assert [e.reason for e in entries] == ["", "", "device_limit", "device_limit"]


def test_a_device_of_another_template_is_left_alone(engine: Engine) -> None:
    engine.create_template(Template("other", (Measurement(0, "a", ColumnType.DOUBLE),)))
    engine.device_ids("other", ["root.a.d1"], create=True)
    entry = Entry("root.a.d1")
    book(engine).resolve([entry], create=True)
    assert entry.reason == "other_template"


def test_a_device_of_another_node_is_not_made(engine: Engine) -> None:
    def owner(path: str) -> str | None:
        return "other" if path.startswith("root.b.") else None

    entries = [Entry("root.a.d1"), Entry("root.b.d1")]
    DeviceBook(engine, "press", DeviceLimit(10), owner).resolve(entries, create=True)
    assert [e.reason for e in entries] == ["", "not_owner"]


def test_one_device_that_the_catalog_refuses_does_not_stop_the_others(engine: Engine) -> None:
    entries = [Entry("root.a.d1", {"slot": "not a number"}), Entry("root.a.d2")]
    book(engine).resolve(entries, create=True)
    assert [e.reason for e in entries] == ["refused_by_store", ""]


def test_a_path_that_could_not_be_formed_stays_so(engine: Engine) -> None:
    entry = Entry("a/b", reason="bad_path", permanent=True)
    book(engine).resolve([entry], create=True)
    assert (entry.id, entry.reason) == (UNRESOLVED, "bad_path")


@pytest.mark.parametrize(
    "error", [OverloadedError("slow"), LogFailedError("disk"), ClosedError("closed")]
)
def test_an_engine_that_takes_nothing_now_refuses_no_device(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: EngineError
) -> None:
    """The rows would be put aside for good, though a moment later the device can be made."""
    entry, devices = Entry("root.a.d1"), book(engine, limit=1)

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine, "device_ids", refuse)
        for _ in range(3):
            with pytest.raises(type(error)):
                devices.resolve([entry], create=True)
    assert (entry.id, entry.reason) == (UNRESOLVED, "")
    devices.resolve([entry], create=True)
    assert (entry.id, entry.reason) == (0, "")
