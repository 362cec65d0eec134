"""What is wrong with a collector of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_node.config import check, load_topology
from mainstem_node.config.collectors.file import FileCollectorConfig

FINE = """\
templates: {m: {tags: {line: TEXT}, measurements: {x: {type: DOUBLE}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors:
      - {type: file, path: in, pattern: "*/*.csv", codec: csv, template: m,
         device: "root.{path[0]}.{file[0]}", tags: {line: "{file}"},
         settle: 2s, every: 1s, message_limit: 1MiB, file_limit: 1GiB}
      - {type: file, path: /in, codec: json, template: m, device: "root.{payload.x}",
         time: {source: record}}
      - {type: file, path: /one, codec: raw, whole: true, template: m, device: root.d,
         measurement: x}
      - {type: file, mode: follow, path: /log, codec: csv, template: m, device: root.d, start: end}
"""


def problems(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "t.yaml"
    file.write_text(text, encoding="utf-8")
    return {each.field: f"{each.problem}; {each.remedy}" for each in check(file)}


def test_a_right_one_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, FINE) == {}
    first, second, _, _ = load_topology(tmp_path / "t.yaml").nodes[0].collectors
    assert isinstance(first, FileCollectorConfig)
    assert isinstance(second, FileCollectorConfig)
    assert (first.path, second.path) == (tmp_path / "in", Path("/in"))
    assert (second.pattern, second.after, second.templates) == ("*", "move", ("m",))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("whole", "true"), ("settle", "1s"), ("after", "keep"), ("file_limit", "1GiB"),
        ("preamble_lines", "1"), ("unit_lines", "1"),
    ],
)  # fmt: skip
def test_keys_of_complete_files_are_not_of_growing_ones(
    tmp_path: Path, key: str, value: str
) -> None:
    found = problems(tmp_path, FINE.replace("start: end", f"{key}: {value}"))
    assert "it is of `mode: directory`" in found[f"nodes[0].collectors[3].{key}"]


def test_a_growing_file_has_no_time_of_its_own(tmp_path: Path) -> None:
    found = problems(tmp_path, FINE.replace("start: end", "time: {source: record}"))
    assert list(found) == ["nodes[0].collectors[3].time.source"]


@pytest.mark.parametrize(
    ("replace", "by", "field", "problem"),
    [
        ("*/*.csv", "/a/*.csv", "pattern", "no pattern of names below"),
        ("*/*.csv", "../*.csv", "pattern", "no pattern of names below"),
        ("*/*.csv", "**/*.csv", "pattern", "there is no **"),
        ("{file[0]}", "{name}", "device", "use {file}, {file[n]}"),
        ("{file[0]}", "{topic[0]}", "device", "use {file}, {file[n]}"),
        ("{path[0]}", "{path}", "device", "use {file}, {file[n]}"),
        ("every: 1s", "every: 10ms", "every", "less than 100ms"),
        ("1MiB", "100B", "message_limit", "not in 1KiB..32MiB"),
        ("1MiB", "1GiB", "message_limit", "not in 1KiB..32MiB"),
        ("1GiB", "1KiB", "file_limit", "less than `message_limit`"),
        ("settle: 2s", "start: end", "start", "it is of `mode: follow`"),
        ("codec: csv", "codec: csv, encoding: utf-16", "encoding", "UTF-16 be written as UTF-8"),
        ("codec: csv", "codec: csv, encoding: klingon", "encoding", "write utf-8, cp1252"),
        ("codec: csv", "codec: json, unit_lines: 1", "unit_lines", "it is of `codec: csv`"),
        ("codec: csv", "codec: csv, unit_lines: -1", "unit_lines", "not in 0..100"),
        ("codec: csv", "codec: csv, header: a, unit_lines: 1", "unit_lines", "preamble_lines"),
        ("codec: csv", "codec: auto", "codec", "name it"),
        ("codec: csv", "codec: msgpack", "whole", "write `whole: true`"),
        ("codec: csv", "codec: raw", "whole", "no time of its own"),
        ("codec: csv", "codec: json, header: a", "header", "it is of `codec: csv`"),
        ("codec: csv", "codec: csv, whole: true, header: a", "header", "read by lines"),
        ("path: in, pattern: \"*/*.csv\"", "path: /in", "pattern", "reads these files"),
        ("template: m,", "template: n,", "template", "n"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(
    tmp_path: Path, replace: str, by: str, field: str, problem: str
) -> None:
    assert replace in FINE
    found = problems(tmp_path, FINE.replace(replace, by, 1))
    assert problem in found[f"nodes[0].collectors[0].{field}"]
