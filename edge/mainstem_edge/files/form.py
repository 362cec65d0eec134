"""How the content of files is cut into messages, and which first line names columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mainstem_edge.decode.csv_codec import header_of
from mainstem_edge.errors import UnreadableFileError


@dataclass(frozen=True, slots=True)
class FileForm:
    """How the content of files is cut into messages.

    ``piece``: ``lines`` (a message has many), ``line`` or ``file``. ``has_header``: the first line
    goes before every piece; ``header``: what stands for it in files that have none. ``stamps``: the
    file's own time is that of rows without one.
    """

    piece: Literal["lines", "line", "file"] = "lines"
    has_header: bool = False
    header: bytes | None = None
    stamps: bool = False
    message_bytes_max: int = 1 << 20
    file_bytes_max: int = 4 << 30

    def checked_header(self, line: bytes) -> bytes:
        """A header that names columns, with a line end. Raises UnreadableFileError."""
        if len(line) > self.message_bytes_max:
            raise UnreadableFileError("its first line is longer than `message_limit`")
        if b"\0" in line:
            raise UnreadableFileError("it is no text")
        try:
            header_of(line)
        except UnicodeDecodeError:
            raise UnreadableFileError("it is not UTF-8") from None
        except ValueError as error:
            raise UnreadableFileError(str(error)) from None
        return line.rstrip(b"\r\n") + b"\n"

    def messages_of(
        self, data: bytes, end: int, header: bytes | None
    ) -> Iterator[tuple[bytes, int]]:
        """(what a message holds, the place behind it) of whole lines that end there."""
        if self.piece == "lines":
            if data:
                yield data if header is None else header + data, end
            return
        at = end - len(data)
        for line in data.splitlines(keepends=True):
            at += len(line)
            if not line.isspace():
                yield line, at
