"""A block of a batch: rows of one table, of one or many records, in one of two forms.

1. What has at least some hundred rows has the encodings of parts (encoded_points.py), which take
   the fewest bytes. What has less is light (light_points.py), which takes little time.
2. Whoever holds a block need not know which it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mainstem_engine.encoded_points import EncodedPoints, decode_rows, decoded_bytes, device_runs
from mainstem_engine.filesystem import Buffer
from mainstem_engine.light_points import decode_light, is_light, light_bytes, light_devices
from mainstem_engine.model import BoolMask

MaskOf = Callable[[npt.NDArray[np.uint32]], BoolMask | None]


def decode_block(payload: Buffer, *, bytes_max: int) -> EncodedPoints:
    """The rows, and the LSN of each. Raises CorruptionError, also where they would take more than
    ``bytes_max``."""
    if is_light(payload):
        return decode_light(payload, bytes_max=bytes_max)
    return decode_rows(payload, bytes_max=bytes_max)


def block_bytes(payload: Buffer) -> int:
    """Bytes that all rows will take. Raises CorruptionError."""
    return light_bytes(payload) if is_light(payload) else decoded_bytes(payload)


def block_mask(payload: Buffer, mask_of: MaskOf) -> BoolMask | None:
    """Which rows are of devices that ``mask_of`` chooses; None for all, as it says it. Raises
    CorruptionError."""
    if is_light(payload):
        return mask_of(light_devices(payload))
    ids, lengths = device_runs(payload)
    mask = mask_of(ids)
    return None if mask is None else np.repeat(mask, lengths)
