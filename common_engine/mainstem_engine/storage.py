"""What the bytes of parts are spent on: by measurement, encoding and compression.

Read from the footers alone, so it costs little however large the parts are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mainstem_engine.encoding.interface import Compression, EncodingNumber
from mainstem_engine.part.layout import (
    DEVICE_COLUMN,
    LSN_COLUMN,
    ORIGIN_COLUMN,
    TIME_COLUMN,
    PartFooter,
)

SYSTEM_NAMES = {
    DEVICE_COLUMN: "(device)",
    TIME_COLUMN: "(time)",
    ORIGIN_COLUMN: "(origin)",
    LSN_COLUMN: "(lsn)",
}
"""No measurement can be called so."""


@dataclass(frozen=True, slots=True)
class ColumnStorage:
    """Blocks of one column with one encoding and compression. ``values``: those that are not null.
    ``bytes`` include validity bitmaps."""

    column: str
    encoding: str
    compression: str
    blocks: int
    values: int
    bytes: int

    @property
    def bytes_per_value(self) -> float | None:
        return self.bytes / self.values if self.values else None


def column_name(key: int, names: Mapping[int, str]) -> str:
    """What a column of a part is called in a listing."""
    return SYSTEM_NAMES.get(key) or names.get(key) or f"measurement {key}"


def encoding_name(number: int) -> str:
    return _name(EncodingNumber, number)


def compression_name(number: int) -> str:
    return _name(Compression, number)


def _name(kind: type[EncodingNumber] | type[Compression], number: int) -> str:
    return kind(number).name if number in kind.__members__.values() else f"{number}"


def column_storage(
    footers: Iterable[PartFooter], names: Mapping[int, str]
) -> tuple[ColumnStorage, ...]:
    """Sums over the parts of one table, ordered by column, the largest share first.

    A column of a block that is all null, or whose device the index has, takes no bytes and is not
    among them.
    """
    sums: dict[tuple[int, int, int], list[int]] = {}
    for footer in footers:
        rows = footer.blocks.rows.astype(np.int64)
        for key, index in footer.columns.items():
            sizes = index.bytes.astype(np.int64) + index.valid_bytes
            kinds = index.encoding.astype(np.int64) << 8 | index.compression
            for kind in np.unique(kinds[sizes > 0]).tolist():
                mine = (kinds == kind) & (sizes > 0)
                total = sums.setdefault((key, kind >> 8, kind & 0xFF), [0, 0, 0])
                total[0] += int(np.count_nonzero(mine))
                total[1] += int((rows[mine] - index.nulls[mine]).sum())
                total[2] += int(sizes[mine].sum())
    ordered = sorted(sums.items(), key=lambda item: (item[0][0], -item[1][2]))
    return tuple(
        ColumnStorage(
            column_name(key, names),
            encoding_name(encoding),
            compression_name(compression),
            *total,
        )
        for (key, encoding, compression), total in ordered
    )


def stored_values(storage: Iterable[ColumnStorage]) -> int:
    """Values of measurements, which is what a point is: nulls and keys do not count."""
    return sum(each.values for each in storage if each.column not in SYSTEM_NAMES.values())
