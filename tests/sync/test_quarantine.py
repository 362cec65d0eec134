"""The quarantine keeps what was refused: durable, bounded, once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine.errors import ClosedError
from mainstem_sync.receiving.quarantine import QuarantineBlock, QuarantineItem, QuarantineStore


def item(number: int, reason: str = "out_of_range") -> QuarantineItem:
    return QuarantineItem(
        "edge", "meters", f"root.a.d{number}", 1000 + number, "voltage", reason, number * 1.5, 5
    )


def test_items_survive_a_restart_and_are_listed_newest_first(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path / "q")
    ids = store.add([item(1), item(2)])
    store.close()
    again = QuarantineStore.open(tmp_path / "q")
    listed = again.items()
    assert [entry["id"] for entry in listed] == [ids[1], ids[0]]
    assert listed[1] == {
        "id": ids[0],
        "node": "edge",
        "table": "meters",
        "device": "root.a.d1",
        "time": 1001,
        "measurement": "voltage",
        "reason": "out_of_range",
        "value": 1.5,
        "at": 5,
    }
    assert again.statistics().items == 2
    assert again.get(ids[0]) == listed[1]
    assert again.get("nothing") is None


def test_the_same_fact_is_the_same_entry(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path)
    first = store.add([item(1), item(1)])
    later = store.add([dataclasses.replace(item(1), at_ms=99)])
    assert len({*first, *later}) == 1
    assert len(store.items()) == 1
    assert QuarantineStore.open(tmp_path).add([item(1)]) == later


def test_a_block_expands_to_items_and_can_be_dropped(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path)
    block = QuarantineBlock(
        "edge", "meters", "v", "type_conflict", 7, ["root.a.d1", "root.a.d2"], [1, 2],
        list(np.array([1, 2], dtype=np.int32)), lsn=9,
    )  # fmt: skip
    (identity,) = store.add_blocks([block])
    assert [(i["device"], i["time"], i["value"]) for i in store.items(limit=1)] == [
        ("root.a.d1", 1, 1)
    ]
    assert len(store.items(node="edge", table="meters")) == 2
    assert store.items(node="other") == []
    assert store.get(f"{identity}:1") == store.items()[1]
    (found,) = store.blocks("edge", "meters", 0, 10**9)
    assert (found[0], found[1].values, found[2].tolist()) == (identity, [1, 2], [0, 1])
    assert list(store.blocks("edge", "meters", 3_000_000, 10**9)) == []
    assert not store.holds("edge", "other", 0, 10**9)
    assert store.drop(f"{identity}:0") == 1
    assert store.drop(f"{identity}:0", "nothing", "nothing:1") == 0
    assert [i["id"] for i in store.items()] == [f"{identity}:1"]
    assert [i["id"] for i in QuarantineStore.open(tmp_path).items()] == [f"{identity}:1"]
    assert store.get(f"{identity}:0") is None
    assert store.drop(identity) == 1
    assert store.drop(identity) == 0
    assert store.items() == []
    reopened = QuarantineStore.open(tmp_path)
    assert reopened.items() == []
    reopened.add_blocks([block])
    assert len(reopened.items()) == 2


def test_the_bound_evicts_the_oldest_and_counts_it(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path, bytes_max=256 << 10)
    for start in range(0, 6000, 100):
        store.add([item(n, reason="x" * 50) for n in range(start, start + 100)])
    statistics = store.statistics()
    assert statistics.bytes <= (256 << 10) + (64 << 10)
    assert statistics.evicted > 0
    assert statistics.items + statistics.evicted == 6000
    assert store.evicted() == {"meters": statistics.evicted}
    assert store.items(limit=1)[0]["device"] == "root.a.d5999"
    reopened = QuarantineStore.open(tmp_path, bytes_max=256 << 10)
    assert reopened.evicted() == store.evicted()
    assert reopened.statistics().items == statistics.items


def test_a_torn_tail_is_dropped_and_a_damaged_entry_skipped(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path)
    store.add([item(1)])
    store.add([item(2)])
    store.close()
    (path,) = tmp_path.glob("*.quarantine")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-3])
    torn = QuarantineStore.open(tmp_path)
    assert [i["device"] for i in torn.items()] == ["root.a.d1"]
    data[len(data) // 2 - 20] ^= 0xFF
    path.write_bytes(data)
    damaged = QuarantineStore.open(tmp_path)
    assert damaged.statistics().damaged == 1
    assert [i["device"] for i in damaged.items()] == ["root.a.d2"]


def test_values_that_no_message_can_hold_become_text(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path)
    odd = [{"a": 1}, 1 << 80, b"\x00\xff", None, True, "y" * 10_000]
    store.add([QuarantineItem("e", "t", "d", None, "", "r", v, 0) for v in odd])
    values = [i["value"] for i in reversed(store.items())]
    assert values == ["{'a': 1}", str(1 << 80), "00ff", None, True, "y" * 4096]
    assert len(store.items(limit=2)) == 2


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = QuarantineStore.open(tmp_path)
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.add([item(1)])
