"""What a check of a data directory finds wrong, and what it finds worth saying."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mainstem_engine.errors import CorruptionError

DAMAGES_MAX = 10_000
"""Listed one by one; what is beyond is counted. A disk that lost a whole region has no use for a
longer list, and the report stays below a few MiB."""

PathOf = Callable[[int], str]
"""The path of a device id, as far as it can be known."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One place that is not what was written, and what is lost with it.

    ``file`` is relative to the directory; ``offset`` in bytes. ``rows`` and ``records`` count what
    can no longer be read (``columns``: only of these measurements, empty: whole rows). Times in
    ns, both ends included. ``devices``: first and last path.
    """

    file: str
    offset: int
    problem: str
    lost: str = ""
    part: str | None = None
    block: int | None = None
    table: str | None = None
    columns: tuple[str, ...] = ()
    devices: tuple[str, str] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    rows: int = 0
    first_lsn: int | None = None
    last_lsn: int | None = None

    @property
    def records(self) -> int:
        """Log records that are lost."""
        if self.first_lsn is None or self.last_lsn is None:
            return 0
        return max(0, self.last_lsn - self.first_lsn + 1)

    def __str__(self) -> str:
        text = f"{self.file} at byte {self.offset}: {self.problem}"
        return f"{text}; {self.lost}" if self.lost else text


@dataclass(slots=True)
class Findings:
    """Damages and remarks of one check; bounded."""

    damages: list[Damage] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    unlisted: int = 0

    def add(self, damage: Damage) -> None:
        """Notes a damage, only its count when there are very many."""
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(damage)
        else:
            self.unlisted += 1

    def extend(self, damages: Iterable[Damage]) -> None:
        for damage in damages:
            self.add(damage)

    def remark(self, text: str) -> None:
        """Something that is not damage: what a crash left, what a repair declared."""
        if len(self.remarks) < DAMAGES_MAX:
            self.remarks.append(text)


def damage_of(root: Path, error: Exception, file: str, lost: str = "") -> Damage:
    """A damage from an error, with the file relative to the directory."""
    if not isinstance(error, CorruptionError):
        problem = getattr(error, "strerror", None) or str(error)
        return Damage(file, 0, problem, lost)
    path = Path(error.path)
    named = path.relative_to(root).as_posix() if path.is_relative_to(root) else file
    return Damage(named, error.offset, error.problem, lost)
