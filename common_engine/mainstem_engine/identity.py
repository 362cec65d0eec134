"""Who a data directory belongs to: ``identity.json``, made at the first start.

The file is a JSON object with ``node_uuid``, 32 hex digits. Other keys belong to higher layers and
are kept.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem

IDENTITY_NAME = "identity.json"
_HEX_DIGITS = 32


def read_identity(fs: Filesystem, directory: Path) -> str | None:
    """The node uuid, None when the directory has no identity yet. Raises CorruptionError."""
    path = directory / IDENTITY_NAME
    try:
        data = fs.read(path)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)["node_uuid"]
        if len(found) != _HEX_DIGITS:
            raise ValueError(f"{len(found)} digits")
        int(found, 16)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(path, 0, f"no node_uuid of 32 hex digits ({error!r})") from error
    return str(found)


def ensure_identity(fs: Filesystem, directory: Path) -> str:
    """The node uuid, a new random one at the first start."""
    found = read_identity(fs, directory)
    if found is None:
        found = uuid.uuid4().hex
        write_identity(fs, directory, found)
    return found


def write_identity(fs: Filesystem, directory: Path, node_uuid: str) -> None:
    """Puts an identity in place, of which other keys are lost: for a first start and a repair."""
    fs.replace(directory / IDENTITY_NAME, [json.dumps({"node_uuid": node_uuid}).encode()])
