"""The folder in which a backup gives files a second name, so that they stay meanwhile."""

from __future__ import annotations

from pathlib import Path

from mainstem_engine.filesystem import Filesystem

STAGE_NAME = "snapshot"
"""Second names of what a backup under way needs. What a crash or a failing disk left of them goes
at the next start, or with the next backup."""


def remove_stage(fs: Filesystem, root: Path) -> None:
    """Removes the second names that a backup left which a crash ended."""
    unlink_below(fs, root / STAGE_NAME)


def unlink_below(fs: Filesystem, directory: Path) -> None:
    for path in files_below(directory):
        fs.unlink(path)


def files_below(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]
