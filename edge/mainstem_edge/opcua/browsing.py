"""Walking through a server's address space, level by level, within bounds.

Objects (and folders) are walked into; variables are found, and walked into for the variables that
they are made of. Properties are left out: units and limits are no values. A node that is reached
twice is looked at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from asyncua import Client, ua

from mainstem_edge.errors import PathFormError
from mainstem_edge.opcua.points import Names, Place, Point
from mainstem_edge.patterns import PathPattern

VISITED_MAX = 200_000
"""Nodes of one walk: what no sensible `under` has below it."""
REFERENCES_MAX = 1000
"""References of one node in one answer; the rest is asked for."""
SERVER = ua.NodeId(ua.ObjectIds.Server)
"""The server's own state and diagnostics: thousands of nodes that nobody means by "all"."""
NODES_A_CALL = 100
"""Where the server names no limit."""


@dataclass(frozen=True, slots=True)
class Found:
    """A node. ``path``: names from below the first node. ``objects``: how many of them, from the
    front, are objects; the rest are variables."""

    node: ua.NodeId
    path: tuple[str, ...]
    objects: int

    @property
    def is_variable(self) -> bool:
        return self.objects < len(self.path)


@dataclass(frozen=True, slots=True)
class Browse:
    """What becomes of the objects below a node. ``templates``: by pattern of their names."""

    under: str
    depth: int
    templates: Mapping[str, str]
    device: PathPattern

    def template(self, path: Sequence[str]) -> str | None:
        """Of an object; None when no pattern fits."""
        found = (each for text, each in self.templates.items() if fits(text.split("/"), path))
        return next(found, None)


def fits(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """``*`` is any text within a level, ``**`` any number of levels."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(fits(pattern[1:], path[start:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and fits(pattern[1:], path[1:])


async def walk(
    client: Client, start: ua.NodeId, depth: int, nodes_a_call: int = NODES_A_CALL
) -> AsyncIterator[Found]:
    """All objects and variables below a node, the near ones first. Ends after VISITED_MAX."""
    level = [Found(start, (), 0)]
    seen = {start}
    for _ in range(depth):
        below: list[Found] = []
        for begin in range(0, len(level), nodes_a_call):
            some = level[begin : begin + nodes_a_call]
            for parent, references in zip(some, await _references(client, some), strict=True):
                for reference in references:
                    found = _found(parent, reference)
                    if found is None or found.node in seen or len(seen) >= VISITED_MAX:
                        continue
                    seen.add(found.node)
                    below.append(found)
                    yield found
        level = below


def _found(parent: Found, reference: ua.ReferenceDescription) -> Found | None:
    is_property = reference.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HasProperty)
    if is_property or getattr(reference.NodeId, "ServerIndex", 0):
        return None
    node = ua.NodeId(
        reference.NodeId.Identifier, reference.NodeId.NamespaceIndex, reference.NodeId.NodeIdType
    )
    if node == SERVER:
        return None
    path = (*parent.path, reference.BrowseName.Name or "")
    if reference.NodeClass == ua.NodeClass.Variable:
        return Found(node, path, parent.objects)
    return None if parent.is_variable else Found(node, path, len(path))


async def _references(
    client: Client, nodes: Sequence[Found]
) -> list[list[ua.ReferenceDescription]]:
    """Of each node, what is below it. A node that may not be browsed has nothing."""
    parameters = ua.BrowseParameters()
    parameters.RequestedMaxReferencesPerNode = REFERENCES_MAX
    for each in nodes:
        wish = ua.BrowseDescription()
        wish.NodeId = each.node
        wish.BrowseDirection = ua.BrowseDirection.Forward
        wish.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        wish.IncludeSubtypes = True
        wish.NodeClassMask = ua.NodeClass.Object | ua.NodeClass.Variable
        wish.ResultMask = ua.BrowseResultMask.All
        parameters.NodesToBrowse.append(wish)
    found: list[list[ua.ReferenceDescription]] = []
    for result in await client.uaclient.browse(parameters):
        references = list(result.References or ())
        point = result.ContinuationPoint
        while point and len(references) < VISITED_MAX:
            following = ua.BrowseNextParameters()
            following.ContinuationPoints = [point]
            (more,) = await client.uaclient.browse_next(following)
            references += more.References or ()
            point = more.ContinuationPoint
        found.append(references)
    return found


class Finding:
    """What one walk found for a Browse: points of devices, and what was left out of them."""

    def __init__(self, browse: Browse, names: Mapping[str, Names]) -> None:
        self._browse = browse
        self._names = names
        self._devices: set[str] = set()
        self._places: dict[tuple[str, ...], Place | None] = {}
        self.unnamed = 0
        """Variables that their template has no measurement for."""
        self.bad_paths = self.same_paths = 0
        """Objects without a path that can be formed, or with that of another."""

    def point(self, found: Found) -> Point | None:
        """Of a variable, if it is one that is wanted. It belongs to the nearest object above it
        that a pattern fits; its name is that of all levels below, joined with dots."""
        for end in range(found.objects, 0, -1):
            place = self._place(found.path[:end])
            if place is not None:
                known = self._names[place.template]
                name = known.get(".".join(found.path[end:]))
                if name is None:
                    self.unnamed += 1
                    return None
                return Point(place, name, found.node, known.deadband(name))
        return None

    def _place(self, path: tuple[str, ...]) -> Place | None:
        if path not in self._places:
            self._places[path] = self._formed(path)
        return self._places[path]

    def _formed(self, path: tuple[str, ...]) -> Place | None:
        template = self._browse.template(path)
        if template is None:
            return None
        try:
            place = Place(template, self._browse.device.path(path, {}))
        except PathFormError:
            self.bad_paths += 1
            return None
        if place.device in self._devices:
            self.same_paths += 1
            return None
        self._devices.add(place.device)
        return place


def device_pattern(text: str) -> PathPattern:
    """``{name}`` and ``{path[n]}`` as the levels of a path."""
    return PathPattern(text.replace("{path[", "{topic[").replace("{name}", "{topic[-1]}"))


def limited(found: Iterable[Point], count: int) -> tuple[list[Point], int]:
    """(the first ``count``, how many there are besides). One node that is two measurements is
    watched twice."""
    every = list(dict.fromkeys(found))
    return every[:count], max(0, len(every) - count)
