"""The configurations that a node has had: files of its data directory, and which one holds.

1. ``DATA/config/N.yaml`` is revision N as a topology file; ``DATA/config/revisions.json`` says of
   each where it came from and what became of it. Both are written by atomic replacement.
2. The numbers only grow; that of a revision that failed is used up. The last ``KEPT`` are kept, and
   the one that holds always.
3. A revision is *pending* from before it is tried until it has proven itself. One that is pending
   at a start was being tried when the process ended: it has failed, and the one before holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mainstem_engine.filesystem import Filesystem
from mainstem_node.logs import fields

log = logging.getLogger("mainstem.config")

FOLDER = "config"
KEPT = 20
PENDING, APPLIED, FAILED = "pending", "applied", "failed"
ERROR_CHARS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Revision:
    """``hash``: of the document; ``file_hash``: of the document that the node's own file made when
    the revision came; ``order``: id of the order that brought it, empty for the file's own."""

    rev: int
    hash: str
    file_hash: str
    by: str
    order: str
    at_ms: int
    state: str
    error: str = ""


class Revisions:
    """See the module. Thread-safe."""

    def __init__(self, data_dir: Path, fs: Filesystem | None = None) -> None:
        self._folder = data_dir / FOLDER
        self._fs = fs or Filesystem()
        self._lock = threading.Lock()
        self._all = self._read()

    @property
    def all(self) -> Sequence[Revision]:
        """Oldest first."""
        with self._lock:
            return tuple(self._all)

    @property
    def current(self) -> Revision | None:
        """The newest that is applied; None before the first."""
        return next((each for each in reversed(self.all) if each.state == APPLIED), None)

    @property
    def pending(self) -> Revision | None:
        return next((each for each in reversed(self.all) if each.state == PENDING), None)

    def before(self, rev: int) -> Revision | None:
        """The newest applied one below a number."""
        found = (each for each in reversed(self.all) if each.rev < rev and each.state == APPLIED)
        return next(found, None)

    def of_order(self, order: str) -> Revision | None:
        return next((each for each in self.all if each.order == order), None)

    def find(self, rev: int) -> Revision | None:
        return next((each for each in self.all if each.rev == rev), None)

    def path(self, rev: int) -> Path:
        """Where the file of a revision is."""
        return self._folder / f"{rev}.yaml"

    def add(
        self,
        text: bytes,
        *,
        digest: str,
        file_hash: str,
        by: str,
        order: str,
        at_ms: int,
        state: str,
    ) -> Revision:
        """A new one, durable. Raises OSError."""
        with self._lock:
            rev = 1 + max((each.rev for each in self._all), default=self._newest_file())
            found = Revision(rev, digest, file_hash, by, order, at_ms, state)
            self._fs.make_directory(self._folder)
            self._fs.replace(self.path(rev), [text], mode=0o600)
            self._all.append(found)
            self._drop_old()
            self._write()
            return found

    @contextlib.contextmanager
    def candidate(self, text: bytes) -> Iterator[Path]:
        """A file with this text, to be checked."""
        path = self._folder / "candidate.yaml"
        self._fs.make_directory(self._folder)
        self._fs.replace(path, [text], mode=0o600)
        try:
            yield path
        finally:
            self._fs.unlink(path)

    def judge(self, rev: int, state: str, error: str = "") -> None:
        """What became of a revision, durable."""
        with self._lock:
            self._all = [
                replace(each, state=state, error=error[:ERROR_CHARS_MAX])
                if each.rev == rev
                else each
                for each in self._all
            ]
            self._write()

    def _drop_old(self) -> None:
        holding = next((e.rev for e in reversed(self._all) if e.state == APPLIED), 0)
        for old in self._all[:-KEPT]:
            if old.rev != holding:
                self._all.remove(old)
                if self.path(old.rev).exists():
                    self._fs.unlink(self.path(old.rev))

    def _write(self) -> None:
        text = json.dumps([asdict(each) for each in self._all], indent=1)
        self._fs.replace(self._folder / "revisions.json", [text.encode()], mode=0o600)

    def _read(self) -> list[Revision]:
        path = self._folder / "revisions.json"
        if not path.exists():
            return []
        try:
            return [Revision(**each) for each in json.loads(path.read_bytes())]
        except (ValueError, TypeError) as error:
            # The node's own file holds then, as the next revision.
            log.error("the list of configurations is damaged", extra=fields(error=str(error)))
            return []

    def _newest_file(self) -> int:
        """A damaged list must not give numbers a second time."""
        if not self._folder.exists():
            return 0
        return max(
            (int(p.stem) for p in self._folder.glob("*.yaml") if p.stem.isdigit()), default=0
        )
