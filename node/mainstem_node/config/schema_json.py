"""The JSON Schema of a topology file, for editors: derived from the structs of the schema.

It checks keys and the shape of values; names that refer to one another are the loader's part.
"""

from __future__ import annotations

import re
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from mainstem_node.config.schema import DERIVED_FIELDS, Topology

_ENV_TEXT = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
"""Any scalar may come from the environment."""
_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}


def config_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of the topology file."""
    definitions: dict[str, Any] = {}
    schema = _struct(Topology, definitions)
    include = {"type": ["string", "array"], "items": {"type": "string"}}
    schema["properties"]["templates"]["properties"] = {"include": include}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mainstem topology",
        **schema,
        "$defs": definitions,
    }


def _struct(cls: type[msgspec.Struct], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    properties: dict[str, Any] = {}
    required = []
    for field in msgspec.structs.fields(cls):
        if cls is Topology and field.name in DERIVED_FIELDS:
            continue
        properties[field.encode_name] = _schema(hints[field.name], definitions)
        if field.required:
            required.append(field.encode_name)
    schema: dict[str, Any] = {
        "type": "object",
        "description": " ".join(re.sub(r"`", "", cls.__doc__ or "").split()),
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return schema


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and type(None) not in args:
        return {"anyOf": [_schema(arg, definitions) for arg in args]}
    if origin in (Union, types.UnionType):
        inner = _schema(next(a for a in args if a is not type(None)), definitions)
        return {"anyOf": [inner, {"type": "null"}]}
    if hasattr(hint, "__metadata__"):
        kind = hint.__metadata__[0]
        known: dict[str, Any] = {"description": f"a {kind.name}", **kind.schema}
        return {"anyOf": [known, _ENV_TEXT]} if "enum" in known or "pattern" in known else known
    if origin is tuple and args[-1] is Ellipsis:
        item = _schema(args[0], definitions)
        return {"anyOf": [{"type": "array", "items": item}, item]}
    if origin is tuple:
        items = [_schema(arg, definitions) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    if origin is Literal:
        # A version such as 5 reads as a number in YAML; both spellings are meant.
        numbers = [int(a) for a in args if isinstance(a, str) and a.isdigit()]
        return {"enum": [*args, *numbers]}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        name = hint.__name__.removesuffix("Config")
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _struct(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    return {"anyOf": [{"type": _PLAIN[hint]}, _ENV_TEXT]}
