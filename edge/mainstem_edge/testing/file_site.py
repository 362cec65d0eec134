"""A directory of its own, and collectors that read it and end with their test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mainstem_edge.collectors.file import FileCollector
from mainstem_edge.collectors.file_follow import FollowCollector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.decode.csv_codec import CsvCodec
from mainstem_edge.decode.json_codec import JsonCodec
from mainstem_edge.files.directory import Directory
from mainstem_edge.files.file_book import FileBook
from mainstem_edge.files.follow_book import FollowBook
from mainstem_edge.files.form import FileForm
from mainstem_edge.files.place import FilePlace
from mainstem_edge.intake import Intake
from mainstem_edge.patterns import PathPattern
from mainstem_edge.payload_time import TimeReader
from mainstem_edge.row_checks import ClockBounds
from mainstem_edge.subscription import Subscription
from mainstem_edge.testing.parts import T0_MS, rules

C = TypeVar("C", bound=SupervisedCollector)
HEADER = "ts,count\n"
CSV = FileForm(has_header=True)
PLACE = FilePlace.of(["{file}"])


def csv_rows(start: int, count: int) -> str:
    return "".join(f"{T0_MS + n},{n}\n" for n in range(start, start + count))


class FileSite:
    """``root``: where files are put; the rows of ``x.csv`` have the device root.plant.x."""

    def __init__(self, place: Path, make_intake: Callable[..., Intake]) -> None:
        self.root = place / "in"
        self.root.mkdir()
        self.books = place / "books"
        self.books.mkdir()
        self._make_intake = make_intake
        self._followers: list[FollowCollector] = []
        self.now = 0.0
        self._running: list[tuple[SupervisedCollector, Intake | None]] = []

    def put(self, name: str, data: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def _reader(self, form: FileForm, source: str = "payload") -> Subscription:
        return Subscription(
            PLACE.filter,
            rules(),
            CsvCodec if form.has_header else JsonCodec,
            device=PathPattern(PLACE.pattern("root.plant.{file}")),
            times=TimeReader(not_times=rules().source_names, source=source),
            clock=ClockBounds(946_684_800 * 10**9, 300 * 10**9),
            message_bytes_max=4 << 20,
        )

    def collector(
        self,
        *,
        form: FileForm = CSV,
        pattern: str = "*",
        settle_s: float = 0.0,
        queue: MessageQueue | None = None,
        source: str = "payload",
        **options: Any,
    ) -> FileCollector:
        """Not started."""
        return FileCollector(
            "file-0",
            [self._reader(form, source)],
            MessageQueue(1000, 8 << 20) if queue is None else queue,
            directory=Directory(self.root, pattern, settle_s),
            form=form,
            place=PLACE,
            book=FileBook(self.books, f"{self.root}/{pattern}"),
            every_s=0.01,
            **options,
        )

    def follower(
        self,
        *,
        form: FileForm = CSV,
        pattern: str = "*.csv",
        queue: MessageQueue | None = None,
        **options: Any,
    ) -> FollowCollector:
        """Not started. Without a thread: ``turn`` looks each time, the clock is ``now``."""
        options = {"every_s": 0.0, "monotonic": lambda: self.now, **options}
        made = FollowCollector(
            "file-0",
            [self._reader(form)],
            MessageQueue(1000, 8 << 20) if queue is None else queue,
            directory=Directory(self.root, pattern, 0),
            form=form,
            place=PLACE,
            book=FollowBook(self.books, f"{self.root}/{pattern}"),
            **options,
        )
        self._followers.append(made)
        return made

    def start(self, collector: C, *, stored: bool = True) -> C:
        """``stored`` False: nobody takes its messages."""
        intake = None
        if stored:
            intake = self._make_intake()
            intake.collector = collector
            intake.start()
        self._running.append((collector, intake))
        collector.start()
        return collector

    def stop_all(self) -> None:
        """As a node stops."""
        for collector, intake in self._running:
            collector.pause()
            if intake is not None:
                intake.drain(10)
            collector.stop(5)
        self._running.clear()
        for each in self._followers:
            each.close()
        self._followers.clear()

    def names(self, below: str = ".") -> list[str]:
        place = self.root / below
        return sorted(p.name for p in place.iterdir() if p.is_file()) if place.exists() else []
