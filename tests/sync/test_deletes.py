"""Deletes at the owner, and what the tiers above make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainstem_engine.erasures import Erasure, erasure_payload
from mainstem_engine.filesystem import byte_view
from mainstem_engine.model import ColumnType
from mainstem_sync.errors import UnknownSchemaError
from mainstem_sync.origins.deletions import map_erasure, scoped_payload
from mainstem_sync.origins.origin_state import (
    CONFLICT,
    DENIED,
    MeasurementMap,
    OriginMaps,
    TableMap,
)
from mainstem_sync.slices.slice_table import touched_by
from mainstem_sync.state.exports import Export
from mainstem_sync.testing.tiers import START_MS, Tiers

MakeTiers = Callable[..., Tiers]


def same_everywhere(tiers: Tiers) -> list[Any]:
    found = tiers.values(tiers.edge)
    assert tiers.values(tiers.plant) == found
    assert tiers.values(tiers.group) == found
    return found


def delete(
    tiers: Tiers, start_s: float | None = None, end_s: float | None = None, **how: Any
) -> int:
    start = None if start_s is None else START_MS + int(start_s * 1000)
    end = None if end_s is None else START_MS + int(end_s * 1000)
    found = tiers.edge.engine.delete("meters", start=start, end=end, **how)
    found.ack.wait()
    return found.rows


def verified(tiers: Tiers) -> None:
    tiers.close()
    for node in (tiers.plant, tiers.group):
        assert tiers.state(node)["state"] == "complete"


@pytest.mark.parametrize("flush", [False, True])
def test_a_delete_reaches_every_tier_and_slices_verify_again(tiers: Tiers, flush: bool) -> None:
    tiers.write(rows=200)
    tiers.write("root.p.e.d2", rows=200)
    tiers.run()
    verified(tiers)
    if flush:
        for node in tiers.nodes:
            node.engine.flush()
    assert delete(tiers, 30, 130, devices="root.p.e.d1") == 100
    tiers.run()
    assert len(same_everywhere(tiers)) == 300
    assert tiers.state(tiers.group)["state"] != "complete"  # touched, and not scanned yet
    verified(tiers)
    for node in tiers.nodes:
        node.engine.flush()
        node.engine.compact()
        counts = node.engine.store_accounting()["meters"]
        assert (counts.logged, counts.live, counts.deleted) == (400, 300, 100)
    tiers.check()
    verified(tiers)


def test_by_value_and_by_measurement(tiers: Tiers) -> None:
    tiers.write(rows=20)
    tiers.run()
    delete(tiers, where=lambda batch: np.asarray(batch["voltage"]) % 3 == 0)
    delete(tiers, 10, 15, measurements=["current", "note"])
    delete(tiers, 10, 12, measurements=["voltage"])
    tiers.run()
    found = same_everywhere(tiers)
    assert [second for _, second, _, _ in found] == [1, 2, 4, 5, 7, 8, 13, 14, 16, 17, 19]
    verified(tiers)
    for node in tiers.nodes:
        node.engine.flush()
    tiers.check()


def test_a_delete_overtakes_the_rows_that_it_covers(tiers: Tiers) -> None:
    """After an outage live rows and control records go first, history later."""
    tiers.write(rows=10)
    tiers.run()
    tiers.up.cut()
    for start in range(10, 100, 10):
        tiers.write(start_s=start, rows=10)
    delete(tiers, 5, 95)
    tiers.write(start_s=50, rows=1, value=7.0)
    tiers.clock.advance(60)
    tiers.up.restore()
    tiers.run(10)
    found = same_everywhere(tiers)
    assert [second for _, second, _, _ in found] == [0, 1, 2, 3, 4, 50, 95, 96, 97, 98, 99]
    verified(tiers)


def test_replayed_at_every_tier(tiers: Tiers) -> None:
    tiers.write(rows=10)
    tiers.run()
    delete(tiers, 2, 5)
    tiers.run()
    for node in tiers.nodes:
        before = tiers.values(node)
        node.crash()
        node.start()
        assert tiers.values(node) == before
    tiers.write(start_s=3, rows=1)
    tiers.run(6)
    assert len(same_everywhere(tiers)) == 8
    verified(tiers)


def test_only_what_is_exported_goes_up(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_exports=(Export("meters", under="root.p.e.line"),))
    for device in ("root.p.e.line.d1", "root.p.e.d2"):
        tiers.write(device, rows=5)
    tiers.run()
    assert delete(tiers, 1, 2, devices="root.p.e.d2") == 1  # covered: nothing above knows it
    assert delete(tiers, 3, 4) == 2
    tiers.run()
    inside = [row for row in tiers.values(tiers.edge) if row[0] == "root.p.e.line.d1"]
    assert tiers.values(tiers.plant) == inside
    assert len(inside) == 4
    assert tiers.forward(tiers.edge)["pending"] == 0


def test_an_image_keeps_the_sums(tiers: Tiers) -> None:
    tiers.write(rows=10)
    image = tiers.edge.engine.slice_image("meters", 0, START_MS * 10**6, (START_MS + 5000) * 10**6)
    tiers.write(rows=1, start_s=20)
    tiers.run()
    devices = tiers.plant.engine.device_ids("meters", ["root.p.e.d1"])
    rows = dataclasses.replace(image.rows, device=np.repeat(devices, 5))
    tiers.plant.engine.apply_image(dataclasses.replace(image, rows=rows)).wait()
    tiers.check()
    for node in (tiers.plant, tiers.group):
        node.engine.flush()
        node.crash()
        node.start()
    tiers.check()
    assert len(same_everywhere(tiers)) == 11
    assert tiers.plant.engine.store_accounting()["meters"].overwritten == 5


def u32(*values: int) -> Any:
    return np.array(values, np.uint32)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


TABLE = TableMap(
    "t",
    "t_here",
    60,
    {
        0: MeasurementMap(4, int(ColumnType.INT32), "a"),
        1: MeasurementMap(CONFLICT, int(ColumnType.INT32), "b"),
    },
)


def test_ids_of_a_child_are_mapped() -> None:
    maps = OriginMaps()
    maps.put_devices([0, 1, 2], i64(9, DENIED, 3))
    erasure = Erasure("t", 5, 0, 10, u32(0, 1, 2), i64(1, 2, 3), i64(2, 3, 8), (0, 1))
    found = map_erasure(erasure, TABLE, maps)
    assert found is not None
    assert (found.table, found.measurements) == ("t_here", (4,))
    assert found.devices is not None
    assert found.times is not None
    assert found.ends is not None
    assert found.devices.tolist() == [3, 9]
    assert (found.times.tolist(), found.ends.tolist()) == ([3, 1], [8, 2])
    whole = map_erasure(Erasure("t", 5, 0, 10, u32(0, 2)), TABLE, maps)
    assert whole is not None
    assert whole.devices is not None
    assert whole.devices.tolist() == [3, 9]
    assert map_erasure(Erasure("t", 5, 0, 10, u32(1)), TABLE, maps) is None
    assert map_erasure(Erasure("t", 5, 0, 10, measurements=(1,)), TABLE, maps) is None
    with pytest.raises(UnknownSchemaError, match="device"):
        map_erasure(Erasure("t", 5, 0, 10, u32(3)), TABLE, maps)
    with pytest.raises(UnknownSchemaError, match="measurements"):
        map_erasure(Erasure("t", 5, 0, 10, measurements=(7,)), TABLE, maps)


def test_entries_of_a_payload_are_selected() -> None:
    payload = b"".join(map(byte_view, erasure_payload(Erasure("t", 5, 0, 9, u32(1, 2), i64(3, 4)))))
    assert scoped_payload(payload, None) is payload
    assert scoped_payload(payload, np.array([True, True])) is payload
    assert scoped_payload(payload, np.array([False, False])) is None
    some = scoped_payload(payload, np.array([False, True]))
    assert some is not None
    assert some != payload


def test_slices_that_spans_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = np.array([[0, 60], [59, 61], [300, 421]], np.int64)
    known = i64(-1, 0, 5, 6, 7, 8)
    assert touched_by(spans, 60, known).tolist() == [0, 1, 5, 6, 7]
    monkeypatch.setattr("mainstem_sync.slices.slice_table.SPAN_SLICES_MAX", 3)
    assert touched_by(spans, 60, known).tolist() == [0, 5, 6, 7]
