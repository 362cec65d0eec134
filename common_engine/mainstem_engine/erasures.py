"""The payload of a DEL record: what one delete erases, resolved into devices and times.

Header: ``t`` table, ``as_of`` the LSN up to which versions are covered, ``n`` visible rows erased,
``s`` and ``e`` the range of time in ns (end exclusive), ``m`` measurement ids (nil: whole rows),
``has`` which arrays follow: bit 0 devices, bit 1 times, bit 2 ends; where rows of another node are
erased, at this node only, ``origin``: its uuid, name and epoch, whose LSN ``as_of`` is then.
Further keys belong to who wrote the record.

Buffers, as far as ``has`` says so: devices uint32[k], times int64[k] ns, ends int64[k] ns. Without
times: all rows of these devices (without devices: of all devices) in [s, e). With times: devices
sorted by (device, time), and of devices[i] only [times[i], ends[i]); without ends one time each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.deletes import Tombstone
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Buffer
from mainstem_engine.log.records import decode_payload, encode_payload
from mainstem_engine.model import AnyArray, DeviceIds, Origin, TimesNs

ORIGIN = "origin"
_DEVICES, _TIMES, _ENDS = 1, 2, 4
ENTRIES_MAX = 100_000
"""Devices or ranges of one record: at 20 bytes each just below the bound of a record (2 MiB)."""


@dataclass(frozen=True, slots=True, eq=False)
class Erasure:
    """A decoded DEL record. Ids are those of the table's owner until somebody has mapped them."""

    table: str
    as_of: int
    start_ns: int
    end_ns: int
    devices: DeviceIds | None = None
    times: TimesNs | None = None
    ends: TimesNs | None = None
    measurements: tuple[int, ...] | None = None
    rows: int = 0
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> Origin | None:
        """Whose rows it erases, if not those of who wrote it."""
        said = self.header.get(ORIGIN)
        return None if said is None else Origin(str(said[0]), str(said[1]), int(said[2]))

    def of(self, origin: Origin, as_of: int) -> Erasure:
        """The same for rows of another node, up to its LSN ``as_of``."""
        header = {**self.header, ORIGIN: [origin.node_uuid, origin.node, origin.epoch]}
        return replace(self, as_of=as_of, header=header)

    def tombstone(
        self, lsn: int, origin: int, *, rows: int | None, applied_before: int | None = None
    ) -> Tombstone:
        """What the store keeps of it. ``lsn``: of the local record; ``origin``: its index."""
        return Tombstone(
            lsn, origin, self.as_of, applied_before, self.devices, self.start_ns, self.end_ns,
            self.times, self.measurements, self.ends, rows,
        )  # fmt: skip

    @property
    def spans(self) -> npt.NDArray[np.int64]:
        """int64[k, 2] ns: [start, end) in which rows were found, ascending by start."""
        said = self.header.get("sp")
        if isinstance(said, list) and said and len(said) % 2 == 0:
            pairs = np.array(said, np.int64).reshape(-1, 2)
        elif self.times is not None:
            ends = self.times + 1 if self.ends is None else self.ends
            pairs = np.stack([self.times, ends], axis=1)
        else:
            pairs = np.array([[self.start_ns, self.end_ns]], np.int64)
        pairs = pairs[pairs[:, 1] > pairs[:, 0]]
        return pairs[np.argsort(pairs[:, 0], kind="stable")]

    def pieces(self, rows: npt.NDArray[np.int64]) -> Iterator[Erasure]:
        """The same in records of at most ENTRIES_MAX entries. ``rows``: those that each entry of
        ``devices`` erases."""
        if self.devices is None or len(self.devices) <= ENTRIES_MAX:
            yield self
            return
        for first in range(0, len(self.devices), ENTRIES_MAX):
            some = slice(first, first + ENTRIES_MAX)
            times = None if self.times is None else self.times[some]
            ends = None if self.ends is None else self.ends[some]
            erased = int(rows[some].sum())
            yield replace(self, devices=self.devices[some], times=times, ends=ends, rows=erased)


def encode_erasure(erasure: Erasure) -> tuple[dict[str, Any], list[Buffer]]:
    """Header and buffers of the record."""
    arrays: list[tuple[int, AnyArray | None, str]] = [
        (_DEVICES, erasure.devices, "<u4"),
        (_TIMES, erasure.times, "<i8"),
        (_ENDS, erasure.ends, "<i8"),
    ]
    present = [(bit, array, kind) for bit, array, kind in arrays if array is not None]
    header = {
        **erasure.header,
        "t": erasure.table,
        "as_of": erasure.as_of,
        "n": erasure.rows,
        "s": erasure.start_ns,
        "e": erasure.end_ns,
        "m": None if erasure.measurements is None else list(erasure.measurements),
        "has": sum(bit for bit, _, _ in present),
    }
    return header, [np.ascontiguousarray(array, np.dtype(kind)) for _, array, kind in present]


def erasure_payload(erasure: Erasure) -> list[Buffer]:
    """The pieces of the payload."""
    return encode_payload(*encode_erasure(erasure))


def decode_erasure(payload: Buffer) -> Erasure:
    """The inverse of ``encode_erasure``; arrays look into ``payload``.

    Raises CorruptionError when anything does not fit: a payload may come from another node.
    """
    header, buffers = decode_payload(payload)
    try:
        return _decode(header, buffers)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
        raise CorruptionError("DEL record", 0, f"cannot be read ({exc!r})") from exc


def _decode(header: dict[str, Any], buffers: list[memoryview]) -> Erasure:
    has = int(header["has"])
    kinds: dict[int, np.dtype[Any]] = {
        _DEVICES: np.dtype("<u4"),
        _TIMES: np.dtype("<i8"),
        _ENDS: np.dtype("<i8"),
    }
    wanted = [bit for bit in kinds if has & bit]
    if len(wanted) != len(buffers):
        raise ValueError(f"{len(buffers)} arrays, {len(wanted)} described")
    found: dict[int, AnyArray] = {
        bit: np.frombuffer(buffer, kinds[bit]) for bit, buffer in zip(wanted, buffers, strict=True)
    }
    devices, times, ends = found.get(_DEVICES), found.get(_TIMES), found.get(_ENDS)
    _check_arrays(devices, times, ends)
    names = ("as_of", "n", "s", "e")
    as_of, rows, start_ns, end_ns = (int(header[name]) for name in names)
    if not 0 <= as_of < 1 << 63 or rows < 0 or not -(1 << 63) <= start_ns <= end_ns < 1 << 63:
        raise ValueError("a version, count or time out of range")
    listed = header["m"]
    measurements = None if listed is None else tuple(sorted({int(key) for key in listed}))
    others = {k: v for k, v in header.items() if k not in (*names, "t", "m", "has")}
    return Erasure(
        str(header["t"]), as_of, start_ns, end_ns, devices, times, ends, measurements, rows, others
    )


def _check_arrays(devices: AnyArray | None, times: AnyArray | None, ends: AnyArray | None) -> None:
    if devices is None:
        if times is not None or ends is not None:
            raise ValueError("times without devices")
        return
    if not 0 < len(devices) <= ENTRIES_MAX:
        raise ValueError(f"{len(devices)} devices")
    same = devices[1:] == devices[:-1]
    if bool((devices[1:] < devices[:-1]).any()):
        raise ValueError("devices out of order")
    if times is None:
        if ends is not None or bool(same.any()):
            raise ValueError("devices twice")
        return
    if len(times) != len(devices) or (ends is not None and len(ends) != len(times)):
        raise ValueError("arrays of different length")
    if ends is not None and bool((ends <= times).any()):
        raise ValueError("an empty range")
    last = times if ends is None else ends - 1
    if bool((same & (times[1:] <= last[:-1])).any()):
        raise ValueError("ranges out of order")
