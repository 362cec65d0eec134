"""Stored rows of a template, in windows of time, for rules that are tried on them.

Read with SQL, from a node or from a data directory. Bounded: ROWS_MAX rows in all, windows of about
WINDOW_ROWS; more is refused before anything is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_edge.alarms.replay import Replay
from mainstem_edge.alarms.rule import Transition
from mainstem_edge.errors import TooMuchHistoryError
from mainstem_engine.model import Column, TimesNs

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_node.shell.source import Source

ROWS_MAX = 20_000_000
"""Some minutes of reading; a week of a hundred devices at one row in 3 s."""
WINDOW_ROWS = 100_000
WINDOWS_MAX = 10_000
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class History:
    """``names``: measurements by id, of ``template``."""

    source: Source
    template: str
    names: Mapping[int, str]
    start_ns: int
    end_ns: int

    def count(self) -> int:
        """Rows. Raises TooMuchHistoryError."""
        found = self._ask(["count(*)"], self.start_ns, self.end_ns)
        count = int(found.column(0)[0].as_py())
        if count > ROWS_MAX:
            raise TooMuchHistoryError(
                f"{self.template} has {count:,} rows in this time",
                hint=f"choose --from and --to so that they are below {ROWS_MAX:,}",
            )
        return count

    def changes(self, replay: Replay) -> Iterator[Transition]:
        """What the rules of ``replay`` would have raised and cleared."""
        windows = min(WINDOWS_MAX, -(-self.count() // WINDOW_ROWS))
        bounds = np.linspace(self.start_ns // NS_PER_MS, self.end_ns // NS_PER_MS, windows + 1)
        for begin_ms, end_ms in itertools.pairwise(bounds):
            begin_ns, end_ns = int(begin_ms) * NS_PER_MS, int(end_ms) * NS_PER_MS
            columns = ["time", "device", *(f'"{name}"' for name in self.names.values())]
            found = self._ask(columns, begin_ns, end_ns)
            yield from replay.feed(
                replay.ids(found.column("device").to_pylist()),
                _times(found.column("time")),
                {key: _column(found.column(2 + at)) for at, key in enumerate(self.names)},
                end_ns,
            )

    def _ask(self, columns: Sequence[str], start_ns: int, end_ns: int) -> pa.Table:
        start, end = (f"TIMESTAMP '{_written(each)}'" for each in (start_ns, end_ns))
        return self.source.arrow(
            f'SELECT {", ".join(columns)} FROM "{self.template}"'
            f" WHERE time >= {start} AND time < {end}"
        )


def _written(time_ns: int) -> str:
    return f"{np.datetime64(time_ns // NS_PER_MS, 'ms')}Z"


def _times(column: Any) -> TimesNs:
    import pyarrow as pa

    found: TimesNs = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    return found


def _column(column: Any) -> Column:
    """A number or condition; null where it is null."""
    import pyarrow as pa

    valid = column.is_valid().to_numpy()
    values = column.fill_null(False if pa.types.is_boolean(column.type) else 0).to_numpy()
    return Column(values) if valid.all() else Column(values, valid)
