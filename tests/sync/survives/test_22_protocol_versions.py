"""Case 22: the two sides speak different versions of the protocol. They take the greatest that both
know, or the refusal names the side to upgrade."""

from __future__ import annotations

import dataclasses

import pytest

from mainstem_sync.errors import VersionError
from mainstem_sync.lines.handshake import Hello, Welcome
from mainstem_sync.testing.tiers import Tiers
from mainstem_sync.wire.frames import FrameType, encode_frame
from mainstem_sync.wire.messages import VERSION, VERSION_MIN, single_frame


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


def test_case_22_a_child_of_version_1_delivers_to_a_parent_of_today(tiers: Tiers) -> None:
    """Its HELLO has none of the later fields."""
    hello = hello_of(tiers, (1, 1))
    frame = next(iter([single_frame(hello.encode())]))
    later = {"forks", "trail", "acked", "parent", "echo"}
    header = {key: value for key, value in frame.header.items() if key not in later}
    body = encode_frame(FrameType.HELLO, header)
    reply = tiers.plant.federation.receiver.hello(tiers.up._child, body)
    welcome = Welcome.from_frame(single_frame(reply.body))
    assert welcome.version == 1
    assert welcome.table is None
    assert not welcome.lines
