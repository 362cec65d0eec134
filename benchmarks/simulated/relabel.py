"""What one edge has posted, as another one with the same rows would have posted it.

1. All names of edges have the same length, and so have their uuids: replaced in the bytes of a
   record, or of a status, they change no length anywhere.
2. Digests depend on the paths of devices: a manifest is stated anew from the rows.
3. What is compressed is compressed again; hash, length and checksum follow from the rest. With its
   own label a request comes out byte for byte as its sender made it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from mainstem_engine.engine import Engine
from mainstem_engine.filesystem import byte_view
from mainstem_engine.log.records import RecordKind, encode_payload
from mainstem_engine.slices import DeviceKeys, digest_rows
from mainstem_sync.slices.manifest import Manifest
from mainstem_sync.wire.batch import Batch, encode_batch, encode_request
from mainstem_sync.wire.frames import (
    CODEC_NONE,
    Frame,
    FrameType,
    decode_frames,
    decompress,
    encode_frame,
)
from mainstem_sync.wire.messages import OriginKey


@dataclass(frozen=True, slots=True)
class Label:
    """Who an edge is."""

    name: str
    uuid: str

    def over(self, data: bytes, other: Label) -> bytes:
        """``data`` of this edge as that of the other one."""
        data = data.replace(self.name.encode(), other.name.encode())
        data = data.replace(self.uuid.encode(), other.uuid.encode())
        return data.replace(bytes.fromhex(self.uuid), bytes.fromhex(other.uuid))


@dataclass(slots=True)
class _Content:
    """A batch, taken apart."""

    batch: Batch
    raw: bytes
    short: bool


@dataclass(eq=False, slots=True)
class Template:
    """A request of data. ``number``: of its kind at its edge. ``rows``: when the rows in it were
    made, seconds. ``dead``: it failed there, and what was in it comes again in another one."""

    number: int
    label: Label
    frames: list[Frame]
    contents: dict[int, _Content] = field(default_factory=dict)
    rows: list[float] = field(default_factory=list)
    dead: bool = False

    @classmethod
    def of(cls, number: int, label: Label, body: bytes, times: dict[int, float]) -> Template:
        """``times``: when the rows of a record were made, by LSN."""
        made = cls(number, label, list(decode_frames(body)))
        for at, frame in enumerate(made.frames):
            if frame.type is FrameType.PIECE:
                raise SystemExit("benchmark: a batch in pieces cannot be labelled anew")
            if frame.type is FrameType.BATCH:
                batch = Batch.from_frame(frame)
                raw = bytes(decompress(batch.codec, batch.raw_length, batch.payload))
                is_short = isinstance(frame.header["origin"][0], bytes)
                made.contents[at] = _Content(batch, raw, is_short)
                for first, last in batch.ranges:
                    made.rows += [times[n] for n in range(first, last + 1) if n in times]
        return made

    def encode(
        self, label: Label, engine: Engine, lease: str, number: int, now_ns: int
    ) -> tuple[bytes, dict[bytes, int]]:
        """The request of another edge, and the last LSN of each batch by its hash. ``engine``: of
        the edge that posted it first."""
        parts, hashes = [encode_request(lease, number, now_ns)], {}
        for at, frame in enumerate(self.frames):
            content = self.contents.get(at)
            if content is not None:
                part, digest = self._batch(content, label, engine)
                hashes[digest] = content.batch.ranges.last
                parts.append(part)
            elif frame.type is not FrameType.REQUEST:
                payload = self.label.over(bytes(frame.payload), label)
                parts.append(encode_frame(frame.type, frame.header_bytes, payload))
        return b"".join(parts), hashes

    def _batch(self, content: _Content, label: Label, engine: Engine) -> tuple[bytes, bytes]:
        batch, raw = content.batch, self.label.over(content.raw, label)
        for record in batch.records:
            if record.kind == RecordKind.MAN and label != self.label:
                place = slice(record.offset, record.offset + record.length)
                stated = self._stated(raw[place], label, engine)
                raw = raw[: place.start] + stated + raw[place.stop :]
        origin = OriginKey(label.uuid, batch.origin.epoch, label.name)
        return encode_batch(
            origin, batch.queue, batch.ranges, batch.records, raw, batch.chain, batch.blocks,
            dense=batch.codec == CODEC_NONE, short=content.short,
        )  # fmt: skip

    def _stated(self, payload: bytes, label: Label, engine: Engine) -> bytes:
        """A manifest about rows with the same times and values, of devices of another name."""
        manifest = Manifest.decode(payload)
        if not len(manifest.start_ns):
            return payload
        first, end = int(manifest.start_ns[0]), int(manifest.start_ns[-1]) + manifest.slice_ns
        rows = engine.scan_rows(manifest.table, start_ns=first, end_ns=end)
        ids = {number: number for number in rows.columns}
        keys = DeviceKeys(_Paths(engine, self.label, label))
        start, _, d1, d2 = digest_rows(rows, keys, manifest.slice_ns, ids)
        at = start.searchsorted(manifest.start_ns)
        header, buffers = dataclasses.replace(manifest, d1=d1[at], d2=d2[at]).encode()
        return b"".join(map(byte_view, encode_payload(header, buffers)))


@dataclass(frozen=True, slots=True)
class _Paths:
    engine: Engine
    own: Label
    other: Label

    def path(self, device: int) -> str:
        path = self.engine.catalog.devices.path(device)
        return path.replace(self.own.name, self.other.name)
