"""Case 22: the two sides speak different versions of the protocol. They take the greatest that both
know, or the refusal names the side to upgrade."""

from __future__ import annotations

import dataclasses

import pytest

from mainstem_engine.light_points import MAGIC
from mainstem_sync.errors import VersionError
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.receiving.receiver import Child, Receiver, Reply
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.batch import Batch
from mainstem_sync.wire.frames import Frame, FrameType, decode_frames, decompress, encode_frame
from mainstem_sync.wire.messages import EPOCHS_VERSION, VERSION, VERSION_MIN, single_frame
from mainstem_sync.wire.packing import BLOCKS_VERSION
from mainstem_sync.wire.pieces import PIECES_VERSION


def hello_of(tiers: Tiers, versions: tuple[int, int]) -> Hello:
    sender = tiers.edge.federation.sender
    assert sender is not None
    request = sender.next_request()
    assert request is not None
    return dataclasses.replace(Hello.from_frame(single_frame(request.body)), versions=versions)


@pytest.mark.parametrize(
    ("versions", "spoken"),
    [((1, 1), 1), ((1, VERSION), VERSION), ((VERSION, VERSION + 3), VERSION), ((1, 99), VERSION)],
)
def test_case_22_the_greatest_common_version_is_spoken(
    tiers: Tiers, versions: tuple[int, int], spoken: int
) -> None:
    reply = tiers.plant.federation.receiver.hello(
        tiers.up._child, hello_of(tiers, versions).encode()
    )
    welcome = Welcome.from_frame(single_frame(reply.body))
    assert (reply.status, welcome.version) == (200, spoken)
    assert welcome.lease


@pytest.mark.parametrize(
    ("versions", "side"),
    [((VERSION + 1, VERSION + 4), "this parent"), ((0, VERSION_MIN - 1), "the child")],
)
def test_case_22_without_a_common_version_the_side_to_upgrade_is_named(
    tiers: Tiers, versions: tuple[int, int], side: str
) -> None:
    hello = hello_of(tiers, versions)
    reply = tiers.plant.federation.receiver.hello(tiers.up._child, hello.encode())
    assert reply.status == 426
    with pytest.raises(VersionError) as caught:
        single_frame(reply.body)
    text = caught.value.message
    assert f"{versions[0]} to {versions[1]}" in text
    assert f"{VERSION_MIN} to {VERSION}" in text
    assert caught.value.hint == f"upgrade {side}"
    # The child says so, and asks again.
    sender = tiers.edge.federation.sender
    assert sender is not None
    assert sender._session.hello is not None
    sender.on_reply(sender._session.hello, reply.status, reply.body)
    assert "speaks" in str(sender.error)
    tiers.clock.advance(31)
    assert sender.next_request() is not None


LATER = {"forks", "trail", "acked", "parent", "echo"}
"""What a HELLO of version 1 has not."""


class Older:
    """In front of a parent: what comes up is what a child of an older version would say."""

    def __init__(self, receiver: Receiver, version: int) -> None:
        self._receiver = receiver
        self._version = version
        self.frames: list[Frame] = []

    def hello(self, child: Child, body: bytes) -> Reply:
        header = dict(single_frame(body).header) | {"v": [1, self._version]}
        if self._version < EPOCHS_VERSION:
            header = {key: value for key, value in header.items() if key not in LATER}
        reply = self._receiver.hello(child, encode_frame(FrameType.HELLO, header))
        assert Welcome.from_frame(single_frame(reply.body)).version == self._version
        return reply

    def batches(self, child: Child, body: bytes) -> Reply:
        self.frames += decode_frames(body)
        return self._receiver.batches(child, body)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_case_22_a_child_of_an_older_version_delivers_to_a_parent_of_today(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Live rows and a backlog, in nothing but what that version has; all of it is proven."""
    older = Older(tiers.plant.federation.receiver, version)
    monkeypatch.setattr(tiers.up, "_receiver", lambda: older)
    tiers.write(rows=50)
    tiers.run(3)
    tiers.up.cut()
    for number in range(2):
        tiers.write(rows=6000, start_s=60 + 6000 * number, value=float(number))
    tiers.up.restore()
    tiers.clock.advance(31)
    tiers.write(rows=5, start_s=13_000)
    tiers.run(5)
    tiers.close(240)
    for node in (tiers.plant, tiers.group):
        assert tiers.values(node) == tiers.values(tiers.edge), node.name
        assert tiers.state(node)["state"] == "complete", node.name
    kinds = {frame.type for frame in older.frames}
    assert (FrameType.PIECE in kinds) <= (version >= PIECES_VERSION)
    blocks = []
    for frame in older.frames:
        if frame.type is FrameType.BATCH:
            # Only version 3 lets anything be left out.
            assert {"recs", "raw", "codec", "chain"} <= set(frame.header)
            batch = Batch.from_frame(frame)
            raw = decompress(batch.codec, batch.raw_length, batch.payload)
            blocks += [bytes(raw[block.offset :][:4]) for block in batch.blocks]
    assert bool(blocks) == (version >= BLOCKS_VERSION)
    assert MAGIC not in blocks, "light ones came with version 3"
