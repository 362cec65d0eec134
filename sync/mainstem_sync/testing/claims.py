"""What must hold while a simulation runs, and at its end.

1. The sums hold at every node, at every moment.
2. A parent has applied what its child takes for acknowledged.
3. Wherever a row lies, its values were once written there: nothing wrong, nothing misplaced.
4. A slice below ``complete_through`` has a content that its owner had when it made a statement:
   completeness never claims what is not there.

``ClaimError`` names what does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np

from mainstem_engine.errors import NotFoundError
from mainstem_sync.state import accounting
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.real_nodes import RealNode
from mainstem_sync.testing.truth import SLICE_MS, TABLE, Content, Key, Row, Truth, by_slice

Node = MemoryNode | RealNode

NS_PER_MS = 1_000_000


class ClaimError(AssertionError):
    """Something that was promised does not hold."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise ClaimError(what)


def check_sums(node: Node) -> None:
    """Rule 1."""
    problems = accounting.check(node.federation.accounting())
    require(not problems, f"{node.name}: {problems}")


def check_acknowledged(child: Node, parent: Node) -> None:
    """Rule 2. What a process was told that another one with its identity has fenced is of an epoch
    that has ended by now: there it was applied."""
    delivery = child.federation.delivery()
    acked = delivery["acked_lsn"] if delivery else 0
    ended = _ended(child, parent)
    for seen in parent.federation.children():
        if seen["node"] == child.name:
            applied = seen["delivery"]["applied_lsn"] if ended is None else ended
            require(applied >= acked, f"{parent.name} applied {applied}, {child.name} says {acked}")


def _ended(child: Node, parent: Node) -> int | None:
    """How far the parent has the epoch that the child believes to be in; None unless another one
    has begun since."""
    sender = child.federation.sender
    assert sender is not None
    follower = parent.federation._follower  # noqa: SLF001 - nobody else needs to know
    if follower.lines.table(sender.own.uuid).current <= sender.own.epoch:
        return None
    state = follower.origins.get(sender.own)
    return 0 if state is None else state.received.watermark


def content_of(node: Node, table: str, below: str) -> Content:
    """What a query reads of the devices below a path."""
    return contents_of(node, table, [below])[below]


def contents_of(node: Node, table: str, below: Iterable[str]) -> dict[str, Content]:
    """The same for several paths, of which none lies below another, by path."""
    found: dict[str, list[Row]] = {path: [] for path in below}
    for row in _rows_of(node, table):
        for path, rows in found.items():
            if row[0].startswith(path):
                rows.append(row)
    return {path: frozenset(rows) for path, rows in found.items()}


def _rows_of(node: Node, table: str) -> Iterator[Row]:
    try:
        rows = node.engine.scan_rows(table)
    except NotFoundError:
        return iter(())
    devices = node.engine.catalog.devices
    paths = {device: devices.path(device) for device in np.unique(rows.device).tolist()}
    keys = zip(rows.device.tolist(), (rows.time // NS_PER_MS).tolist(), strict=True)
    values: list[list[Any]] = [[] for _ in range(len(rows))]
    for column in rows.columns.values():
        valid = None if column.valid is None else column.valid.tolist()
        for at, value in enumerate(column.values.tolist()):
            if valid is None or valid[at]:
                values[at].append(value)
    return (
        (paths[device], time, frozenset(found))
        for (device, time), found in zip(keys, values, strict=True)
    )


def check_content(
    node: Node, content: Content, truth: Truth, spoiled: Set[Key] = frozenset()
) -> None:
    """Rule 3. ``spoiled``: rows that were changed behind the node's back."""
    for device, time, values in content:
        known = truth.ever.get((device, time), set())
        require(
            values <= known or (device, time) in spoiled,
            f"{node.name}: {device} at {time} has {values - known}",
        )


def declared_slices(node: Node, origin: str) -> list[tuple[int, int]]:
    """Stretches [from, to) in ms of an origin's rows that the node says are not comparable."""
    found = []
    for item in node.federation.completeness([TABLE]):
        if item["node"] == origin:
            # Of what lies before the first closed slice nothing is said at all.
            found.append((0, _first_closed(node, origin, item["table"]) * SLICE_MS))
            found += [(lost["from"], lost["to"]) for lost in item["lost"]]
    return found


def check_declared(
    node: Node,
    content: Content,
    truth: Truth,
    declared: list[tuple[int, int]],
    spoiled: Set[Key] = frozenset(),
) -> None:
    """Rows in declared slices: they differ only where a record touched them that the owner itself
    has lost, or somebody behind the node's back."""
    held = {(device, time): values for device, time, values in content}
    wanted = {
        key: frozenset(row.values())
        for key, row in truth.rows.items()
        if any(first <= key[1] < end for first, end in declared)
    }
    for key in (held.keys() | wanted.keys()) - truth.orphans - truth.damaged - spoiled:
        if key[1] < truth.whole_from_ms or key[1] // SLICE_MS in truth.rests:
            continue
        here, there = held.get(key), wanted.get(key)
        require(here == there, f"{node.name}, declared: {here} of {key}, and not {there}")


def check_claims(
    node: Node, origin: str, content: Content, truth: Truth, spoiled: Set[Key] = frozenset()
) -> int:
    """Rule 4; returns how many slices were claimed."""
    held = by_slice(content)
    dark = {time // SLICE_MS for _, time in spoiled}
    claimed = 0
    for slice_, told in claimed_slices(node, origin, truth):
        claimed += 1
        found = held.get(slice_, frozenset())
        known = truth.stated.get(slice_, {frozenset()})
        require(
            found in known or slice_ in dark,
            f"{node.name} claims {told} of {origin}, and has {sorted(found, key=repr)} in slice "
            f"{slice_}",
        )
    return claimed


def claimed_slices(node: Node, origin: str, truth: Truth) -> Iterator[tuple[int, str]]:
    """Slices of an origin that are complete, as the node says, and what it says."""
    for item in node.federation.completeness([TABLE]):
        through = item["complete_through"]
        if item["node"] != origin or through is None or not truth.stated:
            continue
        excused = [*item["holes"], *((lost["from"], lost["to"]) for lost in item["lost"])]
        first = max(min(truth.stated), _first_closed(node, origin, item["table"]))
        for slice_ in range(first, through // SLICE_MS):
            if not any(
                start < (slice_ + 1) * SLICE_MS and end > slice_ * SLICE_MS
                for start, end in excused
            ):
                yield slice_, f"{item['table']} through {through}"


def _first_closed(node: Node, origin: str, table: str) -> int:
    """The first slice that its owner has closed, as far as the node knows: of what lies before it
    nothing is claimed."""
    for state in node.federation._follower.origins:  # noqa: SLF001 - nobody else needs to know
        watch = state.watches.get(table)
        if state.key.name == origin and watch is not None and watch.closed:
            return int(next(iter(watch.closed))[0])
    return 0
