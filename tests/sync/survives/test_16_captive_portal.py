"""Case 16: something in between answers 200 to everything. That is no acknowledgement."""

from __future__ import annotations

import pytest

from mainstem_sync.receiving.receiver import Child, Receiver, Reply
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.batch import Acknowledgement
from mainstem_sync.wire.frames import decode_frames
from mainstem_sync.wire.messages import HELLO_PATH, AckCode


class Portal:
    """In place of the parent. ``answer``: its body to everything but HELLO."""

    def __init__(self, receiver: Receiver, answer: bytes) -> None:
        self._receiver = receiver
        self._answer = answer

    def hello(self, child: Child, body: bytes) -> Reply:
        return self._receiver.hello(child, body)

    def batches(self, child: Child, body: bytes) -> Reply:
        if self._answer == b"forged":
            # It has read the protocol, and knows neither the lease nor its key.
            frames = [f for f in decode_frames(body) if "ranges" in f.header]
            return Reply(200, b"".join(_ok(bytes(f.payload[:16])) for f in frames))
        return Reply(200, self._answer)


def _ok(digest: bytes) -> bytes:
    return Acknowledgement(digest, AckCode.OK, 1 << 40).encode()


@pytest.mark.parametrize("answer", [b"", b"<html>Please log in</html>", b"MSF1", b"forged"])
def test_case_16_nothing_counts_as_delivered(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    tiers.run(1)
    real = tiers.plant.federation.receiver
    portal = Portal(real, answer)
    monkeypatch.setattr(tiers.up, "_receiver", lambda: portal)
    tiers.write()
    tiers.run(20)
    delivery = tiers.edge.federation.delivery()
    assert delivery is not None
    assert tiers.forward(tiers.edge)["delivered"] == 0
    assert delivery["pending_rows"] == 10
    link = tiers.edge.federation.link()
    assert link is not None
    assert link["error"]
    monkeypatch.setattr(tiers.up, "_receiver", tiers.plant.receiver)
    tiers.run(40)
    assert tiers.values(tiers.plant) == tiers.values(tiers.edge)
    assert HELLO_PATH
