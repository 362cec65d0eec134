"""Files of a directory, complete or growing: one subscription to what stands in them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Literal

from msgspec import structs

from mainstem_edge.assembly import lines
from mainstem_edge.assembly.subscribing import subscribed
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.file import FileCollector, source_of
from mainstem_edge.collectors.file_follow import FollowCollector
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.files.directory import Directory
from mainstem_edge.files.file_book import FileBook
from mainstem_edge.files.follow_book import FollowBook
from mainstem_edge.files.form import UTF_8, FileForm
from mainstem_edge.files.lines import CHUNK_BYTES
from mainstem_edge.files.place import FilePlace
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.file import FileCollectorConfig

SECOND_NS = 1_000_000_000
MESSAGES_MAX = 5000
QUEUE_BYTES = 4 << 20
"""A few batches of the intake: reading is faster than storing, and the file holds the rest."""
LAST_PART = "{file}"
"""What the one value of a file is called, unless something else is said."""


def readers(bench: Workbench, config: FileCollectorConfig) -> list[Reader]:
    place = _place(config)
    changed = subscribed(
        config,
        place.filter,
        device=None if config.device is None else place.pattern(config.device),
        tags={name: place.pattern(text) for name, text in config.tags.items()},
        measurement=place.pattern(_measurement(config)) or None,
        time=structs.replace(config.time, source=_source(config)),
    )
    # The collector holds to `message_limit`; a piece of lines has a header besides, and is up to
    # four times as long in UTF-8.
    factor = 1 if _encoding(config) == UTF_8 else 4
    return [lines.reader(bench, changed, factor * (2 * config.message_limit + CHUNK_BYTES))]


def collector(
    bench: Workbench, number: int, config: FileCollectorConfig, found: Sequence[Reader]
) -> Collector:
    queue = MessageQueue(MESSAGES_MAX, QUEUE_BYTES)
    directory = Directory(config.path, config.pattern, config.settle / SECOND_NS)
    if config.mode == "follow":
        return FollowCollector(
            f"file-{number}",
            found,
            queue,
            directory=directory,
            form=form_of(config),
            place=_place(config),
            book=FollowBook(bench.node.data_dir, source_of(config.path, config.pattern)),
            start=config.start,
            every_s=config.every / SECOND_NS,
            rng=bench.rng,
            clock_ns=bench.clock_ns,
        )
    return FileCollector(
        f"file-{number}",
        found,
        queue,
        directory=directory,
        form=form_of(config),
        place=_place(config),
        book=FileBook(bench.node.data_dir, source_of(config.path, config.pattern)),
        after=config.after,
        every_s=config.every / SECOND_NS,
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def form_of(config: FileCollectorConfig) -> FileForm:
    """How its files are cut into messages."""
    return FileForm(
        piece=_piece(config),
        has_header=config.codec == "csv" and not config.whole,
        header=None if config.header is None else config.header.encode(),
        stamps=config.time.source == "record" or (config.whole and config.time.source == "auto"),
        message_bytes_max=config.message_limit,
        file_bytes_max=config.file_limit,
        encoding=_encoding(config),
        preamble_lines=config.preamble_lines,
        unit_lines=config.unit_lines,
    )


def _encoding(config: FileCollectorConfig) -> str:
    """By its usual name."""
    return codecs.lookup(config.encoding).name


def _piece(config: FileCollectorConfig) -> Literal["lines", "line", "file"]:
    if config.whole:
        return "file"
    return "lines" if config.codec in ("csv", "line_protocol") else "line"


def _source(config: FileCollectorConfig) -> Literal["auto", "payload", "record", "arrival"]:
    """The file's time is that of what arrives, for those who read it. Many rows of one file that
    have no time would all be one row."""
    if config.time.source == "record":
        return "arrival"
    if config.time.source == "auto" and not config.whole:
        return "payload"
    return config.time.source


def _place(config: FileCollectorConfig) -> FilePlace:
    return FilePlace.of((config.device or "", _measurement(config), *config.tags.values()))


def _measurement(config: FileCollectorConfig) -> str:
    return config.measurement or (LAST_PART if config.codec == "raw" else "")
