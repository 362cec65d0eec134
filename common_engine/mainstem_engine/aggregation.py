"""What an aggregate over one table asks: functions, groups, and which rows take part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mainstem_engine.value_filter import ValueFilter
from mainstem_engine.windows import Wanted


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What to compute: ``wanted`` by measurement id, per window of ``every_ns`` (None: one of all
    time, else > 0), ``by_device`` or over all devices, of the rows that pass all ``filters``.

    ``row_times`` False: nobody asks for the first and last time of the rows of a group.
    """

    wanted: Mapping[int, Wanted]
    every_ns: int | None = None
    by_device: bool = False
    filters: tuple[ValueFilter, ...] = ()
    row_times: bool = True
