"""Who a directory belongs to, and directories that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import CorruptionError, Engine, Template, plan_repair, repair_directory
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.identity import IDENTITY_NAME, ensure_identity, read_identity


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    fs = Filesystem()
    made = ensure_identity(fs, tmp_path)
    assert ensure_identity(fs, tmp_path) == made == read_identity(fs, tmp_path)


def test_a_directory_that_lost_its_identity_gets_no_new_one(
    open_engine: Any, tmp_path: Path, meters: Template
) -> None:
    engine: Engine = open_engine()
    engine.create_template(meters)
    engine.write("meters", ["root.a.d"], [1], {"voltage": [5]}).wait()
    uuid = engine.node_uuid
    engine.close()
    data = tmp_path / "data"
    (data / IDENTITY_NAME).unlink()
    with pytest.raises(CorruptionError, match="the identity is missing"):
        open_engine()
    assert not (data / IDENTITY_NAME).exists()
    assert plan_repair(data).actions
    repair_directory(data)
    again: Engine = open_engine()
    assert again.node_uuid == uuid
    assert again.scan("meters").read_all()["voltage"].to_pylist() == [5]


def test_parts_that_no_list_names_are_not_deleted_for_want_of_a_list(
    open_engine: Any, tmp_path: Path, meters: Template
) -> None:
    engine: Engine = open_engine(vnodes=2)
    engine.create_template(meters)
    engine.write("meters", ["root.a.d", "root.a.e"], [1, 1], {"voltage": [5, 6]}).wait()
    engine.close()
    data = tmp_path / "data"
    parts = sorted(data.rglob("*.part"))
    assert parts
    (data / "part-list").unlink()
    for file in (data / "checkpoint").iterdir():
        file.unlink()
    with pytest.raises(CorruptionError, match="part list is missing, and there are parts"):
        open_engine()
    assert sorted(data.rglob("*.part")) == parts


@pytest.mark.parametrize("name", ["part-list", "log/1.log", "parts/1.part", "checkpoint/1.ckpt"])
def test_a_directory_of_something_else_stays_as_it_is(
    open_engine: Any, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not ours")
    with pytest.raises(CorruptionError, match="the identity is missing"):
        open_engine()
    assert file.read_bytes() == b"not ours"
    assert not (tmp_path / "data" / IDENTITY_NAME).exists()


def test_empty_directories_are_no_obstacle(open_engine: Any, tmp_path: Path) -> None:
    for name in ("log", "parts", "checkpoint"):
        (tmp_path / "data" / name).mkdir(parents=True)
    assert len(open_engine().node_uuid) == 32


def test_an_identity_that_another_case_or_digit_changed_is_no_identity(
    open_engine: Any, tmp_path: Path
) -> None:
    open_engine().close()
    file = tmp_path / "data" / IDENTITY_NAME
    content = file.read_text(encoding="utf-8")
    place = next(i for i in range(content.index(": "), len(content)) if content[i] in "abcdef")
    for wrong in (content[place].upper(), "_", "g"):
        file.write_text(content[:place] + wrong + content[place + 1 :], encoding="utf-8")
        with pytest.raises(CorruptionError, match="no node_uuid"):
            open_engine()
