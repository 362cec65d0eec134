"""What is stored here of a node's line, where it went through several epochs.

1. Rows of each epoch lie under an origin of their own. Of a closed epoch those count that are not
   beyond its end; the others are orphans.
2. An image says all of the line. So it is compared with everything that touched its slice on the
   line, in whatever epoch.
"""

from __future__ import annotations

from collections.abc import Iterator

from mainstem_engine.engine import Engine
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.origin_state import OriginState


def closed_epochs(state: OriginState, table: EpochTable) -> Iterator[tuple[OriginState, int]]:
    """The states of the epochs before that of ``state``, each with its last LSN of the line. Of an
    epoch that ended where it began rows of the line may be here, too: images brought them."""
    for older in state.older:
        yield older, table.end_of(older.key.epoch)


def newest_on_line(
    engine: Engine, state: OriginState, epochs: EpochTable, local: str, start_ns: int, end_ns: int
) -> int:
    """The greatest LSN of the line that is stored of [start, end) of a table (its name here)."""
    newest = engine.slice_max_lsn(local, state.origin, start_ns, end_ns)
    for older, end in closed_epochs(state, epochs):
        if end > newest:
            found = engine.slice_max_lsn(local, older.origin, start_ns, end_ns, end)
            newest = max(newest, found)
    return newest
