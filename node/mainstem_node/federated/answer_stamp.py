"""The stamp of what this node reads for a question: its rows, and what else the answer shows.

Names and types of a table, paths of devices, and which node a device belongs to at which time are
part of it. There is no stamp of the newest values, which have no range, nor of rows that are about
to expire: time alone changes them.
"""

from __future__ import annotations

from mainstem_engine.engine import Engine
from mainstem_node.federated.wish import NEWEST, Wish
from mainstem_sync import Federation


def stamp_of(engine: Engine, federation: Federation, wish: Wish) -> str:
    """Hexadecimal; empty where there is none. Raises NotFoundError."""
    if wish.kind == NEWEST:
        return ""
    revision = engine.catalog.revision
    table = engine.catalog.table(wish.table).name
    spans = [span for part in wish.parts for span in part.spans]
    more = [str(revision).encode()]
    for node in sorted({node for part in wish.parts for node in part.nodes}):
        more += [node.encode(), federation.devices_of(node).tobytes()]
        more += federation.moving.moves.ids_of(node)
    stamp = federation.stamps.of(table, spans, more, visible_ns=engine.visible_from_ns(table))
    return "" if stamp is None else stamp.hex()
