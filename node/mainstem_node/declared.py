"""What the topology file has named before, so that what SQL has taken away since stays away.

1. ``DATA/declared.json`` holds, by template, the measurements and tags that the file named at the
   last start; names in lower case.
2. A template, measurement or tag that the file named then, and that is not there now, was dropped
   or renamed by SQL: it is not made again. One that the file names for the first time is made.
3. It is written when everything is declared, by atomic replacement. Without it, or where it is
   damaged, nothing is remembered, and all that the file names is made.

To have a dropped column again, ALTER adds it; or the file names it anew after a start without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from mainstem_engine.filesystem import Filesystem
from mainstem_engine.model import Template
from mainstem_node.logs import fields

FILE_NAME = "declared.json"

log = logging.getLogger("mainstem.declare")


class DeclaredBefore:
    """The names of the last start, and what will be those of the next."""

    def __init__(self, data_dir: Path | None) -> None:
        """``data_dir`` None: nothing is remembered, nor kept."""
        self._path = None if data_dir is None else data_dir / FILE_NAME
        self._before = {} if self._path is None else _read(self._path)
        self._now: dict[str, list[str]] = {}

    def names(self, template: str) -> frozenset[str]:
        """Measurements and tags, in lower case; empty for a template that was not named."""
        return frozenset(self._before.get(template.casefold(), ()))

    def had(self, template: str) -> bool:
        return template.casefold() in self._before

    def add(self, template: Template) -> None:
        """The file names this template."""
        names = [m.name for m in template.measurements] + [tag.name for tag in template.tags]
        self._now[template.name.casefold()] = [name.casefold() for name in names]

    def keep(self) -> None:
        """Writes what was added. Raises OSError."""
        if self._path is not None and self._now != self._before:
            text = json.dumps(self._now, indent=1, ensure_ascii=False)
            Filesystem().replace(self._path, [text.encode()])


def gone(template: str, names: Iterable[str]) -> None:
    """Says what of the file is not made."""
    listed = sorted(names)
    if listed:
        log.warning(
            "the file names what SQL has dropped or renamed: it stays so",
            extra=fields(template=template, names=listed),
        )


def _read(path: Path) -> Mapping[str, list[str]]:
    try:
        found = json.loads(path.read_bytes())
        return {str(name): [str(column) for column in columns] for name, columns in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        log.warning("what was declared before is not known", extra=fields(path=str(path)))
        return {}
