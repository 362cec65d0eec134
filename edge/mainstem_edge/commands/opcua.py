"""``mainstem opcua``: what an OPC UA server has, before anything is collected."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import (
    USAGE,
    escaped,
    fail,
    note,
    result,
    result_json,
    result_table,
)

if TYPE_CHECKING:
    from mainstem_edge.opcua.connecting import OpcuaSettings
    from mainstem_edge.opcua.showing import Shown

app = typer.Typer(no_args_is_help=True, help="Look at OPC UA servers.")

TIMEOUT_S = 10.0
PASSWORD = "MAINSTEM_OPCUA_PASSWORD"


class Security(StrEnum):
    """As in the configuration."""

    none = "None"
    basic256sha256 = "Basic256Sha256"
    aes128 = "Aes128Sha256RsaOaep"
    aes256 = "Aes256Sha256RsaPss"


class Mode(StrEnum):
    """As in the configuration."""

    sign_and_encrypt = "sign_and_encrypt"
    sign = "sign"


ServerUrl = Annotated[str, typer.Argument(help="opc.tcp://host:4840", metavar="URL")]


@app.callback()
def opcua() -> None:
    """Look at OPC UA servers."""


@app.command()
def browse(
    url: ServerUrl,
    under: Annotated[str, typer.Option(help="A node id; default the Objects folder.")] = "i=85",
    depth: Annotated[int, typer.Option(min=1, max=20, help="Levels below it.")] = 6,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Nodes at most.")] = 500,
    security: Annotated[Security, typer.Option(help="None: nothing is encrypted.")] = Security.none,
    mode: Annotated[Mode, typer.Option()] = Mode.sign_and_encrypt,
    cert: Annotated[Path | None, typer.Option(help="Your own certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    server_cert: Annotated[Path | None, typer.Option(help="The only one that is taken.")] = None,
    username: Annotated[
        str | None, typer.Option(help=f"Its password stands in {PASSWORD}.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print nodes, values of now, and templates and a collector to begin with."""
    import os

    settings = _settings(
        url, security=security.value, mode=mode.value, cert=cert, key=key,
        server_cert=server_cert, username=username, password=os.environ.get(PASSWORD),
    )  # fmt: skip
    from mainstem_edge.opcua.showing import suggestion

    try:
        found = asyncio.run(_browse(settings, under, depth, limit))
    except ConnectionError as error:
        fail(str(error))
    except ValueError as error:
        fail("; ".join(map(str, error.args)), code=USAGE)
    yaml = suggestion(url, found)
    if as_json:
        result_json({"nodes": [each.plain() for each in found], "suggestion": yaml})
        return
    result_table(
        ("node", "type", "value", "path"),
        [
            (escaped(each.node), each.type, escaped(str(each.value)) if each.type else "",
             escaped("/".join(each.path)))
            for each in found
        ],
    )  # fmt: skip
    result("")
    result(yaml.rstrip())
    if len(found) == limit:
        note(f"these are the first {limit} nodes: see --limit, --under and --depth")


@app.command()
def certificate(
    url: ServerUrl,
    file: Annotated[Path, typer.Argument(help="Where to write it, in DER.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Fetch the certificate of a server, and print its fingerprint: compare it at the server."""
    settings = _settings(url)
    if file.exists() and not force:
        fail(f"{file} exists", "--force replaces it", USAGE)
    try:
        octets, policies = asyncio.run(_certificate(settings))
    except ConnectionError as error:
        fail(str(error))
    if not octets:
        fail(f"{url} has no certificate", "it offers no security")
    import hashlib

    file.write_bytes(octets)
    digest = hashlib.sha256(octets).hexdigest().upper()
    result("SHA-256 " + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)))
    note(f"{file} is written; the server offers {', '.join(policies)}")


def _settings(
    url: str,
    *,
    security: str = "None",
    mode: str = "sign_and_encrypt",
    cert: Path | None = None,
    key: Path | None = None,
    server_cert: Path | None = None,
    username: str | None = None,
    password: str | None = None,
) -> OpcuaSettings:
    """Raises MissingExtraError; ends for a URL that is none."""
    from mainstem_node.config.kinds import parse_opc_url
    from mainstem_node.extras import require

    require("opcua")
    from mainstem_edge.opcua.connecting import OpcuaSettings

    try:
        parse_opc_url(url)
    except ValueError as error:
        fail("; ".join(map(str, error.args)), code=USAGE)
    return OpcuaSettings(
        url, "mainstem:browse", security, mode, cert, key, server_cert, username, password,
        request_s=TIMEOUT_S,
    )  # fmt: skip


async def _browse(settings: OpcuaSettings, under: str, depth: int, limit: int) -> list[Shown]:
    from mainstem_edge.opcua.connecting import in_words, session
    from mainstem_edge.opcua.showing import shown

    async with session(settings) as client:
        with in_words(settings.url, files=False):
            return [each async for each in shown(client, under, depth, limit)]


async def _certificate(settings: OpcuaSettings) -> tuple[bytes, list[str]]:
    """(the certificate, names of the security policies)."""
    from mainstem_edge.opcua.connecting import endpoints

    found = await endpoints(settings)
    octets = next((each.ServerCertificate for each in found if each.ServerCertificate), b"")
    names = {str(each.SecurityPolicyUri).rpartition("#")[2] for each in found}
    return bytes(octets), sorted(names)
