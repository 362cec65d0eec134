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
_PART_LIST = "part-list"
_LATER = (_PART_LIST, "log", "parts", "checkpoint")
"""What the engine makes after the identity."""


def read_identity(fs: Filesystem, directory: Path) -> str | None:
    """The node uuid, None when the directory has no identity yet. Raises CorruptionError."""
    path = directory / IDENTITY_NAME
    try:
        data = fs.read(path)
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)["node_uuid"]
        # Exactly as it was written: another case of a letter would be another name.
        if len(found) != _HEX_DIGITS or set(found) - set("0123456789abcdef"):
            raise ValueError(f"{found!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(path, 0, f"no node_uuid of 32 hex digits ({error!r})") from error
    return str(found)


def ensure_identity(fs: Filesystem, directory: Path) -> str:
    """The node uuid, a new random one at the first start.

    Raises CorruptionError where something else is already: a new identity would make the log that
    of another node, and what repair can still find out would be lost.
    """
    found = read_identity(fs, directory)
    if found is None:
        for name in _LATER:
            if name in fs.list(directory) and (name == _PART_LIST or fs.list(directory / name)):
                path = directory / IDENTITY_NAME
                raise CorruptionError(path, 0, f"the identity is missing, and there is {name}")
        found = uuid.uuid4().hex
        write_identity(fs, directory, found)
    return found


def write_identity(fs: Filesystem, directory: Path, node_uuid: str) -> None:
    """Puts an identity in place, of which other keys are lost: for a first start and a repair."""
    fs.replace(directory / IDENTITY_NAME, [json.dumps({"node_uuid": node_uuid}).encode()])
