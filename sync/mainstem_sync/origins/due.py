"""Which received tables have to be looked at: those of which something changed, or is still open.

1. A parent has thousands of tables below it, and looks every second. A table that is quiet (all
   that was stated is settled, nothing closed is missing) stays so until something happens to its
   watch, and that makes it due.
2. A watch is due from the moment at which it is made, restored from a checkpoint, or taken over by
   a new epoch: nothing is remembered of which ones were quiet.
3. The same holds for what is asked for again: an origin is listed while something is.

Guarded by the federation's lock.
"""

from __future__ import annotations

from mainstem_sync.wire.messages import OriginKey


class Due:
    """Tables (by origin and name here) and origins, in the order in which they became due."""

    def __init__(self) -> None:
        self._tables: dict[tuple[OriginKey, str], None] = {}
        self._asking: dict[OriginKey, None] = {}

    def table(self, key: OriginKey, table: str) -> None:
        """A table is due."""
        self._tables[key, table] = None

    def asks(self, key: OriginKey) -> None:
        """Something of an origin is asked for again."""
        self._asking[key] = None

    @property
    def tables(self) -> list[tuple[OriginKey, str]]:
        return list(self._tables)

    @property
    def asking(self) -> list[OriginKey]:
        return list(self._asking)

    def quiet(self, key: OriginKey, table: str) -> None:
        """Nothing is to be done about a table until something happens to it."""
        self._tables.pop((key, table), None)

    def asked(self, key: OriginKey) -> None:
        """Nothing of an origin is asked for any more."""
        self._asking.pop(key, None)
