"""What a rollup is, and which table it is computed from.

A coarse rollup is merged from a finer one where there is one, which costs a sixtieth of the rows:
from the coarsest that is declared here for the same table and whose window divides its own. Where
none is declared, it follows what is held: the table itself, and rollups of it that children send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mainstem_engine.catalog.templates import Table


@dataclass(frozen=True, slots=True)
class RollupDefinition:
    """``table`` every ``every_ns`` into ``<table>_<name>``; a window closes ``lateness_ns`` after
    its end. ``all``: rows of every origin, not only of this node. ``keep_ns``: how long the windows
    are kept; None: for ever, or what set_keep() says."""

    table: str
    every_ns: int
    name: str
    lateness_ns: int = 0
    all: bool = False
    keep_ns: int | None = None

    @property
    def target(self) -> str:
        """The table that it fills."""
        return f"{self.table}_{self.name}"


@dataclass(frozen=True, slots=True)
class HeldRollup:
    """A rollup of a table that is held here, for a planner.

    ``table`` is filled every ``every_ns`` from ``of``. ``answers(start_ns, end_ns)``: True when its
    windows in [start, end) say exactly what the visible rows of ``of`` say, now. Both bounds are
    multiples of ``every_ns``.
    """

    table: str
    of: str
    every_ns: int
    answers: Callable[[int, int], bool]


class RollupSources:
    """Which definitions follow which table."""

    def __init__(self, definitions: Sequence[RollupDefinition]) -> None:
        self._targets = {d.target.casefold() for d in definitions}
        self._declared: dict[str, list[RollupDefinition]] = {}
        self._open: dict[str, list[RollupDefinition]] = {}
        self._finer: dict[RollupDefinition, RollupDefinition] = {}
        for definition in definitions:
            finer = _finer(definition, definitions)
            if finer is None:
                self._open.setdefault(definition.table.casefold(), []).append(definition)
            else:
                self._declared.setdefault(finer.target.casefold(), []).append(definition)
                self._finer[definition] = finer

    def finer(self, definition: RollupDefinition) -> RollupDefinition | None:
        """The declared rollup that a definition is merged from."""
        return self._finer.get(definition)

    def lineage(self, definition: RollupDefinition) -> tuple[object, ...]:
        """Equal for definitions that are computed from the same rows in the same steps."""
        found: list[object] = []
        each: RollupDefinition | None = definition
        while each is not None:
            found += [each.target.casefold(), each.every_ns, each.all]
            each = self._finer.get(each)
        return tuple(found)

    def following(self, table: str) -> Iterator[RollupDefinition]:
        """The definitions that rows of ``table`` may change. By its name alone, so that it can be
        asked during replay; ``follows`` decides."""
        name = table.casefold()
        yield from self._declared.get(name, ())
        if name in self._targets:
            return
        for source, definitions in self._open.items():
            if name == source or name.startswith(f"{source}_"):
                yield from definitions

    def follows(self, definition: RollupDefinition, table: Table) -> bool:
        """True when the definition is computed from that table."""
        finer = self._finer.get(definition)
        if finer is not None:
            return table.name.casefold() == finer.target.casefold()
        if table.name.casefold() == definition.table.casefold():
            return True
        of, every_ns = table.template.rollup_of, table.template.every_ns or 0
        return (
            of is not None
            and of.casefold() == definition.table.casefold()
            and table.name.casefold() not in self._targets
            and 0 < every_ns < definition.every_ns
            and definition.every_ns % every_ns == 0
        )


def _finer(
    definition: RollupDefinition, others: Sequence[RollupDefinition]
) -> RollupDefinition | None:
    """The coarsest declared rollup that it can be merged from."""
    found = [
        other
        for other in others
        if other.table.casefold() == definition.table.casefold()
        and other.all == definition.all
        and other.every_ns < definition.every_ns
        and definition.every_ns % other.every_ns == 0
    ]
    return max(found, key=lambda other: other.every_ns, default=None)
