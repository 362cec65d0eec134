"""Where rows come from: a small index per (node, epoch), given in order of the log."""

from __future__ import annotations

import msgpack
import numpy as np
import numpy.typing as npt

from mainstem_engine.errors import SchemaError
from mainstem_engine.model import SELF_ORIGIN, Origin

ORIGINS_MAX = 1 << 16
"""Indexes of origins are uint16 in every stored row."""


class Origins:
    """All origins by index; 0 is this node. Only grows; changed under the store's state lock."""

    def __init__(self, own: Origin) -> None:
        self.all: list[Origin] = [own]
        self._index: dict[Origin, int] = {own: SELF_ORIGIN}
        self.epochs: npt.NDArray[np.uint32] = np.array([own.epoch], np.uint32)
        """uint32 by index; replaced, never changed."""

    def index(self, origin: Origin) -> int:
        """The index of an origin, the next one when it is new. Raises SchemaError when full."""
        found = self._index.get(origin)
        if found is None:
            if len(self.all) >= ORIGINS_MAX:
                raise SchemaError(f"more than {ORIGINS_MAX} origins")
            found = len(self.all)
            self.all.append(origin)
            self._index[origin] = found
            self.epochs = np.array([o.epoch for o in self.all], np.uint32)
        return found

    def find(self, origin: Origin) -> int | None:
        """The index of an origin, None when no row of it was ever stored."""
        return self._index.get(origin)

    def snapshot(self) -> bytes:
        """The checkpoint section."""
        packed: bytes = msgpack.packb([[o.node_uuid, o.node, o.epoch] for o in self.all])
        return packed

    @classmethod
    def restore(cls, data: bytes, own: Origin) -> Origins:
        """From a checkpoint section; index 0 is ``own``, whatever its name was then."""
        origins = cls(own)
        for uuid, node, epoch in msgpack.unpackb(data)[1:]:
            origins.index(Origin(uuid, node, epoch))
        return origins
