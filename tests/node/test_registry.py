"""Enrolment: invite, join, bind, revoke; what survives a restart."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mainstem_node.errors import BadRequestError, ConflictError, ForbiddenError, MissingError
from mainstem_node.registry import JOIN_TOKEN_LIFE_MS, NodeRegistry

UUID = "0" * 31 + "1"
OTHER = "0" * 31 + "2"


def test_a_join_token_is_exchanged_once(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    entry, join_token = registry.add("edge", ["root.plant.edge"])
    assert entry.state == "invited"
    joined, link_token = registry.join(join_token, UUID)
    assert (joined.id, joined.uuid, joined.state) == ("edge", UUID, "enrolled")
    with pytest.raises(ForbiddenError, match="unknown, used or expired"):
        registry.join(join_token, UUID)
    found = NodeRegistry(tmp_path).authenticate(link_token)
    assert found is not None
    assert found.paths == ("root.plant.edge",)


def test_a_join_token_ends_after_a_day(tmp_path: Path) -> None:
    now = [0]
    registry = NodeRegistry(tmp_path, clock_ms=lambda: now[0])
    _, token = registry.add("edge", ["root.a"])
    now[0] = JOIN_TOKEN_LIFE_MS
    with pytest.raises(ForbiddenError):
        registry.join(token, UUID)


def test_inviting_again_renews_the_token(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    _, first = registry.add("edge", ["root.a"])
    _, second = registry.add("edge", ["root.b"])
    with pytest.raises(ForbiddenError):
        registry.join(first, UUID)
    assert registry.join(second, UUID)[0].paths == ("root.b",)


def test_an_enrolled_node_is_revoked_before_it_is_invited_again(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    _, join_token = registry.add("edge", ["root.a"])
    _, link_token = registry.join(join_token, UUID)
    with pytest.raises(ConflictError, match="revoke it first"):
        registry.add("edge", ["root.a"])
    assert registry.revoke("edge").state == "revoked"
    assert registry.authenticate(link_token) is None
    _, again = registry.add("edge", ["root.a"])
    _, fresh = registry.join(again, OTHER)
    assert registry.authenticate(fresh) is not None
    assert registry.authenticate(link_token) is None


def test_revoking_an_invitation_ends_it(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    _, token = registry.add("edge", ["root.a"])
    registry.revoke("edge")
    with pytest.raises(ForbiddenError):
        registry.join(token, UUID)
    with pytest.raises(MissingError):
        registry.revoke("nobody")


def test_one_node_owns_a_path(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    registry.add("one", ["root.a"])
    with pytest.raises(ConflictError, match=r"root\.a belongs to node one"):
        registry.add("two", ["root.a"])
    registry.revoke("one")
    registry.add("two", ["root.a"])


@pytest.mark.parametrize(
    ("node_id", "path"),
    [("../x", "root.a"), ("", "root.a"), ("a b", "root.a"), ("x", "plant.a"), ("x", "root..a")],
)
def test_names_that_are_refused(tmp_path: Path, node_id: str, path: str) -> None:
    with pytest.raises(BadRequestError):
        NodeRegistry(tmp_path).add(node_id, [path])


def test_a_name_is_bound_to_the_first_uuid(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    registry.ensure_link("edge", ("root.a",), "x" * 43)
    assert registry.bind("edge", UUID)
    assert NodeRegistry(tmp_path).bind("edge", UUID)
    assert not registry.bind("edge", OTHER)
    assert not registry.bind("nobody", UUID)


def test_a_new_disk_takes_a_name_over_once_that_is_said(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    _, token = registry.add("edge", ["root.a"])
    _, link_token = registry.join(token, UUID)
    assert not registry.bind("edge", OTHER)
    entry, join_token = registry.replace("edge")
    assert (entry.uuid, entry.state) == (None, "enrolled")
    with pytest.raises(ForbiddenError):
        registry.join(join_token, UUID)
    again = NodeRegistry(tmp_path)
    assert not again.bind("edge", UUID), "the old disk is not let in any more"
    found = again.authenticate(link_token)
    assert found is not None
    assert found.id == "edge", "a machine with the old secrets starts at once"
    assert again.bind("edge", OTHER)
    _, third = again.replace("edge")
    _, new_link = again.join(third, "c" * 32)
    assert again.authenticate(link_token) is None
    assert again.authenticate(new_link) is not None
    assert not again.bind("edge", OTHER)
    with pytest.raises(MissingError):
        again.replace("nobody")
    again.revoke("edge")
    with pytest.raises(ConflictError, match="revoked"):
        again.replace("edge")


def test_nothing_secret_is_shown_or_kept_in_clear(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    _, join_token = registry.add("edge", ["root.a"])
    _, link_token = registry.join(join_token, UUID)
    path = tmp_path / "nodes.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_text()
    shown = json.dumps([entry.public() for entry in registry.list()])
    for token in (join_token, link_token):
        assert token not in kept
        assert token not in shown
    assert "hash" not in shown
