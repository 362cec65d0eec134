"""What doctor says of a directory: what waits there, or why nothing will ever leave it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mainstem_edge import file_examination
from mainstem_edge.examination import brokers
from mainstem_edge.file_examination import examine_files
from mainstem_node.config import load_topology
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding

TEXT = """\
templates: {m: {measurements: {x: {type: DOUBLE}}}}
nodes:
  - id: edge
    tier: edge
    listen: 127.0.0.1:0
    data_dir: data
    collectors: [{type: file, path: in, codec: csv, template: m, device: root.d}]
"""


def test_files_that_wait_are_counted_and_stay(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("abc", encoding="utf-8")
    (found,) = brokers(load_topology(tmp_path / "t.yaml").nodes[0])
    assert (found.state, found.check) == (FINE, "collectors[0]")
    assert found.message == f"{tmp_path / 'in'}: 1 files, 3 bytes"
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["a.csv"]


def finding(path: Path, **keys: Any) -> Finding:
    config = FileCollectorConfig(
        type="file", path=path, codec="csv", template="m", device="root.d", **keys
    )
    return examine_files("edge", "c", config)


def test_a_missing_directory_and_one_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding(tmp_path / "in").state == BAD
    assert "is missing" in finding(tmp_path / "in").message
    (tmp_path / "in").write_text("", encoding="utf-8")
    assert "cannot be read: Not a directory" in finding(tmp_path / "in").message


def test_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "done").mkdir()
    denied = {tmp_path / "done"}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in denied)  # root may anything
    assert finding(tmp_path).state == BAD
    assert "done is not writable" in finding(tmp_path).message
    assert finding(tmp_path, after="delete").state == FINE
    denied.add(tmp_path)
    assert finding(tmp_path, after="delete").state == BAD
    assert finding(tmp_path, after="keep").state == FINE


def test_a_directory_below_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert finding(tmp_path, pattern="*/*").state == WARNING
    assert "a/: Permission denied" in finding(tmp_path, pattern="*/*").message


def test_files_that_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, Any] = {"mode": "follow", "pattern": "*.csv*"}
    assert finding(tmp_path, **keys).state == WARNING
    assert "no file is called *.csv*" in finding(tmp_path, **keys).message
    for name in ("m7.csv", "m7.csv.1", "m7.csv.2.gz"):
        (tmp_path / name).write_text("abc", encoding="utf-8")
    assert finding(tmp_path, **keys).state == FINE
    assert finding(tmp_path, **keys).message == f"{tmp_path}: 2 files, 6 bytes"
    monkeypatch.setattr(file_examination, "FOLLOWED_MAX", 1)
    assert "2 files, 1 are followed" in finding(tmp_path, **keys).message
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "m7.csv")
    assert finding(tmp_path, **keys).state == BAD
    assert "1 files cannot be read: m7.csv" in finding(tmp_path, **keys).message
