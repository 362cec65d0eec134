"""Growing one-dimensional arrays that readers may hold while they grow.

1. ``Vector.view()`` is a slice of the current buffer. Growing copies into a new buffer, so that a
   view taken earlier keeps its values; elements are only ever appended.
2. A ``LayeredColumn`` is an immutable array (mapped from a file) with a vector behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mainstem_engine.model import AnyArray

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
        return self._buffer.item(index)

    @property
    def nbytes(self) -> int:
        """What it takes in memory, room to grow included."""
        return self._buffer.nbytes

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._buffer.dtype

    def view(self) -> npt.NDArray[Any]:
        """The elements so far, without a copy: only for reading."""
        # The length first: whatever buffer is read after it has at least so many elements.
        length = self._length
        return self._buffer[:length]

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
            # A quarter more: an element is copied about four times in all, a fifth is spare.
            capacity = max(needed, len(self._buffer) * 5 // 4)
            grown = np.zeros(capacity, self._buffer.dtype)
            grown[: self._length] = self._buffer[: self._length]
            self._buffer = grown


class LayeredColumn:
    """One value per position: those of ``base`` first, then those appended since."""

    __slots__ = ("added", "base")

    def __init__(self, base: AnyArray, added: Vector) -> None:
        self.base = base
        self.added = added

    @classmethod
    def empty(cls, dtype: npt.DTypeLike) -> LayeredColumn:
        """Without a base."""
        return cls(np.empty(0, dtype), Vector(dtype))

    def __len__(self) -> int:
        return len(self.base) + len(self.added)

    def __getitem__(self, index: int) -> int:
        """Raises IndexError."""
        first = len(self.base)
        if 0 <= index < first:
            return int(self.base.item(index))
        return int(self.added[index - first])

    def extend(self, values: Iterable[int] | npt.NDArray[Any]) -> None:
        self.added.extend(values)

    def take(self, index: AnyArray) -> AnyArray:
        """The values at these positions, all below the length."""
        first = len(self.base)
        if not len(self.added):
            return self.base[index].astype(self.added.dtype, copy=False)
        added = self.added.view()
        if not first:
            found: AnyArray = added[index]
            return found
        values = np.empty(len(index), added.dtype)
        old = index < first
        values[old] = self.base[index[old]]
        values[~old] = added[index[~old] - np.int64(first)]
        return values

    def slice(self, start: int, stop: int) -> AnyArray:
        """The values from ``start`` to before ``stop``, copied only where both layers have some."""
        first = len(self.base)
        if stop <= first:
            return self.base[start:stop]
        added = self.added.view()[max(start - first, 0) : stop - first]
        return added if start >= first else np.concatenate([self.base[start:], added])

    def frozen(self) -> FrozenColumn:
        """The values so far, without a copy."""
        return FrozenColumn(self.base, self.added.view())


class FrozenColumn(NamedTuple):
    """A layered column as it was at one moment."""

    base: AnyArray
    added: AnyArray

    def pieces(self) -> list[AnyArray]:
        """All values, in the type of those added, without joining them."""
        return [self.base.astype(self.added.dtype, copy=False), self.added]

    def joined(self) -> AnyArray:
        """All values, in the type of those added."""
        if not len(self.base):
            return self.added
        if not len(self.added):
            return self.base
        return np.concatenate([self.base.astype(self.added.dtype, copy=False), self.added])
