"""What is watched: one point for each measurement of a device, and the node that has its value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from asyncua import ua

from mainstem_edge.opcua.node_ids import node_id
from mainstem_edge.preprocess import TemplateRules


@dataclass(frozen=True, slots=True)
class Place:
    """A device of a template."""

    template: str
    device: str

    @property
    def topic(self) -> str:
        """Of its rows: one for each template."""
        return f"opcua/{self.template}"


@dataclass(frozen=True, slots=True)
class Point:
    """``name``: what rows call the measurement."""

    place: Place
    name: str
    node: ua.NodeId
    deadband: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A device whose nodes the configuration names, by measurement."""

    place: Place
    nodes: Mapping[str, str]


class Names:
    """How the rows of one template call its measurements, whatever a source calls them."""

    def __init__(self, rules: TemplateRules, deadbands: Mapping[str, float]) -> None:
        bands = {name.casefold(): band for name, band in deadbands.items()}
        collected = [rule for rule in rules.measurements if not rule.computed]
        self._of = {rule.source.casefold(): rule.source for rule in collected}
        self._of |= {rule.name.casefold(): rule.source for rule in collected}
        self._bands = {
            rule.source: bands[rule.name.casefold()]
            for rule in collected
            if rule.name.casefold() in bands and (rule.parsed_as.is_float or rule.type.is_integer)
        }
        self.with_quality = frozenset(rule.source for rule in collected if rule.quality is not None)

    def get(self, name: str) -> str | None:
        """None for a name that the template does not have."""
        return self._of.get(name.casefold())

    def deadband(self, name: str) -> float | None:
        return self._bands.get(name)


def listed_points(
    listed: Iterable[Listed], names: Mapping[str, Names], namespaces: Sequence[str]
) -> Iterator[Point]:
    """Raises ValueError(problem, remedy) for a namespace that the server does not have."""
    for each in listed:
        known = names[each.place.template]
        for measurement, text in each.nodes.items():
            name = known.get(measurement)
            if name is not None:  # else its template lost it while the node runs
                node = node_id(text, namespaces)
                yield Point(each.place, name, node, known.deadband(name))
