"""Sessions with security and credentials, against a real server that asks for both."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainstem_edge.opcua.connecting import OpcuaSettings, session
from mainstem_edge.testing.opcua_plant import plant, until
from mainstem_edge.testing.opcua_server import OpcuaServer, make_certificate
from mainstem_node import cli

Files = dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Certificate and key of server, edge and a stranger."""
    folder = tmp_path_factory.mktemp("certificates")

    async def make() -> Files:
        uris = {"server": "urn:freeopcua:python:server", "edge": "urn:edge", "other": "urn:other"}
        return {name: await make_certificate(folder, name, uri) for name, uri in uris.items()}

    return asyncio.run(make())


@pytest.fixture(scope="module")
def safe_server(files: Files) -> Iterator[OpcuaServer]:
    certificate, key = files["server"]
    with OpcuaServer(plant, certificate=certificate, key=key, users={"ann": "s3cret"}) as server:
        yield server


def settings(server: OpcuaServer, files: Files, **changes: Any) -> OpcuaSettings:
    found: dict[str, Any] = {
        "security": "Basic256Sha256",
        "cert": files["edge"][0],
        "key": files["edge"][1],
        "server_cert": files["server"][0],
        "username": "ann",
        "password": "s3cret",
        "request_s": 5.0,
        **changes,
    }
    return OpcuaSettings(server.url, "mainstem:edge", **found)


def state(found: OpcuaSettings) -> int:
    """What the server says of itself."""

    async def ask() -> int:
        async with session(found) as client:
            return int(await client.nodes.server_state.read_value())

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        ("Basic256Sha256", "sign_and_encrypt"),
        ("Basic256Sha256", "sign"),
        ("Aes128Sha256RsaOaep", "sign_and_encrypt"),
        ("Aes256Sha256RsaPss", "sign_and_encrypt"),
    ],
)
def test_every_policy(safe_server: OpcuaServer, files: Files, policy: str, mode: str) -> None:
    assert state(settings(safe_server, files, security=policy, mode=mode)) == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"password": "wrong"}, "BadUserAccessDenied; check `username`"),
        ({"username": None, "password": None}, "BadIdentityTokenRejected|BadUserAccessDenied"),
        ({"security": "None"}, "opc.tcp"),
        ({"server_cert": "other"}, "opc.tcp"),
        ({"cert": "missing.der"}, "missing.der: No such file"),
        ({"key": "broken"}, "check `cert` and `key`"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is(
    safe_server: OpcuaServer, files: Files, tmp_path: Path, changes: Any, problem: str
) -> None:
    if changes.get("server_cert") == "other":
        changes = {"server_cert": files["other"][0]}
    if changes.get("key") == "broken":
        (tmp_path / "key.pem").write_text("-----BEGIN NOTHING-----")
        changes = {"key": tmp_path / "key.pem"}
    if "cert" in changes:
        changes = {"cert": tmp_path / changes["cert"]}
    found = settings(safe_server, files, **{"request_s": 1.0, **changes})
    with pytest.raises(ConnectionError, match=problem) as caught:
        state(found)
    assert "s3cret" not in f"{caught.value} {found}"


def test_a_collector_with_security(
    safe_server: OpcuaServer, files: Files, collecting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLC_PASSWORD", "s3cret")
    yaml = (
        f"{{type: opcua, url: '{safe_server.url}', security: Basic256Sha256, "
        f"cert: '{files['edge'][0]}', key: '{files['edge'][1]}', "
        f"server_cert: '{files['server'][0]}', username: ann, password: '${{PLC_PASSWORD}}', "
        "devices: [{device: root.m1, template: machine, nodes: {temperature: 'ns=2;s=M1.T'}}]}"
    )
    with collecting(yaml) as edge:
        until(lambda: edge.rows(), lambda: edge.status)
        assert edge.status["security"] == "Basic256Sha256"
        assert "s3cret" not in str(edge.status)


def test_the_certificate_is_fetched_with_its_fingerprint(
    safe_server: OpcuaServer, files: Files, tmp_path: Path
) -> None:
    file = tmp_path / "plc.der"
    words = ["opcua", "certificate", safe_server.url, str(file)]
    answer = CliRunner().invoke(cli.app, words)
    assert answer.exit_code == 0, answer.output
    octets = files["server"][0].read_bytes()
    assert file.read_bytes() == octets
    assert hashlib.sha256(octets).hexdigest().upper() in answer.stdout.replace(":", "")
    assert "Aes256_Sha256_RsaPss" in answer.output
    assert CliRunner().invoke(cli.app, words).exit_code == 2  # it exists
