"""Where one point comes from: its versions, the tiers that it went through, what it became part of.

Of a tier only what this node knows is told: when its owner had it (at the latest: before its next
manifest, and before anybody else had it), when it was received here, and when the parent
acknowledged it. A window of a rollup is named if there is a value that it could be made of.
"""

from __future__ import annotations

from typing import Any

from mainstem_engine.engine import Engine
from mainstem_engine.errors import NotFoundError
from mainstem_sync.proof.proven import Heard
from mainstem_sync.state.follower import Follower
from mainstem_sync.wire.messages import OriginKey

NS_PER_MS = 1_000_000


def trace(
    node: str,
    engine: Engine,
    follower: Follower,
    device: str,
    measurement: str,
    time_ns: int,
    *,
    heard: Heard,
    parent: str | None,
) -> dict[str, Any]:
    """``{"device","measurement","time","versions","hops","rollups"}``, times in ms; ``versions`` in
    their order, the last is what a query reads. ``heard``: what tiers above proved; ``parent``: by
    name. Raises NotFoundError."""
    catalog = engine.catalog
    number = catalog.devices.id_of(device)
    if number is None:
        raise NotFoundError(f"there is no device {device}", field="device")
    table = catalog.table(catalog.devices.family_name(number))
    column = table.measurement(measurement)
    if column is None:
        raise NotFoundError(
            f"{table.name} has no measurement {measurement}", field="measurement",
            hint=f"it has {', '.join(m.name for m in table.template.measurements)}",
        )  # fmt: skip
    rows = engine.fragments(table.name, number, time_ns)
    found = rows.columns.get(column.id)
    versions: list[dict[str, Any]] = []
    places: list[tuple[int, int]] = []
    for at in range(len(rows) if found is not None else 0):
        assert found is not None
        if found.valid is not None and not found.valid[at]:
            continue
        origin, lsn = int(rows.origin[at]), int(rows.lsn[at])
        who = engine.origins[origin]
        value = found.values[at]
        value = value.item() if hasattr(value, "item") else value
        versions.append(
            {"node": who.node, "epoch": who.epoch, "lsn": lsn,
             "value": value.hex() if isinstance(value, bytes) else value}
        )  # fmt: skip
        places.append((origin, lsn))
    hops = _hops(node, engine, follower, heard, *places[-1], parent) if places else []
    rollups = [
        {
            "table": other.name,
            "from": time_ns // every * every // NS_PER_MS,
            "to": (time_ns // every + 1) * every // NS_PER_MS,
        }
        for other in (catalog.templates.all() if versions else ())
        if other.template.rollup_of == table.name and (every := other.template.every_ns)
    ]
    return {
        "device": catalog.devices.path(number),
        "measurement": column.name,
        "time": time_ns // NS_PER_MS,
        "versions": versions,
        "hops": hops,
        "rollups": rollups,
    }


def _hops(
    node: str,
    engine: Engine,
    follower: Follower,
    heard: Heard,
    origin: int,
    lsn: int,
    parent: str | None,
) -> list[dict[str, Any]]:
    """The tiers that the version went through, its owner first, as far as is known here."""
    forward = follower.forward
    who = engine.origins[origin]
    key = OriginKey(who.node_uuid, who.epoch, who.node)
    with follower.lock:
        acked = None if forward is None else forward.acked_at(key, lsn)
        if key.uuid == engine.node_uuid:
            is_held = forward is not None and lsn in forward.held
            passed = acked if is_held else None
            hops = [_hop(node, _earlier(follower.written.of(lsn), passed), passed)]
        else:
            state = follower.origins.get(key)
            if state is None or lsn not in state.received:
                return [_hop(who.node, None, None)]
            here = state.moments.of(lsn)
            written = _earlier(state.written.of(lsn), here)
            hops = [_hop(who.node, written, here if state.via == who.node else None)]
            if state.via != who.node:
                hops.append(_hop(state.via, None, here))
            # Above a hole the parent may have later records and lack this one.
            is_held = any(said.teller == parent and lsn <= said.through for said in heard.of(key))
            hops.append(_hop(node, here, acked if is_held else None))
    if parent is not None and hops[-1]["acked"] is not None:
        hops.append(_hop(parent, hops[-1]["acked"], None))
    return hops


def _earlier(one: int | None, other: int | None) -> int | None:
    """The smaller of two times of which either may be unknown."""
    return min((each for each in (one, other) if each is not None), default=None)


def _hop(node: str, received: int | None, acked: int | None) -> dict[str, Any]:
    return {"node": node, "received": received, "acked": acked}
