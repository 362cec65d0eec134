"""What this tier deleted of the rows of another node, and images that it does not take for that.

1. A delete here of rows that a child owns is a DEL record that names their origin. Its slices are
   DELETED_HERE from then on: shown, never compared, never answered for and never repaired back.
2. An image of such a slice would bring the rows back: it is not applied. An EVT record (``op``
   declined: ``node``, ``name``, ``epoch``, ``t``, ``s``, ``e``, ``as_of``, ``n`` rows of it) says
   that it came, so that nobody waits for it any more. Its rows count as known already.
3. A tier above that waits for an image of such a slice is told that it is lost (loss.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mainstem_engine.erasures import Erasure
from mainstem_engine.images import SliceImage
from mainstem_sync.origins.origin_state import Origins, OriginState
from mainstem_sync.slices.slice_table import touched_by
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.state.accounting import Accounts
from mainstem_sync.wire.messages import OriginKey

DECLINED = "declined"
"""``op`` of the EVT record of an image that is not taken."""


def declined_header(image: SliceImage) -> dict[str, Any]:
    """Of the EVT record; the rows of ``image`` are those that are left out."""
    origin = image.origin
    return {
        "op": DECLINED, "node": origin.node_uuid, "name": origin.node, "epoch": origin.epoch,
        "t": image.table, "s": image.start_ns, "e": image.end_ns, "as_of": image.as_of,
        "n": len(image.rows),
    }  # fmt: skip


def deleted_here(
    origins: Origins,
    erasure: Erasure,
    watch_of: Callable[[OriginState, str], TableWatch],
) -> None:
    """A DEL record of this node was applied; it may be about rows of another."""
    origin = erasure.origin
    if origin is None:
        return
    state = origins.get(OriginKey(origin.node_uuid, origin.epoch, origin.node))
    if state is not None:
        watch = watch_of(state, erasure.table)
        watch.deleted_here(touched_by(erasure.spans, watch.slice_ns, watch.slices.keys))


def image_declined(
    origins: Origins, accounts: Accounts, header: Mapping[str, Any], monotonic: float
) -> None:
    """An EVT record says that an image came and was not taken."""
    table, start_ns, end_ns = header["t"], header["s"], header["e"]
    accounts.duplicates([(table, header["n"])])
    state = origins.get(OriginKey(header["node"], header["epoch"], header["name"]))
    mapped = None if state is None else state.local_table(table)
    if state is None or mapped is None:
        return
    first, last = start_ns // mapped.slice_ns, (end_ns - 1) // mapped.slice_ns
    state.repairs.answered(table, first, last, header["as_of"], monotonic)
    owed = state.backlog.image_applied(mapped.name, start_ns, end_ns, header["as_of"])
    state.received.update(owed)
