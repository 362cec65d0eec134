"""Parts that cannot be opened: for want of descriptors or memory, and because they are damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.engine.conftest import OpenEngine

from mainstem_engine import Engine, Template
from mainstem_engine.errors import CorruptionError
from mainstem_engine.filesystem import Filesystem, MappedFile

ROWS = 20


class Refusing(Filesystem):
    """Maps no part while ``error`` is set."""

    error = 0

    def map(self, path: Path) -> MappedFile:
        if self.error and path.suffix == ".part":
            raise OSError(self.error, "refused", str(path))
        return super().map(path)


def fill(engine: Engine, meters: Template) -> None:
    engine.create_template(meters)
    engine.write("meters", "root.a.d", list(range(ROWS)), {"voltage": list(range(ROWS))}).wait()


def count(engine: Engine) -> int:
    return int(engine.scan("meters").read_all().num_rows)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EIO])
def test_a_part_that_cannot_be_opened_is_not_listed(
    open_engine: OpenEngine, meters: Template, tmp_path: Path, number: int
) -> None:
    fs = Refusing()
    engine = open_engine(fs=fs)
    fill(engine, meters)
    fs.error = number
    with pytest.raises(OSError, match="refused"):
        engine.flush()
    assert count(engine) == ROWS
    assert list(tmp_path.rglob("*.part")) == []
    statistics = engine.statistics()
    assert statistics.housekeeping.last_error is not None
    assert "refused" in statistics.housekeeping.last_error
    fs.error = 0
    engine.flush()
    assert count(engine) == ROWS
    assert engine.statistics().parts == 1
    assert engine.statistics().housekeeping.last_error is None


def test_a_compaction_that_cannot_open_its_part_leaves_the_old_ones(
    open_engine: OpenEngine, meters: Template, tmp_path: Path
) -> None:
    fs = Refusing()
    engine = open_engine(fs=fs)
    fill(engine, meters)
    engine.flush()
    engine.write("meters", "root.a.d", [ROWS], {"voltage": [1]}).wait()
    engine.flush()
    fs.error = errno.EMFILE
    engine.compact()
    assert engine.statistics().housekeeping.compaction_failures == 1
    assert len(list(tmp_path.rglob("*.part"))) == 2
    fs.error = 0
    engine.compact()
    assert engine.statistics().parts == 1
    assert count(engine) == ROWS + 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_too_few_descriptors_are_no_damage(
    open_engine: OpenEngine, meters: Template, number: int
) -> None:
    fs = Refusing()
    engine = open_engine(fs=fs)
    fill(engine, meters)
    engine.close()
    fs.error = number
    with pytest.raises(OSError, match="refused"):
        open_engine(fs=fs)
    fs.error = 0
    assert count(open_engine(fs=fs)) == ROWS


def test_a_part_that_the_disk_does_not_give_stands_for_its_rows(
    open_engine: OpenEngine, meters: Template
) -> None:
    fs = Refusing()
    engine = open_engine(fs=fs)
    fill(engine, meters)
    engine.close()
    fs.error = errno.EIO
    engine = open_engine(fs=fs)
    with pytest.raises(CorruptionError, match="refused"):
        count(engine)
    engine.close()
    fs.error = 0
    assert count(open_engine(fs=fs)) == ROWS
