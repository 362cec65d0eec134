"""The collector of files that others put into a directory.

1. A complete file (directory.py) is read once, in pieces of whole lines, behind a queue that holds
   reading up while it is full: however large the file or slow the disk, memory stays the same.
2. When all its rows are durable, and then only, it is moved to ``done``, deleted, or noted as done.
   Until then its position is kept beside the data, behind what is durable: a process that ends in
   between reads something again, and (device, time) makes that the same rows.
3. A file that cannot be read goes to ``bad``, with a reason in the log and the status. What of it
   was read before is stored. A line that cannot be read is the codec's: it is put aside alone.
4. A file that changed while it was read is read again, once it is complete.
"""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, cast

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.decode.csv_codec import BOM
from mainstem_edge.errors import UnreadableFileError
from mainstem_edge.files.book_pace import BookPace
from mainstem_edge.files.directory import BAD, DONE, Directory, Found
from mainstem_edge.files.file_book import KEPT_MAX, FileBook
from mainstem_edge.files.form import FileForm
from mainstem_edge.files.handed import Handed, HandedFiles
from mainstem_edge.files.lines import LineCutter
from mainstem_edge.files.place import FilePlace, shown
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector.file")

WAIT_S = 0.2
"""A stop is noticed within this; so is what became durable."""
SCAN_SHARE = 10
"""Looking at a large directory takes a tenth of the time at most."""
HANDED_MAX = 1000
"""Files of which rows are on their way; small ones are handed on faster than a disk syncs."""
PROBLEMS_SHOWN = 20
LATER_S = 60.0
"""A file that could not be put away is not read again and again."""

After = Literal["move", "delete", "keep"]


class FileCollector(SupervisedCollector):
    """One directory. ``every_s``: how often it is looked at."""

    kind: ClassVar[str] = "file"

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        queue: MessageQueue,
        *,
        directory: Directory,
        form: FileForm,
        place: FilePlace,
        book: FileBook,
        after: After = "move",
        every_s: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._directory = directory
        self._form = form
        self._place = place
        self._book = book
        self._after = after
        self._every_s = every_s
        self._handed = HandedFiles()
        self._later: dict[str, float] = {}
        self._present: set[str] | None = None
        self._scan_at = 0.0
        self._pace = BookPace()
        self._before_bytes = 0
        """Durable in sessions before this one."""
        self._done = self._bad = self._changed_files = self._long_lines = 0
        self._current = ""
        self._problems: deque[str] = deque(maxlen=PROBLEMS_SHOWN)

    # The session

    def session(self) -> None:
        """It outlives a pause: what becomes durable then is still put away."""
        self._before_bytes += self._handed.durable_bytes
        self.origin = self._handed = HandedFiles()
        self._scan_at = 0.0
        self._present = set() if self._after == "keep" else None
        try:
            while not self._stop.is_set():
                if not self._paused and time.monotonic() >= self._scan_at:
                    self._turn()
                self._handed.wait(min(WAIT_S, self._every_s))
                self._settle()
        finally:
            self._settle()
            self._write_book()

    def _turn(self) -> None:
        """Looks at the directory, and reads what is complete."""
        started = time.monotonic()
        try:
            complete = self._directory.scan(self._passes)
        except OSError as error:
            where = self._directory.root
            raise ConnectionError(f"{where} cannot be read: {error.strerror or error}") from None
        ended = time.monotonic()
        self._scan_at = ended + max(self._every_s, SCAN_SHARE * (ended - started))
        if self.health.connected_ns is None:
            self.health.connected()
        if self._directory.problem:
            self.health.trouble(self._directory.problem)
        if self._present is not None:
            self._book.retain(self._present)
            self._present = None
        for found in complete:
            while len(self._handed) >= HANDED_MAX and not self.stopping:
                self._handed.wait(WAIT_S)
                self._settle()
            if self.stopping or not self._may_keep():
                return
            self._read_file(found)
            self._settle()

    def _passes(self, found: Found) -> bool:
        """True for a file that is not to be read, now or at all."""
        if self._present is not None:
            self._present.add(found.digest)
        if found.relative in self._handed or self._book.is_kept(found):
            return True
        until = self._later.get(found.relative)
        return until is not None and time.monotonic() < until

    def _may_keep(self) -> bool:
        if not self._book.is_full:
            return True
        self._present = set()  # perhaps some are gone
        self.health.trouble(f"{KEPT_MAX} files are kept already: use `after: move`")
        return False

    # One file

    def _read_file(self, found: Found) -> None:
        offset = self._book.position(found)
        file = self._handed.begin(found, offset)
        self._current = found.relative
        try:
            with self._directory.open(found) as raw:
                for messages in self._messages(file, raw):
                    if not self.deliver(messages):
                        return  # it goes on from its position at the next start
                    self._note_positions()
        except FileNotFoundError:
            self._handed.forget(file)  # gone, or changed: it is looked at anew
        except (OSError, EOFError, zlib.error) as error:
            self._refuse(file, getattr(error, "strerror", None) or str(error))
        else:
            file.is_read = True
        finally:
            self._current = ""

    def _messages(self, file: Handed, raw: BinaryIO) -> Iterator[list[Message]]:
        """What it becomes from its position on. Raises OSError, EOFError or zlib.error."""
        form, found, offset = self._form, file.found, file.durable
        is_packed = found.relative.endswith(".gz")
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if is_packed else raw
        if not is_packed and found.size > form.file_bytes_max:
            raise UnreadableFileError("it is larger than `file_limit`")
        if form.piece == "file":
            yield self._whole(file, stream)
            return
        header = form.header
        if form.has_header:
            header, rows_at = form.header_from(stream)
            offset = max(offset, rows_at)
        stream.seek(offset)
        cutter = LineCutter(
            stream.read,
            offset=offset,
            line_bytes_max=form.message_bytes_max,
            quoted=form.has_header,
        )
        counted = 0
        while (lines := cutter.next(is_complete=True)) is not None:
            if lines.end > form.file_bytes_max:
                raise UnreadableFileError("unpacked it is larger than `file_limit`")
            data = lines.data if offset else lines.data.removeprefix(BOM)
            offset = lines.end
            yield self._pieces(file, data, offset, header)
            self._long_lines += cutter.long_lines - counted
            counted = cutter.long_lines
        self._long_lines += cutter.long_lines - counted
        if cutter.long_lines:
            self.health.trouble(
                f"{shown(found.relative)}: {cutter.long_lines} lines are longer than"
                " `message_limit` and were passed over"
            )

    def _whole(self, file: Handed, stream: BinaryIO) -> list[Message]:
        data = stream.read(self._form.message_bytes_max + 1)
        if len(data) > self._form.message_bytes_max:
            raise UnreadableFileError("it is larger than `message_limit`")
        return [self._made(file, self._form.utf_8(data), file.found.size)]

    def _pieces(self, file: Handed, data: bytes, end: int, header: bytes | None) -> list[Message]:
        return [
            self._made(file, payload, at)
            for payload, at in self._form.messages_of(data, end, header)
        ]

    def _made(self, file: Handed, payload: bytes, end: int) -> Message:
        number = self._handed.hand_on(file, end)
        message = self.message(self._place.topic(file.found.relative), payload, number)
        if self._form.stamps:
            message.sent_ns = file.found.mtime_ns
        return message

    # What becomes of a file

    def _settle(self) -> None:
        """Puts away what is stored, and notes how far the others are."""
        for file in self._handed.stored():
            self._handed.forget(file)
            if self._directory.is_unchanged(file.found):
                self._finish(file.found)
                self._done += 1
            else:
                self._changed_files += 1
        self._note_positions()

    def _note_positions(self) -> None:
        durable, size = self._handed.durable_bytes, self._book.written_bytes
        if self._pace.is_due(time.monotonic(), self._before_bytes + durable, size):
            self._write_book()

    def _finish(self, found: Found) -> None:
        self._book.forget(found)
        try:
            if self._after == "move":
                self._directory.put_away(found, DONE)
            elif self._after == "delete":
                self._directory.delete(found)
        except FileNotFoundError:
            return  # somebody was faster
        except OSError as error:
            self._stays(found, error)
        else:
            if self._after == "keep":
                self._book.keep(found)

    def _refuse(self, file: Handed, reason: str) -> None:
        """It cannot be read. What of it was handed on becomes durable all the same."""
        found = file.found
        self._handed.forget(file)
        self._book.forget(found)
        self._bad += 1
        problem = f"{shown(found.relative)}: {reason}"
        self._problems.append(problem)
        self.health.trouble(problem)
        log.warning("collector %s cannot read %s", self.name, problem)
        if self._after == "keep":
            self._book.keep(found)
            return
        try:
            self._directory.put_away(found, BAD)
        except FileNotFoundError:
            return
        except OSError as error:
            self._stays(found, error)

    def _stays(self, found: Found, error: OSError) -> None:
        """It could not be put away: it is not read again, unless it changes or all too many are."""
        self.health.trouble(f"{shown(found.relative)} cannot be put away: {error.strerror}")
        if self._book.is_full:
            self._later = {found.relative: time.monotonic() + LATER_S}
        else:
            self._book.keep(found)

    def _write_book(self) -> None:
        for file in self._handed.begun():
            if file.durable:
                self._book.note(file.found, file.durable)
        try:
            self._book.write()
        except OSError as error:
            self.health.trouble(f"what is read cannot be noted: {error}")

    # For people

    def details(self) -> dict[str, Any]:
        directory, handed = self._directory, self._handed
        begun = [*handed.begun(), *handed.stored()]
        on_the_way = sum(max(0, each.found.size - each.durable) for each in begun)
        return {
            "path": shown(str(directory.root)),
            "waiting": directory.waiting,
            "waiting_bytes": directory.waiting_bytes,
            "lag_bytes": directory.waiting_bytes + on_the_way,
            "reading": shown(self._current) or None,
            "unacknowledged": handed.unacknowledged(),
            "done": self._done,
            "bad_files": self._bad,
            "changed_files": self._changed_files,
            "long_lines": self._long_lines,
            "problems": list(self._problems),
        }


def source_of(path: Path, pattern: str) -> str:
    """What a book is of."""
    return f"{path}\n{pattern}"
