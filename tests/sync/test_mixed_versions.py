"""A child whose log was begun by an older version goes on under its parent; its forks show."""

from __future__ import annotations

import shutil

import pytest

from mainstem_engine.log.layout import (
    CHAIN_START,
    SegmentHeader,
    chain_of_version,
    pack_record_header,
    padded,
    record_salt,
    segment_name,
)
from mainstem_sync.sending.session import LinkState
from mainstem_sync.testing.nodes import TestNode
from mainstem_sync.testing.tiers import Tiers


def into_version_1(node: TestNode) -> None:
    """Stops the node, whose parent has heard nothing yet, and writes its log anew as it was."""
    engine = node.engine
    uuid = bytes.fromhex(engine.node_uuid)
    data, chain = SegmentHeader(1, CHAIN_START, uuid, 1).pack(), CHAIN_START
    engine.log.rotate()
    for record in engine.log.read(1):
        payload = bytes(record.payload)
        chain = chain_of_version(1, chain, record.kind, record.lsn, payload)
        head = pack_record_header(
            record_salt(uuid, 1), record.lsn, record.kind, 0, chain, len(payload), [payload]
        )
        data += (head + payload).ljust(padded(len(head) + len(payload)), b"\0")
    node.crash()
    directory = node.directory / "log"
    for path in directory.iterdir():
        path.unlink()
    (directory / segment_name(1)).write_bytes(data)


def log_versions(node: TestNode) -> set[int]:
    return {path.read_bytes()[8] for path in (node.directory / "log").iterdir()}


@pytest.fixture
def older(tiers: Tiers) -> Tiers:
    """The edge wrote three rows as an older version, and the plant has them."""
    tiers.write(rows=3)
    into_version_1(tiers.edge)
    tiers.edge.start()
    assert 1 in log_versions(tiers.edge)
    tiers.run(1)
    assert len(tiers.values(tiers.plant)) == 3
    return tiers


def state_of(node: TestNode) -> LinkState:
    sender = node.federation.sender
    assert sender is not None
    return sender.state


def test_a_child_goes_on_in_the_present_version(older: Tiers) -> None:
    for number in range(1, 4):
        older.edge.restart()
        older.clock.advance(40)
        older.write(rows=2, start_s=10 * number, value=float(number))
        older.run(3)
        assert state_of(older.edge) is LinkState.CONNECTED
        assert len(older.values(older.plant)) == 3 + 2 * number
    assert log_versions(older.edge) == {1, 2}
    older.close()
    assert older.values(older.plant) == older.values(older.edge)


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_restored_log_of_an_older_version_is_a_fork(older: Tiers, rewritten: bool) -> None:
    backup = older.base / "backup"
    shutil.copytree(older.edge.directory, backup)
    older.write(rows=3, start_s=10)
    older.run(2)
    older.edge.stop()
    older.edge.directory = backup
    older.edge.start()
    if rewritten:
        for number in range(9):
            older.write(rows=1, start_s=100 + number, value=9.0)
    older.clock.advance(40)
    older.run(1)
    assert state_of(older.edge) is LinkState.CONNECTED
    assert older.edge.federation.sender is not None
    assert older.edge.federation.sender.own.epoch == 1
    # What the plant held stays; where the edge wrote again, the new epoch stands.
    held = set(older.values(older.plant))
    assert held > set(older.values(older.edge))
