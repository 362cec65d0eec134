"""How the content of files is cut into messages, and which first line names columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from mainstem_edge.decode.csv_codec import BOM, header_of
from mainstem_edge.errors import UnreadableFileError

UTF_8 = "utf-8"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class FileForm:
    """How the content of files is cut into messages.

    ``piece``: ``lines`` (a message has many), ``line`` or ``file``. ``has_header``: the first line
    goes before every piece; ``header``: what stands for it in files that have none. ``stamps``: the
    file's own time is that of rows without one. ``encoding``: one in which ASCII is ASCII, so that
    a line ends where its bytes say so. ``preamble_lines`` before the header and ``unit_lines``
    below it are passed over.
    """

    piece: Literal["lines", "line", "file"] = "lines"
    has_header: bool = False
    header: bytes | None = None
    stamps: bool = False
    message_bytes_max: int = 1 << 20
    file_bytes_max: int = 4 << 30
    encoding: str = UTF_8
    preamble_lines: int = 0
    unit_lines: int = 0

    def utf_8(self, data: bytes) -> bytes:
        """Whole lines as UTF-8. What is no character becomes ``\\x81``: it costs its cell."""
        if self.encoding == UTF_8:
            return data
        return data.decode(self.encoding, "backslashreplace").encode()

    def header_from(self, stream: BinaryIO) -> tuple[bytes, int]:
        """(the header, the place where rows begin) of a file from its beginning on. Raises
        OSError, UnreadableFileError."""
        behind = self._passed_over(stream, self.preamble_lines)
        header = self.header
        if header is None:
            first = stream.readline(self.message_bytes_max + 1)
            behind += len(first)
            header = self._as_header(first)
        return self.checked_header(header), behind + self._passed_over(stream, self.unit_lines)

    def _passed_over(self, stream: BinaryIO, lines: int) -> int:
        passed = 0
        for _ in range(lines):
            line = stream.readline(self.message_bytes_max + 1)
            if len(line) > self.message_bytes_max:
                raise UnreadableFileError("a line above its rows is longer than `message_limit`")
            passed += len(line)
        return passed

    def _as_header(self, line: bytes) -> bytes:
        if line.startswith(_UTF_16):
            raise UnreadableFileError("it is UTF-16: let it be written as UTF-8")
        if line.startswith(BOM) and self.encoding != UTF_8:
            raise UnreadableFileError("it begins with the mark of UTF-8: leave `encoding` out")
        return self.utf_8(line)

    def checked_header(self, line: bytes) -> bytes:
        """A header in UTF-8 that names columns, with a line end. Raises UnreadableFileError."""
        if len(line) > self.message_bytes_max:
            raise UnreadableFileError("its first line is longer than `message_limit`")
        if b"\0" in line:
            raise UnreadableFileError("it is no text")
        try:
            header_of(line)
        except UnicodeDecodeError:
            raise UnreadableFileError(
                "its first line is not UTF-8: say `encoding: cp1252`, or what it is"
            ) from None
        except ValueError as error:
            raise UnreadableFileError(str(error)) from None
        return line.rstrip(b"\r\n") + b"\n"

    def messages_of(
        self, data: bytes, end: int, header: bytes | None
    ) -> Iterator[tuple[bytes, int]]:
        """(what a message holds, the place behind it) of whole lines that end there."""
        if self.piece == "lines":
            if data:
                text = self.utf_8(data)
                yield text if header is None else header + text, end
            return
        at = end - len(data)
        for line in data.splitlines(keepends=True):
            at += len(line)
            if not line.isspace():
                yield self.utf_8(line), at
