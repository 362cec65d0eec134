"""The options that several commands share, and the connection they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mainstem_node.client import Client

DEFAULT_URL = "http://127.0.0.1:8400"

Url = Annotated[
    str,
    typer.Option("--url", envvar="MAINSTEM_URL", help="Address of the node.", metavar="URL"),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="MAINSTEM_TOKEN_FILE",
        help="File with the credential for that node.",
        metavar="FILE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The topology file.", metavar="FILE")
]


def connection(url: str, token_file: Path | None) -> Client:
    """A client for the node at ``url``. Raises CredentialError for an unreadable token file."""
    from mainstem_node.client import connect
    from mainstem_node.errors import CredentialError

    token = None
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CredentialError(
                f"the token file {token_file}: {error.strerror}",
                hint="give --token-file, or set MAINSTEM_TOKEN_FILE",
            ) from None
        if not token:
            raise CredentialError(
                f"the token file {token_file} is empty", hint="ask for a new token"
            )
    return connect(url, token=token)
