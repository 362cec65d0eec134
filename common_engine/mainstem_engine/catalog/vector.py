"""A growing one-dimensional array that readers may hold while it grows.

``view()`` is a slice of the current buffer. Growing copies into a new buffer of twice the size, so
that a view taken earlier keeps its values; elements are only ever appended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_FIRST_CAPACITY = 16


class Vector:
    """Appendable numpy array of one fixed dtype."""

    __slots__ = ("_buffer", "_length")

    def __init__(self, dtype: npt.DTypeLike, values: npt.NDArray[Any] | None = None) -> None:
        if values is None:
            self._buffer: npt.NDArray[Any] = np.zeros(_FIRST_CAPACITY, dtype)
            self._length = 0
        else:
            self._buffer = np.array(values, dtype)
            self._length = len(values)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._buffer[index].item()

    def view(self) -> npt.NDArray[Any]:
        """The elements so far, without a copy: only for reading."""
        return self._buffer[: self._length]

    def append(self, value: int) -> None:
        self._reserve(1)
        self._buffer[self._length] = value
        self._length += 1

    def extend(self, values: Iterable[int] | npt.NDArray[Any]) -> None:
        added = np.asarray(values if isinstance(values, np.ndarray) else list(values))
        self._reserve(len(added))
        self._buffer[self._length : self._length + len(added)] = added
        self._length += len(added)

    def _reserve(self, count: int) -> None:
        needed = self._length + count
        if needed > len(self._buffer):
            grown = np.zeros(max(needed, 2 * len(self._buffer)), self._buffer.dtype)
            grown[: self._length] = self._buffer[: self._length]
            self._buffer = grown
