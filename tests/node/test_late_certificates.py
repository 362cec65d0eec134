"""Requests verify as with aiohttp's own context, whose certificates are read only for them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import connector, web
from tests.node.certificates import make_certificate

from mainstem_node.config.schema import TlsConfig
from mainstem_node.late_certificates import LateContext, put_off
from mainstem_node.server import server_context

VERIFIED, UNVERIFIED = "_SSL_CONTEXT_VERIFIED", "_SSL_CONTEXT_UNVERIFIED"


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateContext:
    """aiohttp as it has been imported, and then put off."""
    monkeypatch.setattr(connector, VERIFIED, ssl.create_default_context())
    monkeypatch.setattr(connector, UNVERIFIED, ssl.create_default_context())
    put_off()
    found = vars(connector)[VERIFIED]
    assert isinstance(found, LateContext)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def url(place: tuple[Path, Path]) -> AsyncIterator[str]:
    """A server whose certificate is of an authority of its own."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    cert, key = place
    site = web.TCPSite(
        runner, "localhost", 0, ssl_context=server_context(TlsConfig(cert=cert, key=key))
    )
    await site.start()
    try:
        yield f"https://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def get(url: str, *, verify: bool = True) -> str:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=verify)) as session,
        session.get(url) as answer,
    ):
        return await answer.text()


def test_it_has_the_rules_of_a_default_context_and_no_certificates(late: LateContext) -> None:
    model = ssl.create_default_context()
    rules = (
        "protocol", "options", "verify_flags", "verify_mode", "check_hostname",
        "minimum_version", "maximum_version",
    )  # fmt: skip
    assert {rule: getattr(late, rule) for rule in rules} == {
        rule: getattr(model, rule) for rule in rules
    }
    assert late.get_ciphers() == model.get_ciphers()
    assert late.cert_store_stats()["x509"] == 0


async def test_certificates_of_the_system_are_trusted_from_the_first_request(
    late: LateContext, url: str, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read then: the system is told of the authority only after the start."""
    monkeypatch.setenv("SSL_CERT_FILE", str(place[0]))
    assert await get(url) == "here"
    assert late.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("verify", [True, False])
async def test_nobody_else_is_trusted(late: LateContext, url: str, verify: bool) -> None:
    """Not even by a request that asks for no verification."""
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(url, verify=verify)


async def test_a_name_that_the_certificate_has_not_is_refused(
    late: LateContext, url: str, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place[0]))
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="127"):
        await get(url.replace("localhost", "127.0.0.1"))


@pytest.mark.parametrize("of_loop", [True, False])
def test_certificates_are_read_once(
    late: LateContext, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, of_loop: bool
) -> None:
    """Whether an event loop connects, or a thread with a socket."""
    monkeypatch.setenv("SSL_CERT_FILE", str(place[0]))
    for _ in range(2):
        if of_loop:
            late.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        else:
            late.wrap_socket(
                socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
            ).close()
        assert late.cert_store_stats()["x509"] == 1
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def test_it_is_done_once(late: LateContext) -> None:
    put_off()
    assert vars(connector)[VERIFIED] is vars(connector)[UNVERIFIED] is late


def test_other_names_of_aiohttp_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ssl.create_default_context()
    monkeypatch.setattr(connector, VERIFIED, theirs)
    monkeypatch.delattr(connector, UNVERIFIED)
    put_off()
    assert vars(connector)[VERIFIED] is theirs
