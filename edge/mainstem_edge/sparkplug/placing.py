"""Where the values of a source belong: which template, which device.

1. An instance of a template goes by ``definitions``; anything else by the first pattern of
   ``templates`` that fits ``group/node/device`` (``*`` for any text).
2. What nothing names is of a template of its own, where data may make templates: an instance by
   its definition, a device by ``<group>_<device>``, an edge node by ``<group>_<node>``.
3. The device path is the pattern's; of an edge node itself without the elements that name a device,
   of an instance with its name behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mainstem_edge.patterns import PathPattern
from mainstem_edge.sparkplug.rows import Source
from mainstem_node.line_protocol.naming import element, field_column

_LEVELS = {"group": 0, "node": 1, "device": 2, "instance": 3}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Place:
    """``template`` by name. ``is_own``: no configuration named it, data may make and extend it."""

    template: str
    is_own: bool


class Placing:
    """See the module. ``templates``: by pattern, in order; ``definitions``: by their names."""

    def __init__(
        self,
        device: str,
        templates: Mapping[str, str],
        definitions: Mapping[str, str],
        *,
        own_templates: bool,
    ) -> None:
        self._templates = dict(templates)
        self._definitions = dict(definitions)
        self._own_templates = own_templates
        of_node = ".".join(part for part in device.split(".") if "{device}" not in part)
        self._patterns = {
            (has_device, has_instance): PathPattern(
                _numbered((device if has_device else of_node) + ".{instance}" * has_instance)
            )
            for has_device in (False, True)
            for has_instance in (False, True)
        }

    def place(self, source: Source) -> Place | None:
        """None when nothing says where it belongs."""
        if source.instance and source.definition in self._definitions:
            return Place(self._definitions[source.definition], False)
        name = "/".join(part for part in (str(source.key), source.device) if part)
        if not source.instance:
            for pattern, template in self._templates.items():
                if fnmatchcase(name, pattern):
                    return Place(template, False)
        if not self._own_templates:
            return None
        if source.instance:
            return Place(own_name(source.definition), True)
        return Place(own_name(f"{source.key.group}_{source.device or source.key.node}"), True)

    def path(self, source: Source) -> str:
        """Raises PathFormError."""
        pattern = self._patterns[bool(source.device), bool(source.instance)]
        levels = (source.key.group, source.key.node, source.device, _flat(source.instance))
        return pattern.path([element(level) for level in levels], {})

    def definition_place(self, definition: str) -> Place | None:
        """The template that a definition makes, None when the configuration names another."""
        if definition in self._definitions or not self._own_templates:
            return None
        return Place(own_name(definition), True)


def own_name(text: str) -> str:
    """A template's name."""
    return element(_flat(text))


def column_of(metric: str) -> str:
    """The measurement that a metric is where the template does not name it otherwise."""
    return field_column(_flat(metric), lambda _: False)


def _flat(text: str) -> str:
    """Metrics are grouped by slashes, which no name here may have."""
    return text.replace("/", "_")


def _numbered(text: str) -> str:
    return _PLACEHOLDER.sub(lambda found: f"{{topic[{_LEVELS[found[1]]}]}}", text)
