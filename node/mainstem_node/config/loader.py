"""From a topology file to a `Topology`, or to the list of everything that is wrong with it.

1. The file is read as values with lines (`document`); included template files likewise.
2. The values become structs (`builder`), every problem collected.
3. Names that refer to one another are checked (`checks`).
4. Defaults that depend on other keys are filled in: the parent's URL and the link's token file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mainstem_node.config.builder import INVALID, Builder, suggestion
from mainstem_node.config.checks import check_topology
from mainstem_node.config.document import Entry, Value, read_document
from mainstem_node.config.kinds import parse_name
from mainstem_node.config.report import Parts, Report
from mainstem_node.config.schema import DERIVED_FIELDS, NodeConfig, TemplateConfig, Topology
from mainstem_node.errors import ConfigError, ConfigProblem

INCLUDED_FILES_MAX = 1000
"""More template files than a federation has machine types."""


def load_topology(
    path: str | Path, base_dir: str | Path | None = None, *, env: Mapping[str, str] | None = None
) -> Topology:
    """Reads a topology. Raises ConfigError with every problem, each with file, line and remedy.

    ``base_dir``: what relative data and secret paths start from; default the file's directory.
    ``env``: where ``${NAME}`` is looked up; default the process's environment.
    """
    topology, problems = _load(Path(path), base_dir, env)
    if problems or topology is None:
        raise ConfigError(problems)
    return topology


def check(
    path: str | Path, base_dir: str | Path | None = None, *, env: Mapping[str, str] | None = None
) -> list[ConfigProblem]:
    """Everything that is wrong with a topology file, in the order of files and lines."""
    return _load(Path(path), base_dir, env)[1]


def _load(
    path: Path, base_dir: str | Path | None, env: Mapping[str, str] | None
) -> tuple[Topology | None, list[ConfigProblem]]:
    env = os.environ if env is None else env
    document = read_document(path, env)
    root = document.root
    if root is None:
        return None, document.problems
    if not isinstance(root.content, dict):
        problem = "the file must be a mapping with `nodes`"
        return None, [ConfigProblem(str(path), root.line, "", problem, "see configs/topology.yaml")]
    directory = path.absolute().parent
    builder = Builder(Path(base_dir).absolute() if base_dir is not None else directory)
    builder.problems += document.problems
    templates, names = _templates(builder, root.content, directory, env)
    topology, parts = _nodes(builder, root, templates, names)
    check_topology(Report(parts, builder, str(path)))
    problems = sorted(set(builder.problems), key=lambda p: (p.file != str(path), p.file, p.line))
    if problems:
        return None, problems
    topology = msgspec.structs.replace(
        topology,
        templates=templates,
        nodes=tuple(_with_defaults(node, topology, builder.base_dir) for node in topology.nodes),
        file=path.absolute(),
        base_dir=builder.base_dir,
        written=tuple(builder.lines),
    )
    return topology, []


def _templates(
    builder: Builder, root: dict[str, Entry], directory: Path, env: Mapping[str, str]
) -> tuple[dict[str, TemplateConfig], set[str]]:
    """The templates of the file and of those it includes, and every name that was seen."""
    entry = root.get("templates")
    if entry is None or entry.value.content is None:
        return {}, set()
    if not isinstance(entry.value.content, dict):
        builder.problem(
            entry.value, "templates", f"expected a mapping, not {entry.value.shape}",
            "write `name: {measurements: ...}` or `include: templates/*.yaml`",
        )  # fmt: skip
        return {}, set()
    entries = dict(entry.value.content)
    include = entries.get("include")
    if include is not None and not isinstance(include.value.content, dict):
        del entries["include"]
        for name, included in _included(builder, include.value, directory, env).items():
            if name in entries:
                builder.problem(
                    included.value, f"templates.{name}", "the template is defined twice",
                    f"rename one (the other is in line {entries[name].line})",
                )  # fmt: skip
            else:
                entries[name] = included
    built: dict[str, TemplateConfig] = {}
    for name, item in entries.items():
        where = f"templates.{name}"
        try:
            parse_name(name)
        except ValueError as error:
            builder.problem(item.value, where, *error.args)
        template = builder.struct(item.value, TemplateConfig, where)
        builder.lines[where] = (item.value.file, item.line)
        if template is not INVALID:
            built[name] = template
    return built, set(entries)


def _included(
    builder: Builder, value: Value, directory: Path, env: Mapping[str, str]
) -> dict[str, Entry]:
    patterns = value.content if isinstance(value.content, list) else [value]
    found: dict[str, Entry] = {}
    files: list[Path] = []
    for pattern in patterns:
        text = str(pattern.content)
        matches = sorted(directory.glob(text)) if text and not text.startswith("/") else []
        if not matches:
            builder.problem(
                pattern, "templates.include", f"no file matches {text!r}",
                f"the pattern is relative to {directory}",
            )  # fmt: skip
        files += matches
    if len(files) > INCLUDED_FILES_MAX:
        builder.problem(value, "templates.include", "too many files", "narrow the pattern")
        files = []
    for file in files:
        document = read_document(file, env)
        builder.problems += document.problems
        if document.root is None:
            continue
        if not isinstance(document.root.content, dict):
            builder.problem(
                document.root, "templates", "expected a mapping of templates", "write `name: {...}`"
            )
            continue
        for name, entry in document.root.content.items():
            if name in found:
                builder.problem(
                    entry.value, f"templates.{name}", "the template is defined twice",
                    f"the other is in {found[name].value.file}:{found[name].line}",
                )  # fmt: skip
            else:
                found[name] = entry
    return found


def _nodes(
    builder: Builder, root: Value, templates: dict[str, TemplateConfig], names: set[str]
) -> tuple[Topology, Parts]:
    known = {f.encode_name for f in msgspec.structs.fields(Topology)} - DERIVED_FIELDS
    federation = "mainstem"
    for key, entry in root.content.items():
        builder.lines.setdefault(key, (entry.value.file, entry.line))
        if key not in known:
            builder.problems.append(
                ConfigProblem(
                    entry.value.file, entry.line, key, "unknown key", suggestion(key, known)
                )
            )
    if "federation" in root.content:
        entry = root.content["federation"]
        hint = msgspec.structs.fields(Topology)[0].type
        built = builder.build(entry.value, hint, "federation")
        federation = federation if built is INVALID else built
    parts = Parts([], templates, set(), names)
    listed = root.content["nodes"].value if "nodes" in root.content else None
    if listed is None:
        builder.problem(root, "nodes", "the key is missing", "add `nodes: [{id: ...}]`")
    elif not isinstance(listed.content, list) or not listed.content:
        builder.problem(listed, "nodes", "expected a list of nodes", "write `- id: ...`")
    else:
        for number, item in enumerate(listed.content):
            if isinstance(item.content, dict) and "id" in item.content:
                parts.node_ids.add(str(item.content["id"].value.content))
            node = builder.build(item, NodeConfig, f"nodes[{number}]")
            if node is not INVALID:
                parts.nodes.append((number, node))
    nodes = tuple(node for _, node in parts.nodes)
    return Topology(federation=federation, nodes=nodes), parts


def _with_defaults(node: NodeConfig, topology: Topology, base_dir: Path) -> NodeConfig:
    parent = node.parent
    if parent is None:
        return node
    url = parent.url
    if not url and parent.node is not None:
        url = (topology.node(parent.node).url,)
    token_file = parent.token_file or base_dir / "secrets" / node.id
    return msgspec.structs.replace(
        node, parent=msgspec.structs.replace(parent, url=url, token_file=token_file)
    )
