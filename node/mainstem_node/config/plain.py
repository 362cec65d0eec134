"""A topology file as plain values, as it was written: nothing put in for ``${NAME}``, no defaults.

For passing a configuration on: what comes out, written as YAML, is read again to the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mainstem_node.config.document import Value, read_document
from mainstem_node.errors import ConfigError


class _AnyName(Mapping[str, str]):
    """An environment in which every variable is set: the names are wanted here, not the values."""

    def __getitem__(self, name: str) -> str:
        return name

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def plain_topology(path: Path) -> dict[str, Any]:
    """The whole file; templates that it includes stand in it. Raises ConfigError for a file that
    cannot be read; whether its content makes sense is not looked at."""
    found = _plain_file(path)
    templates = found.get("templates")
    if isinstance(templates, dict) and "include" in templates:
        included = templates["include"]
        if not isinstance(included, dict):
            patterns = included if isinstance(included, list) else [included]
            merged = {name: body for name, body in templates.items() if name != "include"}
            for pattern in patterns:
                for file in sorted(path.absolute().parent.glob(str(pattern))):
                    merged.update(_plain_file(file))
            found["templates"] = merged
    return found


def _plain_file(path: Path) -> dict[str, Any]:
    document = read_document(path, _AnyName())
    if document.problems or document.root is None:
        raise ConfigError(document.problems)
    found = plain(document.root)
    return found if isinstance(found, dict) else {}


def plain(value: Value) -> Any:
    """dict, list, text, int, bool or None. Fractions stay texts: ``1.10`` may be a name."""
    if isinstance(value.content, dict):
        return {key: plain(entry.value) for key, entry in value.content.items()}
    if isinstance(value.content, list):
        return [plain(item) for item in value.content]
    if value.content is None:
        return None
    tag = value.tag.rpartition(":")[2]
    if value.content == value.raw and tag == "int" and value.raw.lstrip("-").isdigit():
        return int(value.raw) if str(int(value.raw)) == value.raw else value.raw
    if value.content == value.raw and tag == "bool" and value.raw.lower() in ("true", "false"):
        return value.raw.lower() == "true"
    return value.raw
