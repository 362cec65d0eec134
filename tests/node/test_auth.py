"""Tokens, roles, loopback, and the secrets on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mainstem_node.auth import (
    ADMIN,
    LINK,
    READ,
    WRITE,
    Authenticator,
    Principal,
    TokenStore,
    ensure_admin_token,
    ensure_link_tokens,
    is_loopback,
    require_link_token,
)
from mainstem_node.config import load_topology
from mainstem_node.credentials import new_token, read_token, token_hash, write_token
from mainstem_node.errors import BadRequestError, ConflictError, CredentialError, MissingError
from mainstem_node.registry import NodeRegistry

TWO_TIERS = """\
nodes:
  - {id: plant, tier: platform, listen: "127.0.0.1:8410", data_dir: data/plant}
  - {id: edge, tier: edge, listen: "127.0.0.1:8411", data_dir: data/edge,
     parent: {node: plant}, paths: [root.plant.edge]}
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_one_admin_token(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tokens = TokenStore(data)
    made = ensure_admin_token(data, tokens)
    assert made == data / "admin.token"
    assert mode(made) == 0o600
    assert mode(data / "tokens.json") == 0o600
    assert mode(data) == 0o700
    token = read_token(made)
    assert tokens.authenticate(token) == Principal("admin", ADMIN)
    assert ensure_admin_token(data, TokenStore(data)) is None
    assert TokenStore(data).authenticate(token) == Principal("admin", ADMIN)


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b"):
        store = TokenStore(tmp_path / name)
        ensure_admin_token(tmp_path / name, store)
        found.add(read_token(tmp_path / name / "admin.token"))
    assert len(found) == 2
    assert all(len(token) >= 43 for token in found)


def test_no_token_is_kept_in_clear(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    _, token = store.create("ci", WRITE)
    text = (tmp_path / "tokens.json").read_text()
    assert token not in text
    assert token_hash(token) in text
    assert token not in json.dumps([entry.public() for entry in store.list()])
    assert token_hash(token) not in json.dumps([entry.public() for entry in store.list()])


def test_roles_allow_what_they_say() -> None:
    matrix = {
        ADMIN: {ADMIN, WRITE, READ}, WRITE: {WRITE, READ}, READ: {READ}, LINK: {LINK},
    }  # fmt: skip
    for role, allowed in matrix.items():
        caller = Principal("x", role)
        assert {r for r in (ADMIN, WRITE, READ, LINK) if caller.may(r)} == allowed


def test_an_expired_token_is_worth_nothing(tmp_path: Path) -> None:
    now = [1000]
    store = TokenStore(tmp_path, clock_ms=lambda: now[0])
    _, token = store.create("short", READ, life_ms=500)
    assert store.authenticate(token) is not None
    now[0] = 1500
    assert store.authenticate(token) is None


def test_a_revoked_token_is_worth_nothing(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    entry, token = store.create("x", READ)
    store.revoke(entry.id)
    assert store.authenticate(token) is None
    assert TokenStore(tmp_path).authenticate(token) is None
    with pytest.raises(MissingError):
        store.revoke(entry.id)


def test_the_last_admin_token_cannot_be_revoked(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    first, _ = store.create("a", ADMIN)
    with pytest.raises(ConflictError, match="last admin"):
        store.revoke(first.id)
    store.create("b", ADMIN)
    store.revoke(first.id)


@pytest.mark.parametrize(("name", "role"), [("x", "root"), ("x", LINK), ("", READ), ("a\nb", READ)])
def test_tokens_that_cannot_be_made(tmp_path: Path, name: str, role: str) -> None:
    with pytest.raises(BadRequestError):
        TokenStore(tmp_path).create(name, role)


@pytest.mark.parametrize("content", ["{", "[]", '{"tokens": '])
def test_a_damaged_token_file_is_not_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.json").write_text(content)
    with pytest.raises(CredentialError):
        TokenStore(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("::ffff:127.0.0.1", True), ("10.0.0.1", False), ("evil.example", False),
        ("127.0.0.1.evil.example", False), ("", False), (None, False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_loopback_names(name: str | None, expected: bool) -> None:
    assert is_loopback(name) is expected


def authenticator(place: Path, *, loopback_open: bool) -> Authenticator:
    return Authenticator(TokenStore(place), NodeRegistry(place), loopback_open=loopback_open)


def test_loopback_is_closed_unless_it_is_opened(tmp_path: Path) -> None:
    closed = authenticator(tmp_path, loopback_open=False)
    assert closed.principal(None, "127.0.0.1", "127.0.0.1:8400") is None
    opened = authenticator(tmp_path, loopback_open=True)
    assert opened.principal(None, "127.0.0.1", "127.0.0.1:8400") == Principal("loopback", ADMIN)
    assert opened.principal(None, "::1", "[::1]:8400") is not None
    assert opened.principal(None, "127.0.0.1", "localhost:8400") is not None


def test_open_loopback_is_for_this_machine_and_its_names_only(tmp_path: Path) -> None:
    opened = authenticator(tmp_path, loopback_open=True)
    assert opened.principal(None, "10.0.0.9", "127.0.0.1:8400") is None
    # A page elsewhere whose name resolves to 127.0.0.1 arrives under its own name.
    assert opened.principal(None, "127.0.0.1", "evil.example:8400") is None
    assert opened.principal(None, "127.0.0.1", None) is None


def test_a_wrong_credential_is_refused_even_where_none_is_needed(tmp_path: Path) -> None:
    opened = authenticator(tmp_path, loopback_open=True)
    for header in ("Bearer wrong", "Basic abc", "Bearer", "Bearer ", ""):
        assert opened.principal(header, "127.0.0.1", "127.0.0.1") is None


def test_a_link_token_opens_the_link_only(tmp_path: Path) -> None:
    registry = NodeRegistry(tmp_path)
    token = new_token("msl")
    registry.ensure_link("edge", ("root.a",), token)
    found = Authenticator(TokenStore(tmp_path), registry, loopback_open=True).principal(
        f"Bearer {token}", "127.0.0.1", "127.0.0.1"
    )
    assert found == Principal("edge", LINK, ("root.a",))
    assert not found.may(READ)


def test_link_tokens_of_one_file_are_made_once(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(TWO_TIERS)
    topology = load_topology(path)
    made = ensure_link_tokens(topology)
    assert made == [tmp_path / "secrets/edge"]
    assert mode(made[0]) == 0o600
    assert mode(made[0].parent) == 0o700
    token = read_token(made[0])
    assert require_link_token(topology, "edge") == token
    found = NodeRegistry(tmp_path / "data/plant").authenticate(token)
    assert found is not None
    assert (found.id, found.paths) == ("edge", ("root.plant.edge",))
    assert token not in (tmp_path / "data/plant/nodes.json").read_text()
    before = (tmp_path / "data/plant/nodes.json").stat().st_mtime_ns
    assert ensure_link_tokens(topology) == []
    assert (tmp_path / "data/plant/nodes.json").stat().st_mtime_ns == before


def test_a_revoked_node_stays_revoked_when_its_token_is_ensured_again(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(TWO_TIERS)
    topology = load_topology(path)
    ensure_link_tokens(topology)
    NodeRegistry(tmp_path / "data/plant").revoke("edge")
    ensure_link_tokens(topology)
    token = read_token(tmp_path / "secrets/edge")
    assert NodeRegistry(tmp_path / "data/plant").authenticate(token) is None


def test_a_missing_link_token_names_both_commands(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(TWO_TIERS)
    with pytest.raises(CredentialError) as caught:
        require_link_token(load_topology(path), "edge")
    text = str(caught.value)
    assert "mainstem node add edge --path root.plant.edge" in text
    assert f"mainstem join -c {path}" in text


@pytest.mark.parametrize("content", ["", "short", "two words and more than enough characters"])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CredentialError) as caught:
        read_token(path)
    assert not content or content not in str(caught.value)


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets/token"
    write_token(path, new_token("msl"))
    path.chmod(0o640)
    with pytest.raises(CredentialError, match="chmod 600"):
        read_token(path)
