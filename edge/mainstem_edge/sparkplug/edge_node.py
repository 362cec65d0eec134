"""One edge node as its births describe it: who is online, what each alias means.

1. A birth names every metric with its data type, and may give it an alias that is unique in the
   whole edge node. Data then carry the alias alone, and no type: both are remembered.
2. A birth of the edge node ends everything before it: its devices are born again.
3. A death makes the metrics of the edge node, or of one device, stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mainstem_edge.sparkplug.payload import METRICS_MAX
from mainstem_edge.sparkplug.rows import STALE, Row, Source
from mainstem_edge.sparkplug.sequence import Sequence
from mainstem_edge.sparkplug.topics import NodeKey

DEVICES_MAX = 10_000
"""Of one edge node; a gateway has hundreds."""


@dataclass(frozen=True, slots=True)
class Known:
    """A metric of a birth. ``definition``: of an instance of a template."""

    device: str
    name: str
    datatype: int
    alias: int | None = None
    definition: str = ""


@dataclass(slots=True)
class Member:
    """The edge node itself or one device. ``stored``: sources and names whose values came."""

    is_online: bool = False
    metrics: dict[str, Known] = field(default_factory=dict)
    stored: dict[Source, dict[str, None]] = field(default_factory=dict)


@dataclass(slots=True)
class EdgeNode:
    """``bd_seq`` of its last birth. Counts are since the start of the host."""

    key: NodeKey
    sequence: Sequence = field(default_factory=Sequence)
    members: dict[str, Member] = field(default_factory=lambda: {"": Member()})
    aliases: dict[int, Known] = field(default_factory=dict)
    definitions: dict[str, dict[str, int]] = field(default_factory=dict)
    bd_seq: int | None = None
    births: int = 0
    deaths: int = 0
    deaths_ignored: int = 0
    unread: int = 0
    rebirths_asked: int = 0
    asked_s: float = float("-inf")
    wants_rebirth: str = ""
    """Why it is to be asked for its births; empty while there is no reason."""
    _metrics: int = 0

    @property
    def is_online(self) -> bool:
        return self.members[""].is_online

    def begin(self, bd_seq: int | None, seq: int | None) -> None:
        """A birth of the edge node."""
        self.sequence.begin(seq)
        self.members = {"": Member(is_online=True)}
        self.aliases = {}
        self.definitions = {}
        self._metrics = 0
        self.bd_seq = bd_seq
        self.births += 1
        self.wants_rebirth = ""

    def begin_device(self, device: str) -> bool:
        """A birth of a device. False when there are too many."""
        if device not in self.members and len(self.members) > DEVICES_MAX:
            return False
        old = self.members.get(device)
        if old is not None:
            self._metrics -= len(old.metrics)
            for known in old.metrics.values():
                if known.alias is not None:
                    self.aliases.pop(known.alias, None)
        self.members[device] = Member(is_online=True)
        return True

    def learn(self, known: Known) -> str:
        """Takes in a metric of a birth; what is wrong with it, or nothing."""
        if self._metrics >= METRICS_MAX:
            return f"more than {METRICS_MAX} metrics"
        if known.alias is not None:
            other = self.aliases.get(known.alias)
            if other is not None and (other.device, other.name) != (known.device, known.name):
                return f"alias {known.alias} is that of {other.name!r} already"
            self.aliases[known.alias] = known
        metrics = self.members[known.device].metrics
        self._metrics += known.name not in metrics
        metrics[known.name] = known
        return ""

    def find(self, device: str, name: str | None, alias: int | None) -> Known | None:
        """The metric that data mean, None when no birth has named it."""
        if alias is not None:
            found = self.aliases.get(alias)
            return found if found is not None and found.device == device else None
        member = self.members.get(device)
        return None if member is None or name is None else member.metrics.get(name)

    def note(self, rows: list[Row]) -> None:
        """Remembers whose values there were: those become stale with a death."""
        for row in rows:
            member = self.members.get(row.source.device)
            if member is not None:
                names = member.stored.setdefault(row.source, {})
                names.update(dict.fromkeys(row.values))

    def end(self, device: str, time_ns: int) -> Iterator[Row]:
        """A death, at the host's time: a stale row of every source that had values. Of the edge
        node (no device): of all its devices as well."""
        for name in [device] if device else list(self.members):
            member = self.members[name]
            if not member.is_online:
                continue
            member.is_online = False
            for source, names in member.stored.items():
                yield Row(source, time_ns, {}, dict.fromkeys(names, STALE))
