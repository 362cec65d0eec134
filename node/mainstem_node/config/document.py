"""A YAML file as a tree of nodes with line numbers, before it means anything.

1. The text is composed (never constructed): tags such as ``!!python/...`` cannot make objects.
2. Size, depth and expansion by aliases are bounded, so that a hostile file is only an error.
3. Duplicate keys, keys that are not text and unknown tags are problems; merge keys (``<<``) work.
4. ``${NAME}`` in a value is replaced by the environment variable. Values are then read by their
   text, so that ``no`` or ``1.10`` stay what was written where a text is expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mainstem_node.errors import ConfigProblem

FILE_BYTES_MAX = 4 << 20
"""Ten thousand nodes fit; a larger file is a mistake."""
VALUES_MAX = 200_000
"""Values after aliases are expanded: a file of nested aliases cannot fill the memory."""
DEPTH_MAX = 32

_RESOLVER: Any = yaml.resolver.Resolver()
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MERGE_TAG = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value", "merge")
}


@dataclass(slots=True)
class Value:
    """One value: ``content`` is text, a list of Values, a dict of (key text -> Entry), or None."""

    content: Any
    line: int
    file: str
    tag: str = ""
    raw: str = ""
    """The text before environment variables were put in; safe to show."""

    @property
    def shape(self) -> str:
        if self.content is None:
            return "nothing"
        if isinstance(self.content, dict):
            return "a mapping"
        return "a list" if isinstance(self.content, list) else "a single value"


@dataclass(slots=True)
class Entry:
    """One key of a mapping, with the line of the key, and its value."""

    line: int
    value: Value


@dataclass(slots=True)
class Document:
    """What a file holds, and what is wrong with it so far."""

    root: Value | None
    problems: list[ConfigProblem] = field(default_factory=list)


def read_document(path: Path, env: Mapping[str, str], shown_as: str | None = None) -> Document:
    """Reads one YAML file. ``shown_as`` is the file's name in messages; default the path given."""
    name = shown_as or str(path)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except FileNotFoundError:
        return _failed(name, 0, "the file does not exist", "check the path")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _failed(name, line, "the file is not UTF-8", "save it as UTF-8")
    except OSError as error:
        return _failed(name, 0, f"the file cannot be read ({error.strerror})", "check its rights")
    if len(data) > FILE_BYTES_MAX:
        return _failed(name, 0, "the file is larger than 4 MiB", "use `templates: {include: ...}`")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context or "not YAML").split())
        return _failed(
            name, mark.line + 1 if mark else 0, problem, "check indentation, quotes and brackets"
        )
    except yaml.YAMLError as error:
        return _failed(name, 1, " ".join(str(error).split()), "remove control characters")
    except RecursionError:
        return _failed(name, 0, "the file is nested too deeply", f"use at most {DEPTH_MAX} levels")
    if root is None:
        return _failed(name, 1, "the file is empty", "`mainstem init` writes a commented example")
    reader = _Reader(name, env)
    value = reader.read(root, "", 0)
    return Document(value, reader.problems)


def _failed(file: str, line: int, problem: str, remedy: str) -> Document:
    return Document(None, [ConfigProblem(file, line, "", problem, remedy)])


class _Reader:
    """Turns composed YAML nodes into Values; problems are collected, not raised."""

    def __init__(self, file: str, env: Mapping[str, str]) -> None:
        self.file = file
        self.env = env
        self.problems: list[ConfigProblem] = []
        self.values = 0

    def read(self, node: yaml.Node, where: str, depth: int) -> Value:
        line = node.start_mark.line + 1
        self.values += 1
        if depth > DEPTH_MAX or self.values > VALUES_MAX:
            if self.values <= VALUES_MAX + 1:
                self._problem(line, where, "the file is nested too deeply", "remove the nesting")
                self.values = VALUES_MAX + 1
            return Value(None, line, self.file)
        if node.tag not in _PLAIN_TAGS:
            self._problem(line, where, f"tag {node.tag!r} is not allowed", "write a plain value")
            return Value(None, line, self.file)
        if isinstance(node, yaml.MappingNode):
            return Value(self._mapping(node, where, depth), line, self.file, node.tag)
        if isinstance(node, yaml.SequenceNode):
            items = [
                self.read(item, f"{where}[{number}]", depth + 1)
                for number, item in enumerate(node.value)
            ]
            return Value(items, line, self.file, node.tag)
        return self._scalar(node, where)

    def _mapping(self, node: yaml.MappingNode, where: str, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE_TAG:
                merged |= self._merge(value_node, where, depth)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(line, where, "a key must be a text", "put it in quotes")
                continue
            key = str(key_node.value)
            inside = f"{where}.{key}" if where else key
            if key in entries:
                first = entries[key].line
                self._problem(
                    line, inside, f"the key stands twice (first in line {first})", "remove one"
                )
                continue
            entries[key] = Entry(line, self.read(value_node, inside, depth + 1))
        return merged | entries

    def _merge(self, node: yaml.Node, where: str, depth: int) -> dict[str, Entry]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Entry] = {}
        for item in nodes:
            if isinstance(item, yaml.MappingNode):
                # The first of several wins, as YAML says.
                merged = self._mapping(item, where, depth + 1) | merged
            else:
                line = item.start_mark.line + 1
                self._problem(line, where, "<< needs a mapping", "name an anchored mapping")
        return merged

    def _scalar(self, node: yaml.Node, where: str) -> Value:
        line = node.start_mark.line + 1
        raw = str(node.value)
        if node.tag.endswith(":null"):
            return Value(None, line, self.file, node.tag, raw)
        text, tag = raw, node.tag
        missing = [name for name in _ENV.findall(raw) if name not in self.env]
        for name in missing:
            self._problem(
                line, where, f"environment variable {name} is not set", f"export {name}, or name it"
                " in the service's environment file",
            )  # fmt: skip
        if not missing and _ENV.search(raw):
            text = _ENV.sub(lambda match: self.env[match.group(1)], raw)
            tag = str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)))
        return Value(text, line, self.file, tag, raw)

    def _problem(self, line: int, where: str, problem: str, remedy: str) -> None:
        self.problems.append(ConfigProblem(self.file, line, where, problem, remedy))
