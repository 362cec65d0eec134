"""Secrets on disk: random tokens, their hashes, and files that only their owner reads.

1. A token is 256 random bits behind a prefix that says what it is: ``mst_`` API token, ``msa_``
   admin token of the first start, ``msl_`` link token, ``msj_`` join token.
2. Only SHA-256 of a token is kept. A random token of 256 bits needs no slow hash.
3. Files are written by atomic replacement with mode 0600, in directories of mode 0700.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from mainstem_engine.filesystem import Filesystem
from mainstem_node.errors import CredentialError
from mainstem_node.logs import redact_value

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
TOKEN_BYTES = 32
"""256 bits: more than can be guessed, whatever the rate."""
TOKEN_CHARACTERS_MIN = 22
"""128 bits in base64: what a token that was made elsewhere must have at least."""
FILE_BYTES_MAX = 16 << 20
"""Tens of thousands of nodes fit; a larger credential file is not ours."""


def new_token(prefix: str) -> str:
    """A fresh token; it is registered as a secret that no log shows."""
    token = f"{prefix}_{secrets.token_urlsafe(TOKEN_BYTES)}"
    redact_value(token)
    return token


def token_hash(token: str) -> str:
    """SHA-256 of a token, hexadecimal: what is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(one: str, other: str) -> bool:
    """Compares two hashes in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def read_token(path: Path) -> str:
    """The token in a file. Raises CredentialError with the remedy; never shows the content."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise CredentialError(f"token file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"token file {path} cannot be read ({error})") from None
    require_private(path)
    if len(text) < TOKEN_CHARACTERS_MIN or re.search(r"\s", text):
        raise CredentialError(
            f"token file {path} holds no token",
            hint=f"it is one line of at least {TOKEN_CHARACTERS_MIN} characters",
        )
    redact_value(text)
    return text


def write_token(path: Path, token: str) -> None:
    """Put a token into a file of mode 0600; its directory is made with mode 0700."""
    make_private_directory(path.parent)
    Filesystem().replace(path, [f"{token}\n".encode()], mode=PRIVATE_FILE)


def require_private(path: Path) -> None:
    """Raises CredentialError when others than the owner may read the file."""
    if os.name != "posix":
        return  # rights are in the access control list there, not in the mode
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise CredentialError(
            f"{path} may be read by others (mode {mode:04o})", hint=f"run chmod 600 {path}"
        )


def make_private_directory(path: Path) -> None:
    """Create a directory for secrets; an existing one keeps its rights."""
    if not path.exists():
        Filesystem().make_directory(path)
        path.chmod(PRIVATE_DIRECTORY)


def read_store(path: Path) -> dict[str, Any]:
    """A JSON credential file; empty when there is none. Raises CredentialError when damaged."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CredentialError(f"{path} is too large", hint="restore it from a backup")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CredentialError(
            f"{path} is damaged ({error})",
            hint="restore it from a backup, or remove it and enrol again",
        ) from None
    if not isinstance(data, dict):
        raise CredentialError(f"{path} is not a credential file", hint="restore it from a backup")
    return data


def write_store(path: Path, data: dict[str, Any]) -> None:
    """Replace a JSON credential file, atomically and durably, mode 0600."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True))


def write_text(path: Path, text: str) -> None:
    """Replace a credential file, atomically and durably, mode 0600."""
    make_private_directory(path.parent)
    Filesystem().replace(path, [text.encode()], mode=PRIVATE_FILE)
