"""The collector of files that others go on writing, as ``tail -F`` follows them.

1. The directory is looked at every ``every_s``. Files that have grown are read in turns, each a
   share at most, so that none holds up the others; of one name the older is read to its end first.
2. How far each is stored is kept beside the data, behind what is durable: a process that ends in
   between reads something again, and (device, time) makes that the same rows.
3. A file that is renamed is the same file, also across a restart, and its rows go on under the name
   it had. One that is deleted is read to its end where it is held open.
4. One that was cut is read from its beginning, and the log says so.
"""

from __future__ import annotations

import heapq
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from typing import Any, ClassVar, Literal

from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.supervised import SupervisedCollector
from mainstem_edge.files.book_pace import BookPace
from mainstem_edge.files.directory import Directory, Found, Sight
from mainstem_edge.files.follow_book import GONE_MAX, FollowBook, Identity
from mainstem_edge.files.followed import Followed
from mainstem_edge.files.form import FileForm
from mainstem_edge.files.handed import HandedFiles
from mainstem_edge.files.handles import Handles
from mainstem_edge.files.lines import CHUNK_BYTES, Lines
from mainstem_edge.files.place import FilePlace, is_packed, shown, unrotated
from mainstem_edge.reader import Reader

log = logging.getLogger("mainstem.collector.file")

WAIT_S = 0.2
"""A stop is noticed within this."""
LOOK_SHARE = 10
"""Looking at a large directory takes a tenth of the time at most."""
FOLLOWED_MAX = 5000
"""About 10 MB, and half a millisecond of looking for a hundred."""
SHARE_BYTES = 1 << 20
"""Of one file in its turn: a few batches of the intake."""
RETRY_S = 5.0
"""A file that cannot be read is tried again."""
LINGER_S = 10.0
"""A deleted file is let go when it has not grown for so long: its writer may not know yet."""
FILES_SHOWN = 20

Start = Literal["beginning", "end"]


class FollowCollector(SupervisedCollector):
    """The files of one pattern. ``start``: of those that are there when nothing was ever noted."""

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
        book: FollowBook,
        start: Start = "beginning",
        every_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(name, readers, queue, **options)
        self._directory = directory
        self._form = form
        self._place = place
        self._book = book
        self._skips = start == "end" and book.is_new
        self._every_s = every_s
        self._monotonic = monotonic
        self._share_bytes = max(SHARE_BYTES, form.message_bytes_max + 2 * CHUNK_BYTES)
        """A line that is just not too long is read in one turn."""
        self._handles = Handles(directory)
        self._files: dict[Identity, Followed] = {}
        self.origin = self._handed = HandedFiles()
        """It outlives a session: what is read is not read again because a share was away."""
        self._headers = {} if form.header is not None else book.headers()
        """The newest by name: the next file of that name may have none."""
        self._look_at = float("-inf")
        self._pace = BookPace()
        self._unfollowed = self._cut_files = self._lost_bytes = self._long_lines = 0

    # The session

    def session(self) -> None:
        """It outlives a pause: what becomes durable then is still noted."""
        self._look_at = float("-inf")
        try:
            while not self._stop.is_set():
                if self._paused or not self.turn():
                    self._handed.wait(min(WAIT_S, self._every_s))
                self._note_positions()
        finally:
            self.write_book()
            if self._stop.is_set():
                self.close()

    def close(self) -> None:
        """Holds no file open."""
        self._handles.close_all()

    def turn(self) -> bool:
        """Looks at the directory, if it is time; each file that has grown gets a share. True: one
        has still more. Raises ConnectionError."""
        if self._monotonic() >= self._look_at:
            self._look()
        held: set[str] = set()
        for file in list(self._files.values()):
            if self.stopping:
                return False
            if self._is_due(file) and file.name not in held:
                self._give_share(file)
                self._note_positions()
            if file.is_behind:
                held.add(file.name)  # the one that came after it waits
        return bool(held)

    def _is_due(self, file: Followed) -> bool:
        if file.gone_at is not None and self._handles.held(file.sight.identity) is None:
            return False
        return (file.is_behind or file.has_changed) and self._monotonic() >= file.retry_at

    # The directory

    def _look(self) -> None:
        """Which files are there, and under which names."""
        started = self._monotonic()
        present: set[Identity] = set()
        order = {each: number for number, each in enumerate(self._book.identities())}
        room = max(1, FOLLOWED_MAX - len(self._files))  # with 0 nothing would be looked at
        self._unfollowed = 0
        try:
            found = heapq.nsmallest(
                room,
                self._unknown(present),
                key=lambda s: (order.get(s.identity, len(order)), s.mtime_ns, s.relative),
            )
        except OSError as error:
            where = self._directory.root
            raise ConnectionError(f"{where} cannot be read: {error.strerror or error}") from None
        ended = self._monotonic()
        self._look_at = ended + max(self._every_s, LOOK_SHARE * (ended - started))
        if self.health.connected_ns is None:
            self.health.connected()
        self._take_up(found, present)
        if self._directory.problem:
            self.health.trouble(self._directory.problem)
            return  # what was not seen may be there
        for identity, file in list(self._files.items()):
            if identity not in present:
                self._miss(file)
        if present:  # or else a share is not there
            self._book.retire(present | self._files.keys())
        if len(self._headers) > FOLLOWED_MAX + GONE_MAX:
            self._headers = {e.name: e.header for e in self._files.values() if e.header}

    def _unknown(self, present: set[Identity]) -> Iterator[Sight]:
        """Notes what is known."""
        inodes = self._book.inodes() | {inode for _, inode in self._files}
        for sight in self._directory.sights(inodes):
            if is_packed(sight.relative):
                continue
            file = self._files.get(sight.identity)
            if file is None:
                self._unfollowed += 1
                yield sight
            elif sight.identity not in present or sight.relative == file.sight.relative:
                present.add(sight.identity)
                self._see(file, sight)

    def _see(self, file: Followed, sight: Sight) -> None:
        if sight.relative != file.sight.relative:
            was, now = shown(file.sight.relative), shown(sight.relative)
            log.info("collector %s: %s is called %s now", self.name, was, now)
        file.sight, file.gone_at = sight, None

    def _take_up(self, found: list[Sight], present: set[Identity]) -> None:
        for sight in found:
            if len(self._files) >= FOLLOWED_MAX:
                break
            self._unfollowed -= 1
            if sight.identity not in present:  # a second name of it
                present.add(sight.identity)
                file = Followed(sight, unrotated(sight.relative), self._form)
                self._files[sight.identity] = file
        if self._unfollowed:
            self.health.trouble(
                f"{self._unfollowed} files are not read: {FOLLOWED_MAX} are followed. Remove old"
                " ones, or let `pattern` match fewer"
            )
        if self._skips:
            self._skips = False
            for file in self._files.values():
                self._attempt_on(file, _skip)
            self.write_book(is_begun=True)  # before a row is read: a second start is no first

    def _miss(self, file: Followed) -> None:
        """It has no name any more."""
        now = self._monotonic()
        stream = self._handles.held(file.sight.identity)
        if stream is not None:
            status = os.fstat(stream.fileno())
            sight = file.sight._replace(size=status.st_size, mtime_ns=status.st_mtime_ns)
            if file.gone_at is None or sight != file.sight or file.is_behind:
                file.sight, file.gone_at = sight, now
            if now - file.gone_at < LINGER_S:
                return
        file.gone_at = now
        file.is_behind = False
        if self._durable(file) == file.end:
            self._let_go(file)

    def _let_go(self, file: Followed) -> None:
        self._note(file)
        self._handles.close(file.sight.identity)
        del self._files[file.sight.identity]
        if file.handed is not None:
            self._handed.forget(file.handed)
        lost = file.sight.size - file.end
        if lost > 0:
            self._lost_bytes += lost
            self._say(file, f"it is gone, and {lost} bytes of it were not read")

    # One file

    def _give_share(self, file: Followed) -> None:
        self._attempt_on(file, self._read)
        if file.was_cut:
            self._begin_anew(file)

    def _attempt_on(self, file: Followed, read: Callable[[Followed, FileIO], None]) -> None:
        """Opens it, and looks into it if nobody has."""
        identity = file.sight.identity
        try:
            held = self._handles.held(identity) if file.gone_at is not None else None
            stream = held or self._handles.of(file.sight)
            if file.handed is None and not self._is_taken_up(file, stream):
                del self._files[identity]
                self._handles.close(identity)
                return
            read(file, stream)
        except FileNotFoundError:
            file.stumbles()  # it has another name now, or none: the next look finds out
        except OSError as error:
            file.stumbles()
            file.retry_at = self._monotonic() + RETRY_S
            problem = error.strerror or str(error)
            if problem != file.problem:
                file.problem = problem
                self._say(file, problem)
        else:
            file.problem = ""
        self._handles.rest(identity)

    def _is_taken_up(self, file: Followed, stream: FileIO) -> bool:
        """It goes on where it was, or begins. False: it is another than was noted, and its name is
        none of the pattern."""
        sight = file.sight
        key = self._book.find(sight.identity, self._files.keys())
        if key is not None and file.goes_on(self._book.place(key), stream):
            if key != sight.identity:
                self._book.forget(key)
        elif not sight.fits:
            return False
        else:
            file.former = self._headers.get(file.name)
            if key is not None:
                was_same = self._book.place(key).name == file.name
                self._book.forget(key)
                if was_same:
                    self._say_cut(file)
        found = Found(file.name, sight.size, sight.mtime_ns)
        file.handed = self._handed.begin(found, file.end, key=file)
        return True

    def _read(self, file: Followed, stream: FileIO) -> None:
        counted = file.long_lines
        for lines in file.turn(stream, self._share_bytes):
            if not self.deliver(self._messages(file, lines)):
                return  # it goes on from its position at the next start
        if file.header is not None and self._form.header is None:
            self._headers[file.name] = file.header
        more = file.long_lines - counted
        if more:
            self._long_lines += more
            self._say(file, f"{more} lines are longer than `message_limit` and were passed over")

    def _messages(self, file: Followed, lines: Lines) -> list[Message]:
        handed = file.handed
        assert handed is not None
        topic = self._place.topic(file.name)
        return [
            self.message(topic, payload, self._handed.hand_on(handed, end))
            for payload, end in self._form.messages_of(lines.data, lines.end, file.header)
        ]

    def _begin_anew(self, file: Followed) -> None:
        if file.handed is not None:
            self._handed.forget(file.handed)
        self._book.forget(file.sight.identity)
        if not file.sight.fits:
            file.handed = None  # it is judged as one that was never seen
        file.begins_anew()
        if file.sight.fits:
            file.name = unrotated(file.sight.relative)
            found = Found(file.name, file.sight.size, file.sight.mtime_ns)
            file.handed = self._handed.begin(found, 0, key=file)
        self._say_cut(file)

    def _say_cut(self, file: Followed) -> None:
        self._cut_files += 1
        self._say(file, "it was cut or written anew, and is read from its beginning")

    def _say(self, file: Followed, problem: str) -> None:
        text = f"{shown(file.sight.relative)}: {problem}"
        self.health.trouble(text)
        log.warning("collector %s: %s", self.name, text)

    # Positions

    def _durable(self, file: Followed) -> int:
        return file.end if file.handed is None else self._handed.position(file.handed, file.end)

    def _note(self, file: Followed) -> None:
        if file.handed is not None:
            noted = file.noted(self._durable(file))
            if noted is not None:
                self._book.note(file.sight.identity, file.place(noted))

    def _note_positions(self) -> None:
        durable, size = self._handed.durable_bytes, self._book.written_bytes
        if self._pace.is_due(self._monotonic(), durable, size):
            self.write_book()

    def write_book(self, *, is_begun: bool = False) -> None:
        for file in self._files.values():
            self._note(file)
        try:
            self._book.write(is_begun=is_begun)
        except OSError as error:
            self.health.trouble(f"what is read cannot be noted: {error}")

    # For people

    def details(self) -> dict[str, Any]:
        files = [(each, self._durable(each)) for each in list(self._files.values())]
        lags = [(max(0, file.sight.size - durable), file, durable) for file, durable in files]
        shown_first = heapq.nlargest(FILES_SHOWN, lags, key=lambda each: each[0])
        return {
            "path": shown(str(self._directory.root)),
            "following": len(files),
            "unfollowed": self._unfollowed,
            "lag_bytes": sum(lag for lag, _, _ in lags),
            "unacknowledged": self._handed.unacknowledged(),
            "cut_files": self._cut_files,
            "lost_bytes": self._lost_bytes,
            "long_lines": self._long_lines,
            "unreadable": sum(bool(file.problem) for file, _ in files),
            "files": [
                {
                    "file": shown(file.sight.relative),
                    "position": durable,
                    "size": file.sight.size,
                    "lag_bytes": lag,
                    "problem": file.problem or None,
                }
                for lag, file, durable in shown_first
            ],
        }


def _skip(file: Followed, stream: FileIO) -> None:
    file.skip(stream)
    if file.handed is not None:
        file.handed.durable = file.end
