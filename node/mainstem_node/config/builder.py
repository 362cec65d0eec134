"""From YAML values to the structs of the schema, by the structs' own annotations.

Every problem is collected. A field that cannot be read takes its default, so that the rest of the
file is still checked; a struct that lacks a required field is left out as a whole (``INVALID``).
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import yaml

from mainstem_node.config.document import Value
from mainstem_node.config.kinds import FILE, MQTT_URL, SECRET, SIZE, Kind, Secret
from mainstem_node.config.schema import DERIVED_FIELDS
from mainstem_node.errors import ConfigProblem

INVALID: Any = object()
"""Stands for a value that could not be read; a problem has been noted."""


TAG = "type"
"""The key by which a mapping says which struct of several it is."""


def types_of(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, type[msgspec.Struct]]:
    """The structs of a union by the one value that their ``type`` can have."""
    return {get_args(typing.get_type_hints(kind)[TAG])[0]: kind for kind in kinds}


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, else the list of all."""
    names = list(known)
    near = _nearest(wrong, names)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(sorted(names))}" if names else "remove it"


def _nearest(wrong: str, names: list[str]) -> list[str]:
    """The known name that ``wrong`` was likely meant to be, or nothing."""
    import difflib  # a node that runs has nothing misspelt: 0.2 MB

    return difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)


class Builder:
    """Builds structs; ``problems`` and ``lines`` (field -> file, line) fill up on the way."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.problems: list[ConfigProblem] = []
        self.lines: dict[str, tuple[str, int]] = {}

    def problem(self, value: Value, where: str, problem: str, remedy: str) -> Any:
        self.problems.append(ConfigProblem(value.file, value.line, where, problem, remedy))
        return INVALID

    def build(self, value: Value, hint: Any, where: str) -> Any:
        """The typed value, or INVALID."""
        self.lines.setdefault(where, (value.file, value.line))
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            if type(None) not in args:
                return self._tagged(value, args, where)
            if value.content is None:
                return None
            return self.build(value, next(a for a in args if a is not type(None)), where)
        if hasattr(hint, "__metadata__"):
            return self._kind(value, hint.__metadata__[0], where)
        if origin is tuple:
            return self._tuple(value, args, where)
        if origin is dict:
            return self._dict(value, args, where)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.struct(value, hint, where)
        if value.content is None or isinstance(value.content, dict | list):
            return self.problem(value, where, f"expected one value, not {value.shape}", "write one")
        if origin is Literal:
            return self._choice(value, args, where)
        return self._plain(value, hint, where)

    def struct(
        self,
        value: Value,
        cls: type[msgspec.Struct],
        where: str,
        skip: frozenset[str] = frozenset(),
    ) -> Any:
        """A struct from a mapping. ``skip``: YAML keys that the caller reads itself."""
        entries = value.content
        fields = {f.encode_name: f for f in msgspec.structs.fields(cls)}
        fields = {key: f for key, f in fields.items() if f.name not in DERIVED_FIELDS}
        if not isinstance(entries, dict):
            keys = ", ".join(fields)
            return self.problem(
                value, where, f"expected a mapping, not {value.shape}", f"keys are {keys}"
            )
        hints = typing.get_type_hints(cls, include_extras=True)
        built: dict[str, Any] = {}
        complete = True
        for key, entry in entries.items():
            inside = f"{where}.{key}" if where else key
            self.lines[inside] = (entry.value.file, entry.line)
            if key in skip:
                continue
            if key not in fields:
                self.problems.append(
                    ConfigProblem(
                        entry.value.file, entry.line, inside, "unknown key",
                        suggestion(key, fields),
                    )
                )  # fmt: skip
                continue
            item = self.build(entry.value, hints[fields[key].name], inside)
            if item is not INVALID:
                built[fields[key].name] = item
            elif fields[key].required:
                complete = False
        for key, field in fields.items():
            if field.required and key not in entries and key not in skip:
                inside = f"{where}.{key}" if where else key
                self.problem(value, inside, "the key is missing", f"add `{key}: ...`")
                complete = False
        return cls(**built) if complete else INVALID

    def _tagged(self, value: Value, kinds: tuple[type[msgspec.Struct], ...], where: str) -> Any:
        """One of several structs: the one whose ``type`` the mapping names."""
        by_type = types_of(kinds)
        if not isinstance(value.content, dict):
            return self.problem(
                value, where, f"expected a mapping, not {value.shape}", "write `type: ...`"
            )
        entry = value.content.get(TAG)
        inside = f"{where}.{TAG}"
        if entry is None:
            return self.problem(
                value, inside, "the key is missing", f"add one of {', '.join(by_type)}"
            )
        self.lines[inside] = (entry.value.file, entry.line)
        chosen = by_type.get(str(entry.value.content))
        if chosen is None:
            return self._choice(entry.value, tuple(by_type), inside)
        return self.struct(value, chosen, where)

    def _tuple(self, value: Value, args: tuple[Any, ...], where: str) -> Any:
        items = value.content if isinstance(value.content, list) else [value]
        if value.content is None:
            items = []
        if args[-1] is not Ellipsis:
            if not isinstance(value.content, list) or len(items) != len(args):
                return self.problem(
                    value, where, f"expected a list of {len(args)} values", "write [low, high]"
                )
            built = [
                self.build(v, hint, f"{where}[{n}]")
                for n, (v, hint) in enumerate(zip(items, args, strict=True))
            ]
            return INVALID if INVALID in built else tuple(built)
        listed = isinstance(value.content, list)
        built = [
            self.build(v, args[0], f"{where}[{n}]" if listed else where)
            for n, v in enumerate(items)
        ]
        return tuple(item for item in built if item is not INVALID)

    def _dict(self, value: Value, args: tuple[Any, ...], where: str) -> Any:
        if value.content is None:
            return {}
        if not isinstance(value.content, dict):
            return self.problem(
                value, where, f"expected a mapping, not {value.shape}", "write `name: value`"
            )
        built: dict[Any, Any] = {}
        for text, entry in value.content.items():
            inside = f"{where}.{text}"
            key = self.build(Value(text, entry.line, value.file, raw=text), args[0], inside)
            self.lines[inside] = (value.file, entry.line)
            item = self.build(entry.value, args[1], inside)
            if key is not INVALID and item is not INVALID:
                built[key] = item
        return built

    def _kind(self, value: Value, kind: Kind, where: str) -> Any:
        if value.content is None or isinstance(value.content, dict | list):
            return self.problem(
                value, where, f"expected a {kind.name}, not {value.shape}", "write one value"
            )
        text = str(value.content)
        if kind is SECRET:
            if not re.search(r"\$\{\w+\}", value.raw):
                return self.problem(
                    value, where, "a secret stands in the file", "write ${NAME} and export NAME"
                )
            return Secret(text)
        if kind is FILE:
            path = Path(text).expanduser()
            return path if path.is_absolute() else self.base_dir / path
        if kind is SIZE and text.startswith("-"):
            return self.problem(value, where, "a size cannot be negative", "write 256MiB")
        try:
            return kind.parse(text)
        except ValueError as error:
            problem, remedy = error.args
            # A value from the environment may be a secret: show the name, not the text.
            if text != value.raw and kind is not MQTT_URL:
                problem = f"{value.raw!r} does not give a {kind.name}"
            return self.problem(value, where, problem, remedy)

    def _choice(self, value: Value, choices: tuple[Any, ...], where: str) -> Any:
        text = str(value.content)
        for choice in choices:
            if str(choice) == text:
                return choice
        names = [str(choice) for choice in choices]
        near = _nearest(text, names)
        remedy = f"did you mean {near[0]!r}?" if near else f"use {' or '.join(names)}"
        return self.problem(value, where, f"{value.raw!r} is not possible here", remedy)

    def _plain(self, value: Value, hint: Any, where: str) -> Any:
        text, tag = str(value.content), value.tag.rpartition(":")[2]
        if hint is bool:
            if tag == "bool":
                return yaml.SafeLoader.bool_values[text.lower()]
            return self.problem(value, where, f"{value.raw!r} is not true or false", "write true")
        if hint is int:
            if tag == "int" and ":" not in text:
                return int(text.replace("_", ""), 0)
            return self.problem(value, where, f"{value.raw!r} is not a whole number", "write one")
        if hint is float:
            try:
                number = float(text)
            except ValueError:
                number = float("nan")
            if number - number != 0:  # NaN and infinities
                return self.problem(value, where, f"{value.raw!r} is not a number", "write one")
            return number
        raise TypeError(f"{where}: the schema has a field of type {hint!r} that is not supported")
