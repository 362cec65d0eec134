"""What a collector of files must satisfy: its pattern, and what a message is."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.config.reading_checks import Topic, check_reading
from mainstem_node.config.report import Report
from mainstem_node.config.schema import NodeConfig

SECOND_NS = 1_000_000_000
_EVERY_NS_MIN = SECOND_NS // 10
_MESSAGE_BYTES_MIN = 1 << 10
_MESSAGE_BYTES_MAX = 32 << 20
"""It is held in memory as a whole, and again when it is read."""
_ASCII = bytes(range(128))
_LINES_MAX = 100
_PLACE = Topic(
    (), r"file(\[-?\d+\])?|path\[-?\d+\]",
    "use {file}, {file[n]} (from 0, between underscores), {path[n]} or {payload.NAME}",
    has_stamps=True,
)  # fmt: skip


def check_files(
    report: Report, where: str, node: NodeConfig, collector: FileCollectorConfig
) -> None:
    _pattern(report, f"{where}.pattern", collector.pattern)
    others = [each for each in node.collectors if isinstance(each, FileCollectorConfig)]
    same = [e for e in others if (e.path, e.pattern) == (collector.path, collector.pattern)]
    if len(same) > 1:
        report.problem(
            f"{where}.pattern", "another collector of this node reads these files",
            "give each a `path` or `pattern` of its own",
        )  # fmt: skip
    _messages(report, where, collector)
    if collector.every < _EVERY_NS_MIN:
        report.problem(f"{where}.every", "it is less than 100ms", "write 1s")
    if collector.settle < 0:
        report.problem(f"{where}.settle", "it is less than nothing", "write 2s")
    if not _MESSAGE_BYTES_MIN <= collector.message_limit <= _MESSAGE_BYTES_MAX:
        report.problem(f"{where}.message_limit", "it is not in 1KiB..32MiB", "write 1MiB")
    if collector.file_limit < collector.message_limit:
        report.problem(f"{where}.file_limit", "it is less than `message_limit`", "write 4GiB")
    _text(report, where, collector)
    _mode(report, where, collector)
    is_followed = collector.mode == "follow"
    check_reading(report, where, collector, replace(_PLACE, has_stamps=not is_followed))


def _text(report: Report, where: str, collector: FileCollectorConfig) -> None:
    """How the text of a file is written, and what stands around its header."""
    try:
        known = _ASCII.decode(collector.encoding) == _ASCII.decode("ascii")
        problem = f"{collector.encoding!r} has no lines that end in one byte"
    except (LookupError, UnicodeError):
        known, problem = False, f"{collector.encoding!r} is no encoding with the letters of ASCII"
    if not known:
        remedy = "write utf-8, cp1252, iso-8859-15, ...; let UTF-16 be written as UTF-8"
        report.problem(f"{where}.encoding", problem, remedy)
    lines = {"preamble_lines": collector.preamble_lines, "unit_lines": collector.unit_lines}
    for key, count in lines.items():
        inside = f"{where}.{key}"
        if count and (collector.codec != "csv" or collector.whole):
            report.problem(inside, "it is of `codec: csv`, read by lines", "leave it out")
        elif not 0 <= count <= _LINES_MAX:
            report.problem(inside, f"it is not in 0..{_LINES_MAX}", "count the lines")
    if collector.unit_lines and collector.header is not None:
        report.problem(
            f"{where}.unit_lines", "with `header` no line of the file has the names",
            "add them to `preamble_lines`",
        )  # fmt: skip


def _mode(report: Report, where: str, collector: FileCollectorConfig) -> None:
    """Keys that are of the other mode."""
    if collector.mode == "directory":
        if collector.start != "beginning":
            report.problem(f"{where}.start", "it is of `mode: follow`", "leave it out")
        return
    defaults = {each.name: each.default for each in structs.fields(FileCollectorConfig)}
    for key in ("whole", "settle", "after", "file_limit", "preamble_lines", "unit_lines"):
        if getattr(collector, key) != defaults[key]:
            report.problem(f"{where}.{key}", "it is of `mode: directory`", "leave it out")


def _pattern(report: Report, where: str, pattern: str) -> None:
    levels = pattern.split("/")
    if "" in levels or "." in levels or ".." in levels or "\\" in pattern:
        report.problem(
            where, f"{pattern!r} is no pattern of names below `path`",
            "write *.csv, or */*.csv for directories below",
        )  # fmt: skip
    elif "**" in levels:
        report.problem(where, "there is no **", "write */*.csv: a * for each directory")


def _messages(report: Report, where: str, collector: FileCollectorConfig) -> None:
    codec = collector.codec
    if codec == "auto":
        report.problem(f"{where}.codec", "pieces of a file do not say what they are", "name it")
    if codec == "msgpack" and not collector.whole:
        report.problem(f"{where}.whole", "msgpack has no lines", "write `whole: true`")
    if codec == "raw" and not collector.whole and collector.time.source != "arrival":
        report.problem(
            f"{where}.whole", "a line of raw has no time of its own",
            "write `whole: true`, or use csv",
        )  # fmt: skip
    if collector.header is not None and (codec != "csv" or collector.whole):
        report.problem(f"{where}.header", "it is of `codec: csv`, read by lines", "leave it out")
