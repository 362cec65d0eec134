"""Replay equals live: what a process remembers is what one that starts on its disk finds out.

1. The state of a node's log consumers, and of what stands deleted in its store, is a function of
   checkpoint and log. A second process is started on a copy of the disk, up to where it would write
   its own first record, and every field of both is compared, in objects however deep.
2. What a process knows only until it ends is left out by name, with the reason (``OF_A_PROCESS``).
   Locks, functions, handles and cached properties are no state.
3. Nothing of the node that is looked at changes but what every query changes: pending touches of
   slices are merged, and its log is on disk.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mainstem_engine.deletes import Tombstones
from mainstem_engine.store import Store
from mainstem_sync.federation import Federation
from mainstem_sync.origins.origin_state import UNMAPPED, OriginMaps
from mainstem_sync.slices.slice_states import IS_STICKY, UNPROVEN
from mainstem_sync.slices.slice_table import SliceTable
from mainstem_sync.state.forward import Forward
from mainstem_sync.state.owing import Settled
from mainstem_sync.testing.claims import require
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

OF_A_PROCESS: Mapping[str, str] = {
    "Forward._ages": "when a record came: as of the last checkpoint, later ones from the replay on",
    "Forward.acks": "when the parent acknowledged what: as of the last checkpoint",
    "Follower._deleting_lsn": "used while one record is applied",
    "Follower.cleared": "stamps of another start are different ones anyway",
    "Follower.own_deletes": "deletes since the start",
    "Follower.rules_changed": "whether bind() had to judge anew",
    "Forward.withdrawn": "whether a checkpoint is due",
    "Line.name": "given by bind()",
    "Line.uuid": "given by bind()",
    "Manifests._stated": "pauses between two statements about one slice",
    "Manifests._asked": "as of the last checkpoint: what was stated since is stated once more",
    "OriginState.acked": "what a child was told; a start takes all that it has for told",
    "OriginState.due": "a start looks at everything",
    "OriginState.in_flight": "records that are logged and not yet applied",
    "OriginState.last_ack": "the same",
    "OriginState.repairs": "what is asked for again is found again by the next look",
    "Origins.due": "a start looks at everything",
    "TableSums.duplicates": "a batch that was here already leaves no record",
    "TableSums.in_batches": "the sum of duplicates and what is compared",
    "TableWatch._is_due": "a start looks at everything",
    "TableWatch._on_due": "the same",
    "TableWatch._top": "the same",
    "Trail.head": "points of the own log are noted at each HELLO",
    "Trail.points": "the same",
}
"""Fields, as ``Class.field``, that a start does not bring back, and why."""

SCANNED = ("dirty", "seen", "state")
"""Columns of a watch that say what the last scan found: a start scans again. States that no scan
changes are compared."""

_PLAIN = (bool, int, float, str, bytes, type(None))
_DIFFERENCES_MAX = 5


def check_replayed(node: MemoryNode) -> None:
    """ClaimError if a process that starts on the node's disk knows other things than the node."""
    node.commit()
    node.engine.memory_log.sync()
    federation, store = node.rebuilt()
    with federation._lock:  # noqa: SLF001 - as bind() does it, before anything is written
        federation._follower.origins.replay_finished()  # noqa: SLF001
    _judge_anew(node.federation, federation, store)
    _look(node, store, federation)
    _tell(node.federation._follower.forward, federation._follower.forward, store)  # noqa: SLF001
    differences = list(
        _differing(
            "",
            _known(node.federation, node.engine._store),  # noqa: SLF001
            _known(federation, store),
        )
    )
    federation.close()
    store.memory_log.stop()
    require(
        not differences,
        f"{node.name} knows after a start: " + "; ".join(differences[:_DIFFERENCES_MAX]),
    )


def _known(federation: Federation, store: Store) -> Any:
    consumers = {consumer.name: consumer for consumer in federation.consumers}
    more = {"standing": store.standing, "accounting": store.accounting}
    return _state({**consumers, **more}, set())


def _judge_anew(live: Federation, again: Federation, store: Store) -> None:
    """As bind() does it where no checkpoint was written since the export rules changed. Of what it
    judges now the live one has judged the last records as they came."""
    follower, forward = again._follower, again._follower.forward  # noqa: SLF001
    if forward is None or not follower.rules_changed:
        return
    forward.recount(store.log, {n: s.logged for n, s in follower.accounts.tables.items()})
    known = live._follower.forward  # noqa: SLF001
    if known is not None and forward.kept.contains_all(known.kept):
        forward.kept = known.kept.copy()


def _look(node: MemoryNode, store: Store, federation: Federation) -> None:
    """Both do what they would do next: look at what is known of each origin, merge what slices were
    touched, forget deletes that nothing needs. A checkpoint has those that went after it."""
    own = node.engine._store  # noqa: SLF001
    live, again = node.federation._follower.origins, federation._follower.origins  # noqa: SLF001
    for state in live:
        node.federation.receiver._known(state)  # noqa: SLF001
    store.settled = own.settled  # as the parent's bind() does it
    own._forget_deletes()  # noqa: SLF001
    store._forget_deletes()  # noqa: SLF001
    for table, tombstones in list(store.standing.tombstones.items()):
        kept = {item.lsn for item in own.standing.of(table)}
        left = [t for t in tombstones if t.lsn in kept or t.lsn > store.checkpoint_lsn]
        store.standing.tombstones[table] = Tombstones(left)
        if not left:
            del store.standing.tombstones[table]
    for state in (*live, *again):
        for watch in state.watches.values():
            watch.merge()


def _tell(live: Forward | None, again: Forward | None, store: Store) -> None:
    """The parent says once more what it has said: no record of the log says that."""
    if live is None or again is None:
        return
    for lsn in again.owing.records.keys() - live.owing.records.keys():
        settled = Settled()
        again.owing._finish(lsn, settled)  # noqa: SLF001
        again.settle(settled)
    gone = (again.owing.images.keys() | again.owing.handed.keys()) - (
        live.owing.images.keys() | live.owing.handed.keys()
    )
    again.settle(again.owing.done(sorted(gone), lambda _: False))
    voided = Settled()
    for ref in again.owing.voided.keys() - live.owing.voided.keys():
        voided.add(again.owing.voided.pop(ref)[2])
    again.settle(voided)
    again.resume(live.acked, store.log)
    for first, last in live.held.difference(again.held):
        contents = map(again.classifier.content, store.log.read(first, last))
        again.deliver(list(contents))
    for each in (live, again):  # what only matters for as long as it is owed
        each.bulk = each.bulk.difference(each.held)
        each.statements = each.statements.intersection(each.control)


def _state(value: Any, seen: set[int]) -> Any:
    """As plain values; None for what is no state."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, RangeSet):
        return value.to_wire()
    if isinstance(value, Mapping):
        return {repr(key): _state(item, seen) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [_state(item, seen) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    kind = type(value)
    if callable(value) or not kind.__module__.startswith("mainstem"):
        return None
    if isinstance(value, OriginKey):
        return value.to_wire()  # a value: whether two places share one object is no state
    if id(value) in seen:
        return f"a {kind.__name__} told of elsewhere"
    seen.add(id(value))
    if isinstance(value, SliceTable):
        return _table(value)
    if isinstance(value, OriginMaps):
        # Room for ids to come is no state.
        known = np.flatnonzero(value.devices != UNMAPPED)
        value = replace(value, devices=value.devices[: known.max(initial=-1) + 1])
    return {
        name: _state(getattr(value, name), seen)
        for name in _fields(value)
        if f"{kind.__name__}.{name}" not in OF_A_PROCESS
    }


def _table(table: SliceTable) -> dict[str, Any]:
    found = {name: column.tolist() for name, column in table.columns.items() if name not in SCANNED}
    if "state" in table.columns:
        states = table.columns["state"]
        found["sticky"] = np.where(IS_STICKY[states], states, UNPROVEN).tolist()
    return {"keys": table.keys.tolist(), **found}


def _fields(value: Any) -> Iterator[str]:
    kind = type(value)
    for name in getattr(value, "__dict__", ()):
        if not isinstance(getattr(kind, name, None), functools.cached_property):
            yield name
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                yield name


def _differing(where: str, live: Any, again: Any) -> Iterator[str]:
    if isinstance(live, dict) and isinstance(again, dict):
        for key in live.keys() | again.keys():
            path = f"{where}.{key}"
            if key not in live or key not in again:
                has = "it had" if key in live else "it had not"
                yield f"{path} {has}"
            else:
                yield from _differing(path, live[key], again[key])
    elif isinstance(live, list) and isinstance(again, list) and len(live) == len(again):
        for at, (one, other) in enumerate(zip(live, again, strict=True)):
            yield from _differing(f"{where}[{at}]", one, other)
    elif live != again:
        yield f"{where} {str(again)[:160]}, and not {str(live)[:160]}"
