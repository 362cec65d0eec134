"""One file that others go on writing: what of it was read, and whether it still is what it was.

1. Whole lines are read; a line without an end waits for it. A turn reads so many bytes at most.
2. A file that is shorter than what was read of it, or has another content before that place, was
   cut or written anew, and is read from its beginning.
3. The header of CSV is the first line. Where a program goes on without one, in a file that was cut
   or a new one of that name, the former holds: a first line with a name of the former is a header,
   one with a cell that begins like a number is none.

Memory: a piece of lines in its turn, HELD_BYTES_MAX and some places between turns.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from io import FileIO

from mainstem_edge.decode.csv_codec import BOM, header_of
from mainstem_edge.errors import UnreadableFileError
from mainstem_edge.files.directory import Sight
from mainstem_edge.files.fingerprint import fingerprint, read_at
from mainstem_edge.files.follow_book import Place
from mainstem_edge.files.form import FileForm
from mainstem_edge.files.handed import Handed
from mainstem_edge.files.lines import CHUNK_BYTES, LineCutter, Lines

HELD_BYTES_MAX = 4096
"""Of a line without an end; a longer one is read again when the file has changed."""
HEADER_BYTES_MAX = 2048
"""A longer one is not noted, if it stands in the file."""
_NUMBER = "0123456789+-."


class Followed:
    """``name``: the path under which its rows are stored, whatever it is called now."""

    def __init__(self, sight: Sight, name: str, form: FileForm) -> None:
        self.sight = sight
        self.name = name
        self._form = form
        self.end = 0
        """Whole lines were read up to here."""
        self.header: bytes | None = None
        self.former: bytes | None = None
        """The header of what stood in this file before it was cut, or in the one before it."""
        self.handed: Handed | None = None
        """None until it was looked into for the first time."""
        self.is_behind = False
        """The last turn ended before the end of the file."""
        self.was_cut = False
        """The last turn found another content."""
        self.problem = ""
        self.retry_at = 0.0
        self.gone_at: float | None = None
        """Since when it has no name and does not grow."""
        self.long_lines = 0
        self._cutter: LineCutter | None = None
        self._file: FileIO | None = None
        """In a turn."""
        self._left = 0
        self._at = 0
        """Bytes were read up to here."""
        self._known: tuple[int, str | None] = 0, None
        """A place, and what was before it."""
        self._seen: tuple[int, int] | None = None
        self._marks: deque[tuple[int, str | None]] = deque()

    @property
    def has_changed(self) -> bool:
        """Since the last turn, as far as it was seen."""
        return self._seen != (self.sight.size, self.sight.mtime_ns)

    @property
    def held_bytes(self) -> int:
        """In memory, of a line without an end."""
        return 0 if self._cutter is None else self._cutter.held_bytes

    def goes_on(self, place: Place, file: FileIO) -> bool:
        """True, and it does, where the file is what was noted."""
        found = fingerprint(file, place.position)
        if found is None or found != place.print:
            return False
        self.name, self.end = place.name, place.position
        if not place.has_header and place.header is not None:
            self.header = self.former = place.header.encode()
        self._begins_here(file)
        return True

    def skip(self, file: FileIO) -> None:
        """What is there now is not read, but for a line without an end."""
        size = os.fstat(file.fileno()).st_size
        start = max(0, size - self._form.message_bytes_max)
        line_end = read_at(file, start, size - start).rfind(b"\n") + 1
        self.end = start + line_end if line_end or not start else size
        self._begins_here(file)

    def begins_anew(self) -> None:
        """Another content."""
        self.former = self.header or self.former
        self.header = self._cutter = self._seen = None
        self.end = self._at = 0
        self._known = 0, None
        self.was_cut = False
        self.is_behind = True
        self._marks.clear()

    def turn(self, file: FileIO, bytes_max: int) -> Iterator[Lines]:
        """The next whole lines. Raises OSError: then it ``stumbles``."""
        status = os.fstat(file.fileno())
        self._file, self._left = file, bytes_max
        self.is_behind = self.was_cut = False
        try:
            if self._cutter is not None or self._prepare(file):
                yield from self._lines()
        finally:
            self._file = None
        self._seen = status.st_size, status.st_mtime_ns

    def _lines(self) -> Iterator[Lines]:
        cutter = self._cutter
        assert cutter is not None
        counted = cutter.long_lines
        while (lines := cutter.next(is_complete=False)) is not None:
            is_first, self.end = self.end == 0, lines.end
            self._mark()
            yield lines._replace(data=lines.data.removeprefix(BOM)) if is_first else lines
        self.long_lines += cutter.long_lines - counted
        self.is_behind = self._left <= 0
        if cutter.held_bytes > HELD_BYTES_MAX:
            self._cutter, self._at = None, self.end

    def stumbles(self) -> None:
        """It could not be read: the next turn begins behind the last whole lines."""
        self._cutter = self._seen = None
        self._at = self.end
        self.is_behind = False

    def noted(self, durable: int) -> tuple[int, str] | None:
        """The last place with a print that is not behind what is durable; None: none is newer."""
        found: tuple[int, str] | None = None
        while self._marks and self._marks[0][0] <= durable:
            place, mark = self._marks.popleft()
            if mark is not None:
                found = place, mark
        return found

    def place(self, noted: tuple[int, str]) -> Place:
        """For the book."""
        position, print_ = noted
        header = None
        is_former = self.former is not None
        if self.header is not None and (is_former or len(self.header) <= HEADER_BYTES_MAX):
            header = self.header.decode()
        return Place(self.name, position, print_, self.sight.size, header, not is_former)

    def _prepare(self, file: FileIO) -> bool:
        """False where the first line has no end yet."""
        form, before = self._form, self.end
        if form.header is not None:
            self.header = self.header or form.checked_header(form.header)
        elif form.has_header and self.header is None:
            first = _first_line(file, form.message_bytes_max)
            if first is None:
                return False
            line = form.utf_8(first)
            if self.former is not None and _is_row(line, self.former):
                self.header = self.former
            else:
                self.header, self.former = form.checked_header(line), None
                self.end = max(self.end, len(first))
        self._at = self.end
        self._cutter = LineCutter(
            self._more,
            offset=self.end,
            line_bytes_max=form.message_bytes_max,
            quoted=form.has_header,
        )
        if self.end != before:
            self._mark()
        return True

    def _more(self, size: int) -> bytes:
        """The next bytes; none where the turn is over, or the file is not what it was."""
        file = self._file
        assert file is not None
        self.was_cut = not self._is_the_same(file)
        if self.was_cut:
            return b""
        data = read_at(file, self._at, min(size, self._left))
        self._at += len(data)
        self._left -= len(data)
        if data:
            self._known = self._at, fingerprint(file, self._at)
        return data

    def _is_the_same(self, file: FileIO) -> bool:
        place, known = self._known
        return place == 0 or (known is not None and fingerprint(file, place) == known)

    def _begins_here(self, file: FileIO) -> None:
        """All before its end is done."""
        self._file, self._at = file, self.end
        self._known = self.end, fingerprint(file, self.end)
        self._mark()
        self._file = None

    def _mark(self) -> None:
        file = self._file
        assert file is not None
        place, known = self._known
        self._marks.append((self.end, known if place == self.end else fingerprint(file, self.end)))


def _first_line(file: FileIO, bytes_max: int) -> bytes | None:
    """With its end; None where it has none yet. Raises UnreadableFileError."""
    for size in (CHUNK_BYTES, bytes_max + 1):
        data = read_at(file, 0, size)
        end = data.find(b"\n") + 1
        if end:
            return data[:end]
    if len(data) > bytes_max:
        raise UnreadableFileError("its first line is longer than `message_limit`")
    return None


def _is_row(line: bytes, former: bytes) -> bool:
    try:
        cells = header_of(line)
    except ValueError:  # an empty cell, wrong quotes: no names either
        return True
    names = set(header_of(former))
    return names.isdisjoint(cells) and any(cell[0] in _NUMBER for cell in cells)
