"""What ``mainstem doctor`` looks at of a directory that files are read from. It changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mainstem_edge.files.directory import BAD, DONE, Directory
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.doctor.finding import BAD as FAILED
from mainstem_node.doctor.finding import FINE, WARNING, Finding


def examine_files(node: str, check: str, config: FileCollectorConfig) -> Finding:
    directory = Directory(config.path, config.pattern, 0)
    try:
        directory.scan(lambda found: False)
    except FileNotFoundError:
        return Finding(
            node, check, FAILED, f"{config.path} is missing",
            "make the directory, or correct `path`; a relative one begins where this file lies",
        )  # fmt: skip
    except OSError as error:
        return Finding(
            node, check, FAILED, f"{config.path} cannot be read: {error.strerror}",
            "give the user of the node the right to read and enter it, or correct `path`",
        )  # fmt: skip
    unwritable = [] if config.after == "keep" else _unwritable(config.path, config.after)
    if unwritable:
        return Finding(
            node, check, FAILED, f"{unwritable[0]} is not writable: files stay where they are",
            "give the user of the node the right to write it, or use `after: keep`",
        )  # fmt: skip
    there = f"{config.path}: {directory.waiting} files, {directory.waiting_bytes} bytes"
    if directory.problem:
        remedy = "give the user of the node the right to read and enter it"
        return Finding(node, check, WARNING, f"{there}; {directory.problem}", remedy)
    return Finding(node, check, FINE, there)


def _unwritable(path: Path, after: str) -> list[Path]:
    places = [path, path / BAD, *([path / DONE] if after == "move" else [])]
    return [each for each in places if each.exists() and not os.access(each, os.W_OK | os.X_OK)]
