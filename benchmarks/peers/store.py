"""What every contestant can be asked to do, and how its answers are brought to one shape.

1. A store is opened in a process of its own. What it holds is one table: ``device`` and ``time``
   (ms), and the sensors of telemetry.py; (device, time) is unique.
2. A class says how its product is meant to be used, where that is written, and what of the contest
   it cannot do. The contest itself knows no product by name.
3. Answers stay as the product hands them out while the clock runs: an Arrow table, rows, or a tuple
   of arrays. ``answer_columns`` brings them to sorted columns of numbers, to be compared.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from telemetry import Batch

TABLE = "machines"
MINUTE_MS = 60_000
DAY_MS = 86_400_000
BATCH_ROWS = 100_000
FILTER_ABOVE = 50
"""Of m1 in the filtered group-by: about half of the rows."""


class Store(ABC):
    """One product with its files below ``place``.

    ``form``: one of ``forms``, which differ in how the files were laid out by settle(). ``new``:
    the table is created; otherwise files are only read.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[Mapping[str, str]] = {}
    """Distribution -> module that must be there."""
    forms: ClassVar[Sequence[str]] = ("",)
    """The fastest form counts for a question, the smallest for size."""
    asked_of: ClassVar[Mapping[str, str]] = {}
    """Question -> the only form that answers it; others are asked of every form that no question
    has for itself."""
    sorted_input: ClassVar[bool] = False
    """Takes rows only by device and time: they are sorted for it before the clock runs."""
    device_share: ClassVar[float] = 1.0
    """Part of the devices that it gets when the whole would take too long. Times of what goes over
    all devices are scaled up, and marked."""
    row_share: ClassVar[float] = 1.0
    """The same of the rows that are written one by one."""
    batch_rows: ClassVar[int] = BATCH_ROWS
    cannot: ClassVar[Mapping[str, str]] = {}
    """Line -> why it has no figure."""
    notes: ClassVar[Mapping[str, str]] = {}
    """Line -> what its figure means where that is not what the line says."""

    def __init__(self, place: Path, devices: int, form: str = "", *, new: bool = False) -> None:
        self.place = place
        self.devices = devices
        self.form = form
        if new:
            place.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls) -> list[str]:
        """Distributions that are not installed, or whose module does not exist here."""
        found = []
        for distribution, module in cls.packages.items():
            try:
                version(distribution)
            except PackageNotFoundError:
                found.append(distribution)
                continue
            if importlib.util.find_spec(module) is None:
                found.append(distribution)
        return found

    @classmethod
    @abstractmethod
    def import_modules(cls) -> None:
        """What is loaded before any clock runs."""

    @classmethod
    def general_forms(cls) -> list[str]:
        """Forms that answer whatever no form answers alone."""
        return [form for form in cls.forms if form not in cls.asked_of.values()]

    @classmethod
    def forms_for(cls, question: str) -> list[str]:
        """Forms that answer ``question``."""
        only = cls.asked_of.get(question)
        return cls.general_forms() if only is None else [only]

    # Writing

    @abstractmethod
    def load(self, batches: Iterable[Batch]) -> None:
        """Every batch durable by itself where there is a log; returns when the last one is."""

    def load_in_turn(self, batches: Iterable[Batch]) -> None:
        """load(), each batch durable before the next begins."""
        self.load(batches)

    def rows_of(self, batch: Batch) -> list[Any]:
        """What insert_rows() takes, made before the clock runs: (device, time, values...)."""
        columns: list[npt.NDArray[Any]] = [batch.device, batch.time, *batch.columns.values()]
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def insert_rows(self, rows: Sequence[Any]) -> None:
        """One call and one durable commit a row."""
        raise NotImplementedError

    @abstractmethod
    def settle(self) -> None:
        """After loading, not timed: what the product does to make its files small and quick."""

    @abstractmethod
    def data_bytes(self) -> int:
        """Bytes of the files of this form, log excluded."""

    @abstractmethod
    def close(self) -> None:
        """Everything is in data files, and those are durable."""

    # Asking. Times are in ms; ``end`` is exclusive.

    @abstractmethod
    def last(self, device: int) -> Any:
        """The newest row: time, and every sensor."""

    @abstractmethod
    def range(self, device: int, start: int, end: int, sensor: str) -> Any:
        """time, value by time."""

    @abstractmethod
    def windows(self, device: int, sensor: str) -> Any:
        """minute, mean."""

    @abstractmethod
    def groups(self) -> Any:
        """device, number of rows, mean of m0, maximum of m1."""

    @abstractmethod
    def filtered_groups(self) -> Any:
        """device, mean of m0 where m1 > FILTER_ABOVE."""

    @abstractmethod
    def all_windows(self) -> Any:
        """device, minute, mean of m0."""

    @abstractmethod
    def day_windows(self) -> Any:
        """device, day, mean of m0: windows that cover whole blocks."""

    def rollup_windows(self) -> Any:
        """all_windows() where the product may have computed them beforehand."""
        return self.all_windows()

    def first_answer(self, device: int, start: int, end: int, sensor: str) -> Any:
        """range() for a store that was opened a moment ago."""
        return self.range(device, start, end, sensor)


def arrow_table(batch: Batch) -> Any:
    """The rows as an Arrow table, without a copy."""
    import pyarrow as pa

    return pa.table({"device": batch.device, "time": batch.time, **batch.columns})


def answer_columns(answer: Any, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """``answer`` as columns of numbers, sorted by its first ones, the ``keys`` (``device``,
    ``time``, or both): devices as numbers from 0, times in ms. Rows and tuples begin with them."""
    if isinstance(answer, list):
        arrays = [np.asarray(column) for column in zip(*answer, strict=True)]
    elif isinstance(answer, tuple):
        arrays = [np.asarray(column) for column in answer]
    else:
        named = {_KEYS.get(name, name): answer.column(name) for name in answer.column_names}
        first = [named.pop(key) for key in keys]
        # The device that was asked for stands in every row of some answers.
        named.pop("device", None)
        arrays = [_numbers(column) for column in (*first, *named.values())]
    if not arrays:
        return []
    order = np.lexsort([arrays[number] for number in reversed(range(len(keys)))])
    return [column[order] for column in arrays]


_KEYS = {"minute": "time", "day": "time"}
"""Windows are named by what they are."""


def _numbers(column: Any) -> npt.NDArray[Any]:
    """An Arrow column as numbers. A device's name ends in its number."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = column.to_pylist()
        return np.array([int(text.rpartition("d")[2]) for text in texts], np.int64)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    found: npt.NDArray[Any] = column.to_numpy()
    return found


def differences(ours: Sequence[npt.NDArray[Any]], theirs: Sequence[npt.NDArray[Any]]) -> str:
    """What is not the same; "" when all is. Sums of doubles depend on their order a little."""
    if len(ours) != len(theirs):
        return f"{len(ours)} columns for {len(theirs)}"
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if len(mine) != len(other):
            return f"{len(mine):,} rows for {len(other):,}"
        left, right = mine.astype(np.float64), other.astype(np.float64)
        wrong = np.flatnonzero(~np.isclose(left, right, rtol=1e-9, atol=0))
        if len(wrong):
            row = wrong[0]
            return f"column {number}, row {row:,}: {left[row]} for {right[row]}"
    return ""
