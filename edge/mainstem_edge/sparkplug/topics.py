"""Topics of the namespace ``spBv1.0``."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "spBv1.0"
STATE = "STATE"
NODE_TYPES = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
DEVICE_TYPES = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})


@dataclass(frozen=True, slots=True)
class NodeKey:
    """An edge node, in the words of the specification."""

    group: str
    node: str

    def __str__(self) -> str:
        return f"{self.group}/{self.node}"


@dataclass(frozen=True, slots=True)
class Address:
    """One topic, taken apart. ``device`` is empty in messages of the edge node itself."""

    type: str
    key: NodeKey
    device: str = ""

    @property
    def topic(self) -> str:
        device = f"/{self.device}" if self.device else ""
        return f"{NAMESPACE}/{self.key.group}/{self.type}/{self.key.node}{device}"


def address_of(topic: str) -> Address | None:
    """What a topic says; None when it is none of the specification's."""
    levels = topic.split("/")
    if levels[0] != NAMESPACE or not all(levels):
        return None
    if len(levels) == 4 and levels[2] in NODE_TYPES:
        return Address(levels[2], NodeKey(levels[1], levels[3]))
    if len(levels) == 5 and levels[2] in DEVICE_TYPES:
        return Address(levels[2], NodeKey(levels[1], levels[3]), levels[4])
    return None


def state_topic(host_id: str) -> str:
    return f"{NAMESPACE}/{STATE}/{host_id}"


def is_identifier(text: str) -> bool:
    """True for what may be a group, an edge node, a device or a host."""
    return bool(text) and not set("+/#") & set(text)
