"""A child that names devices of others, or speaks in another node's name: an alarm says so.

What it sent is put aside or refused whatever this does. The alarm is a record of the log, so that
it is known after a start; at most one an hour for each child: harm must not fill the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_engine.engine import Engine
from mainstem_engine.log.records import RecordKind
from mainstem_sync.receiving.domain import Domain
from mainstem_sync.state.line_following import ALARM

CODE = "TRESPASS"
EVERY_MS = 3_600_000
CHILDREN_MAX = 10_000
"""More than a parent has (8,192 nodes behind one child is the most that is admitted)."""

NAMED_MAX = 3
TEXT_CHARS_MAX = 1000


class Trespasses:
    """Remembers whom it has told of since the start. One caller at a time for each child."""

    def __init__(self) -> None:
        self._told_ms: dict[str, int] = {}

    def devices(
        self, engine: Engine, child: str, domain: Domain, denied: Sequence[str], at_ms: int
    ) -> None:
        """``denied``: paths that are put aside; also those which are of another template here."""
        theirs = [path for path in denied if not domain.holds(path)]
        if theirs:
            more = len(theirs) - NAMED_MAX
            named = ", ".join(theirs[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
            self.tell(engine, child, f"{child} writes to {named}: below none of its paths", at_ms)

    def tell(self, engine: Engine, child: str, text: str, at_ms: int) -> None:
        """Append the alarm, unless there was one of this child within the hour."""
        told_ms = self._told_ms.get(child)
        if told_ms is not None and abs(at_ms - told_ms) < EVERY_MS:
            return
        if len(self._told_ms) >= CHILDREN_MAX:
            self._told_ms.clear()
        self._told_ms[child] = at_ms
        header = {
            "op": ALARM, "code": CODE, "node": child, "text": text[:TEXT_CHARS_MAX], "at": at_ms,
        }  # fmt: skip
        engine.append(RecordKind.EVT, header)
