"""Files that others put into a directory, or go on writing there."""

from __future__ import annotations

from typing import Literal

from mainstem_node.config.collectors.subscription import ReadingConfig
from mainstem_node.config.kinds import DurationNs, FilePath, SizeBytes, Text

MIB = 1 << 20
SECOND_NS = 1_000_000_000


class FileCollectorConfig(ReadingConfig, frozen=True, kw_only=True):
    """Reads the files of a directory, when they are complete or while they grow. Beside
    `{payload.NAME}` there are `{file}` (the name without its ending), `{file[n]}` (between its
    underscores, from 0) and `{path[n]}` (of the directories below `path`)."""

    type: Literal["file"]
    path: FilePath
    """A relative one begins where this file lies."""
    pattern: Text = "*"
    """Of names; `*/*.csv` looks into directories."""
    mode: Literal["directory", "follow"] = "directory"
    """directory: a file is read once it is complete. follow: its lines are read as they come."""
    start: Literal["beginning", "end"] = "beginning"
    """Of `mode: follow`. end: what is there at the very first start is passed over."""
    whole: bool = False
    """A file is one message. Otherwise each line is, of csv and line_protocol many are."""
    header: Text | None = None
    """Of CSV files that have none: the names, as they would stand in the first line."""
    encoding: Text = "utf-8"
    """cp1252, iso-8859-15, gbk, ...: one in which ASCII is ASCII, which UTF-16 is not."""
    preamble_lines: int = 0
    """Of CSV: so many lines before the one with the names are passed over."""
    unit_lines: int = 0
    """Of CSV: and so many below it, for instance one with units."""
    settle: DurationNs = 2 * SECOND_NS
    """A file is complete when it has not changed for so long."""
    every: DurationNs = 1 * SECOND_NS
    """How often the directory is looked at."""
    after: Literal["move", "delete", "keep"] = "move"
    """What becomes of a file whose rows are durable. move: into `done`."""
    message_limit: SizeBytes = 1 * MIB
    """A longer line is passed over and counted; with `whole` a larger file is bad."""
    file_limit: SizeBytes = 4096 * MIB
    """A larger file is bad, and so is one that unpacks to more."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        return () if self.template is None else (self.template,)
