"""Case 4: of a point that was altered, deleted or added behind the engine's back at the platform,
`verify` names the device, the measurement and the time, out of many devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainstem_engine.model import VersionedRows
from mainstem_sync.slices.watch import PROVEN_SLICES_KEPT
from mainstem_sync.testing.nodes import START_NS
from mainstem_sync.testing.tampering import tamper, with_row_at, with_value, without
from mainstem_sync.testing.tiers import MINUTE_NS, START_MS, Tiers

DEVICES = 60
NUMBER = 60 * 37 + 21
"""Row 21 of device 37, where each has 60 rows."""

WHERE = ("edge", "meters", "root.p.e.d137", START_MS + 21_000)
"""Node, table, device and time of that row."""


def filled(tiers: Tiers) -> None:
    """Many devices, a minute each, proven at the platform and the group."""
    engine = tiers.edge.engine
    ids = engine.device_ids("meters", [f"root.p.e.d{n + 100}" for n in range(DEVICES)], create=True)
    times = START_MS + np.arange(60) * 1000
    values = np.arange(DEVICES * 60) / 8
    engine.write("meters", np.repeat(ids, 60), np.tile(times, DEVICES), {"current": values}).wait()
    tiers.close()
    for node in (tiers.plant, tiers.group):
        assert node.federation.verify(rescan=True)["slices"] == []
        assert node.federation.verify()["points"] == []


def named(tiers: Tiers) -> list[dict[str, Any]]:
    """What verify names once the slice was repaired."""
    assert len(tiers.plant.federation.verify(rescan=True)["slices"]) == 1
    before = tiers.values(tiers.edge)
    for _ in range(8):
        tiers.run(1.8)
        tiers.clock.advance(5)
        tiers.edge.federation.run_manifests(tiers.clock.now_ns)
        tiers.plant.federation.run_verification()
    assert tiers.values(tiers.plant) == before
    found = tiers.plant.federation.verify(rescan=True)
    assert found["slices"] == []
    points: list[dict[str, Any]] = found["points"]
    return points


def place(point: dict[str, Any]) -> tuple[Any, ...]:
    return point["node"], point["table"], point["device"], point["time"]


def test_case_4_the_altered_point_is_named(tiers: Tiers) -> None:
    filled(tiers)
    key = _key(tiers, "current")
    tamper(tiers.plant.engine, "meters", with_value(NUMBER, key))
    (point,) = named(tiers)
    assert place(point) == WHERE
    assert (point["measurement"], point["what"]) == ("current", "altered")
    assert point["owner"] == NUMBER / 8
    assert point["here"] == np.nextafter(NUMBER / 8, 1e9)


def test_case_4_the_deleted_point_is_named(tiers: Tiers) -> None:
    filled(tiers)
    tamper(tiers.plant.engine, "meters", without(NUMBER))
    (point,) = named(tiers)
    assert place(point) == WHERE
    assert (point["what"], point["here"], point["owner"]) == ("missing", None, NUMBER / 8)


def test_case_4_the_added_point_is_named(tiers: Tiers) -> None:
    filled(tiers)
    at = START_MS + 21_500
    tamper(tiers.plant.engine, "meters", with_row_at(NUMBER, at * 10**6))
    (point,) = named(tiers)
    assert place(point) == (*WHERE[:3], at)
    assert (point["what"], point["here"], point["owner"]) == ("added", NUMBER / 8, None)


def test_case_4_points_of_an_hour_are_named_too(tiers: Tiers) -> None:
    """Day, hour, slice, device: an hour is stated anew by the minute, then the minute is asked
    for."""
    engine = tiers.edge.engine
    slices = PROVEN_SLICES_KEPT + 600
    ids = engine.device_ids("meters", ["root.p.e.d1", "root.p.e.d2"], create=True)
    times = START_MS - (slices - np.arange(slices)) * 60_000
    engine.write(
        "meters", np.repeat(ids, slices), np.tile(times, 2), {"current": np.tile(times / 1000, 2)}
    ).wait()
    tiers.close()
    tiers.plant.federation.run_verification()
    tamper(tiers.plant.engine, "meters", with_value(slices + 70, _key(tiers, "current")))
    (listed,) = tiers.plant.federation.verify(rescan=True)["slices"]
    assert listed["to"] - listed["from"] == 3_600_000
    (point,) = named(tiers)
    assert (point["device"], point["time"]) == ("root.p.e.d2", times[70])


def test_points_are_those_of_the_window_and_bounded(tiers: Tiers) -> None:
    filled(tiers)

    def emptied(rows: VersionedRows) -> VersionedRows:
        return rows.take(np.arange(0))

    tamper(tiers.plant.engine, "meters", emptied)
    points = named(tiers)
    assert len(points) == 50
    assert {point["what"] for point in points} == {"missing"}
    verify = tiers.plant.federation.verify
    assert verify(START_NS - MINUTE_NS, START_NS)["points"] == []
    assert len(verify(START_NS, START_NS + MINUTE_NS)["points"]) == 50


def test_images_of_owed_slices_name_nothing(tiers: Tiers) -> None:
    """An image that comes for another reason finds rows that are not there yet."""
    filled(tiers)
    tamper(tiers.plant.engine, "meters", without(NUMBER))
    (state,) = tiers.plant.federation._follower.origins
    tiers.plant.federation.exchange.repair.want(state.key, "meters", [START_NS // MINUTE_NS])
    tiers.run()
    assert tiers.plant.federation.verify()["points"] == []
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)


def _key(tiers: Tiers, name: str) -> int:
    table = tiers.plant.engine.catalog.table("meters")
    return next(item.id for item in table.template.measurements if item.name == name)
