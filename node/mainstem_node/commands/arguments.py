"""The options that several commands share, and the client that they describe."""

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


def client_for(url: str, token_file: Path | None) -> Client:
    """A client for the node at ``url``. Raises CredentialError, BadRequestError."""
    from mainstem_node.client import connect

    return connect(url, None if token_file is None else read_credential(token_file))


def read_credential(path: Path) -> str:
    """The one line of a token file. Raises CredentialError."""
    from mainstem_node.errors import CredentialError

    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(
            f"token file {path} cannot be read ({getattr(error, 'strerror', None) or error})",
            hint="check --token-file or MAINSTEM_TOKEN_FILE",
        ) from None
    if not token or any(character.isspace() for character in token):
        raise CredentialError(f"token file {path} holds no token", hint="it is one line")
    return token
