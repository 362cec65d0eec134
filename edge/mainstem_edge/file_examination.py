"""What ``mainstem doctor`` looks at of a directory that files are read from. It changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mainstem_edge.collectors.file_follow import FOLLOWED_MAX
from mainstem_edge.files.directory import BAD, DONE, Directory
from mainstem_edge.files.place import is_packed, shown
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.doctor.finding import BAD as FAILED
from mainstem_node.doctor.finding import FINE, WARNING, Finding

NAMES_SHOWN = 3


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
    if config.mode == "follow":
        return _followed(node, check, config, directory)
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


def _followed(node: str, check: str, config: FileCollectorConfig, directory: Directory) -> Finding:
    found = [each for each in directory.sights(()) if not is_packed(each.relative)]
    remedy = "give the user of the node the right to read and enter it"
    denied = [e.relative for e in found if not os.access(config.path / e.relative, os.R_OK)]
    if denied:
        names = ", ".join(map(shown, denied[:NAMES_SHOWN]))
        return Finding(
            node, check, FAILED, f"{config.path}: {len(denied)} files cannot be read: {names}",
            "give the user of the node the right to read them",
        )  # fmt: skip
    if len(found) > FOLLOWED_MAX:
        return Finding(
            node, check, FAILED, f"{config.path}: {len(found)} files, {FOLLOWED_MAX} are followed",
            "remove old ones, or let `pattern` match fewer",
        )  # fmt: skip
    there = f"{config.path}: {len(found)} files, {sum(each.size for each in found)} bytes"
    if directory.problem:
        return Finding(node, check, WARNING, f"{there}; {directory.problem}", remedy)
    if not found:
        return Finding(
            node, check, WARNING, f"{config.path}: no file is called {config.pattern}",
            "start the program that writes, or correct `pattern`",
        )  # fmt: skip
    return Finding(node, check, FINE, there)


def _unwritable(path: Path, after: str) -> list[Path]:
    places = [path, path / BAD, *([path / DONE] if after == "move" else [])]
    return [each for each in places if each.exists() and not os.access(each, os.W_OK | os.X_OK)]
