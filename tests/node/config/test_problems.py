"""Topologies that do not load: each mistake gives its line, field, problem and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstem_node.config import ConfigError, ConfigProblem, check, load_topology

GOOD = """\
federation: acme
templates:
  pump:
    tags: {line: TEXT}
    measurements:
      flow: {type: DOUBLE, unit: l/min}
      note: {type: TEXT}
nodes:
  - id: group
    tier: group
    listen: 127.0.0.1:8400
    data_dir: data/group
  - id: plant
    tier: platform
    listen: 127.0.0.1:8410
    data_dir: data/plant
    parent: {node: group}
    export: [{template: pump, mode: raw}]
  - id: edge
    tier: edge
    listen: 127.0.0.1:8411
    data_dir: data/edge
    parent: {node: plant}
    paths: [root.plant.edge]
    collectors:
      - type: mqtt
        url: mqtt://127.0.0.1:1883
        subscriptions:
          - {topic: "a/+/b", template: pump, device: "root.plant.edge.{topic[1]}"}
    rollups: [{template: pump, every: [1m]}]
    export: [{template: pump, mode: raw}, {template: pump, mode: rollup, every: 1m}]
"""


def problems(place: Path, old: str, new: str) -> list[ConfigProblem]:
    """The problems of GOOD with one text replaced."""
    assert old in GOOD
    path = place / "t.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    return check(path, env={})


CASES = yaml.safe_load(Path(__file__).with_name("problems.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['field']}: {case['problem']}")
def test_a_mistake_is_named_with_line_field_and_remedy(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    found = problems(tmp_path, case["replace"], case["by"])
    matching = [p for p in found if p.field == case["field"] and case["problem"] in p.problem]
    assert matching, "\n".join(map(str, found))
    assert matching[0].line == case["line"]
    assert case["remedy"] in matching[0].remedy
    place = f"{tmp_path / 't.yaml'}:{case['line']}: {case['field']}: "
    assert str(matching[0]).startswith(place)


def test_the_unchanged_file_is_good(tmp_path: Path) -> None:
    assert problems(tmp_path, "acme", "acme") == []


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("type: DOUBLE", "type: DUOBLE").replace("tier: group", "tier: grop")
    text = text.replace("every: [1m]", "every: [60]").replace("data/edge", "data/plant")
    path = tmp_path / "t.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_topology(path)
    lines = [problem.line for problem in caught.value.problems]
    assert {6, 10, 22, 30} <= set(lines)
    assert lines == sorted(lines)
    assert str(caught.value).count("\n") == len(lines) - 1


def test_a_name_that_was_defined_badly_is_one_mistake_not_two(tmp_path: Path) -> None:
    found = problems(tmp_path, "type: DOUBLE", "type: DUOBLE")
    assert len(found) == 1
    found = problems(tmp_path, "listen: 127.0.0.1:8400", "listen: x")
    assert [p.field for p in found] == ["nodes[0].listen"]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 1, "empty"),
        (b"nodes: [\n", 2, "expected"),
        (b"a: 1\n\tb: 2\n", 2, "cannot start"),
        (b"nodes: \xff\xfe\n", 1, "not UTF-8"),
        (b"- 1\n", 1, "must be a mapping"),
        (b"nodes: !!python/object/apply:os.system ['true']\n", 1, "not allowed"),
        (b"nodes: 3\n", 1, "expected a list"),
        (b"federation: x\n", 1, "missing"),
        (b"nodes:\n  - 3\n", 2, "expected a mapping"),
        (b"nodes: " + b"[" * 100 + b"]" * 100 + b"\n", 1, "nested too deeply"),
        (b"nodes: " + b"[" * 100_000 + b"\n", 0, "nested too deeply"),
        (b"? [a]\n: 1\n", 1, "must be a text"),
    ],
)
def test_files_that_are_no_topology(
    tmp_path: Path, content: bytes, line: int, problem: str
) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(content)
    found = check(path)
    assert any(problem in p.problem and p.line == line for p in found), "\n".join(map(str, found))


def test_a_missing_file_is_a_problem_too(tmp_path: Path) -> None:
    assert "does not exist" in str(check(tmp_path / "none.yaml")[0])


def test_aliases_cannot_blow_up(tmp_path: Path) -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path = tmp_path / "t.yaml"
    path.write_text("\n".join(layers), encoding="utf-8")
    assert any("nested too deeply" in p.problem for p in check(path))


def test_an_alias_to_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("nodes: &n [*n]\n", encoding="utf-8")
    assert check(path)


def test_a_value_from_the_environment_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(GOOD.replace("127.0.0.1:8400", "${ADDRESS}"), encoding="utf-8")
    found = check(path, env={"ADDRESS": "swordfish"})
    assert found
    assert "swordfish" not in "\n".join(map(str, found))


def test_problems_of_included_files_name_their_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "pumps.yaml").write_text("\npump:\n  measurements: {f: {type: X}}\n")
    path = tmp_path / "t.yaml"
    path.write_text("templates: {include: pumps.yaml}\n" + GOOD[GOOD.index("nodes:") :])
    found = check(path)
    assert str(found[0]).startswith(
        f"{tmp_path / 'pumps.yaml'}:3: templates.pump.measurements.f.type"
    )


def test_an_include_that_matches_nothing_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("templates: {include: none/*.yaml}\n" + GOOD[GOOD.index("nodes:") :])
    assert any("no file matches" in p.problem for p in check(path))


def test_a_template_defined_in_two_files_is_a_mistake(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("pump: {measurements: {flow: {type: DOUBLE}}}\n")
    path = tmp_path / "t.yaml"
    path.write_text("templates: {include: ['a.yaml', 'b.yaml']}\n" + GOOD[GOOD.index("nodes:") :])
    assert any("defined twice" in p.problem and "a.yaml:1" in p.remedy for p in check(path))


@pytest.mark.parametrize(
    ("raw", "made", "conflicts"),
    [
        ("", "", True),
        (", under: root.plant.edge.a", "", True),
        (", under: root.plant.edge.a", ", under: root.plant.edge.a.b", True),
        (", under: root.plant.edge.a", ", under: root.plant.edge.ab", False),
        (None, "", False),
        ("", None, False),
    ],
)
def test_a_window_has_one_owner(
    tmp_path: Path, raw: str | None, made: str | None, conflicts: bool
) -> None:
    """What a child sends of both, the parent may not make again; of rows alone, or instead of
    rows, it may."""
    exports = []
    if raw is not None:
        exports.append("{template: pump, mode: raw" + raw + "}")
    if made is not None:
        exports.append("{template: pump, mode: rollup, every: 1m" + made + "}")
    path = tmp_path / "t.yaml"
    text = GOOD.replace(
        "[{template: pump, mode: raw}, {template: pump, mode: rollup, every: 1m}]",
        f"[{', '.join(exports)}]",
    ).replace(
        "    parent: {node: group}\n",
        "    parent: {node: group}\n    rollups: [{template: pump, every: [1m]}]\n",
    )
    path.write_text(text, encoding="utf-8")
    found = [problem.field for problem in check(path, env={})]
    assert found == (["nodes[1].rollups[0].every[0]"] if conflicts else [])
