"""What a server has, for people: nodes with values of now, and a configuration to begin with."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from asyncua import Client, ua

from mainstem_edge.opcua.browsing import NODES_A_CALL, Found, walk
from mainstem_edge.opcua.node_ids import node_id, text_of
from mainstem_edge.opcua.reading import read
from mainstem_edge.opcua.values import plain

TYPES = {
    "Boolean": "BOOLEAN", "SByte": "INT8", "Byte": "UINT8", "Int16": "INT16", "UInt16": "UINT16",
    "Int32": "INT32", "UInt32": "UINT32", "Int64": "INT64", "UInt64": "UINT64", "Float": "FLOAT",
    "Double": "DOUBLE", "DateTime": "TIMESTAMP", "ByteString": "BLOB",
}  # fmt: skip
"""Of a measurement by that of its variable; anything else is TEXT."""
VALUE_CHARS_MAX = 60
DEVICES_SHOWN = 20
_NOT_IN_NAMES = re.compile(r"\W+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shown:
    """A node. ``path``: names from the first node on. ``type``: of a variable's value, "" for an
    object. ``value``: of now; None where it cannot be read."""

    path: tuple[str, ...]
    objects: int
    node: str
    type: str = ""
    value: Any = None
    status: str = ""

    def plain(self) -> dict[str, Any]:
        """For programs."""
        kind = "variable" if self.type else "object"
        return {
            "path": "/".join(self.path), "node": self.node, "kind": kind,
            "type": self.type or None, "value": self.value, "status": self.status or None,
        }  # fmt: skip


async def shown(client: Client, under: str, depth: int, limit: int) -> AsyncIterator[Shown]:
    """At most ``limit`` nodes, level by level. Raises ValueError(problem, remedy)."""
    namespaces = await client.get_namespace_array()
    some: list[Found] = []
    count = 0
    async for found in walk(client, node_id(under, namespaces), depth):
        some.append(found)
        count += 1
        if len(some) == NODES_A_CALL or count == limit:
            for each in await _with_values(client, some):
                yield each
            some = []
        if count == limit:
            return
    for each in await _with_values(client, some):
        yield each


async def _with_values(client: Client, found: Sequence[Found]) -> list[Shown]:
    variables = [each.node for each in found if each.is_variable]
    answers = iter(await read(client, variables, ua.AttributeIds.Value))
    return [
        _shown(each, next(answers))
        if each.is_variable
        else Shown(each.path, each.objects, text_of(each.node))
        for each in found
    ]


def _shown(found: Found, answer: ua.DataValue) -> Shown:
    value = answer.Value
    kind = "unknown" if value is None else value.VariantType.name
    if value is not None and value.is_array:
        kind += "[]"
    status = "" if answer.StatusCode is None else str(answer.StatusCode.name)
    content = None if value is None else plain(value.Value)
    if isinstance(content, str) and len(content) > VALUE_CHARS_MAX:
        content = f"{content[:VALUE_CHARS_MAX]}..."
    return Shown(found.path, found.objects, text_of(found.node), kind, content, status)


def suggestion(url: str, nodes: Iterable[Shown]) -> str:
    """Templates and a collector for the objects that have variables, as YAML. Objects with the same
    variables are devices of one template."""
    devices: dict[tuple[str, ...], dict[str, Shown]] = {}
    for each in nodes:
        if each.type:
            name = ".".join(each.path[each.objects :])
            devices.setdefault(each.path[: each.objects], {})[name] = each
    templates: dict[tuple[tuple[str, str], ...], str] = {}
    named: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    for path, variables in list(devices.items())[:DEVICES_SHOWN]:
        types = {name: TYPES.get(each.type, "TEXT") for name, each in variables.items()}
        key = tuple(sorted(types.items()))
        if key not in templates:
            wanted = _name(path[-1] if path else "server").casefold()
            templates[key] = _free(wanted, named)
            named[templates[key]] = {"measurements": _measurements(types)}
        columns = dict(zip(types, _measurements(types), strict=True))
        listed.append(
            {
                "device": ".".join(["root", "opcua", *(map(_name, path) or ["server"])]),
                "template": templates[key],
                "nodes": {columns[name]: each.node for name, each in variables.items()},
            }
        )
    collector = {"type": "opcua", "url": url, "devices": listed}
    return yaml.safe_dump(
        {"templates": named, "collectors": [collector]},
        sort_keys=False, allow_unicode=True, width=100,
    )  # fmt: skip


def _measurements(types: dict[str, str]) -> dict[str, dict[str, str]]:
    """By names that SQL takes as they are; ``from`` has the variable's where it differs."""
    found: dict[str, dict[str, str]] = {}
    for name, kind in types.items():
        column = _free(_name(name), found)
        found[column] = {"type": kind, **({"from": name} if column != name else {})}
    return found


def _free(wanted: str, taken: Iterable[str]) -> str:
    folded = {each.casefold() for each in taken} | {"time", "device"}
    name, number = wanted, 2
    while name.casefold() in folded:
        name, number = f"{wanted}_{number}", number + 1
    return name


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)[:60].strip("_") or "x"
