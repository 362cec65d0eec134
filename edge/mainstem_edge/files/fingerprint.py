"""Whether the beginning of a file is what it was: a hash of the ends of it.

Of the first PRINT_BYTES, which a new file under an old number has otherwise, and of as many before
the place, because files often begin alike, with the same header.
"""

from __future__ import annotations

import hashlib
from io import FileIO

PRINT_BYTES = 1024


def fingerprint(file: FileIO, place: int) -> str | None:
    """Of what lies before a place; None where the file ends before it. Moves the file's place."""
    size = min(PRINT_BYTES, place)
    head, tail = read_at(file, 0, size), read_at(file, place - size, size)
    if len(head) < size or len(tail) < size:
        return None
    return hashlib.blake2b(head + tail, digest_size=8).hexdigest()


def read_at(file: FileIO, place: int, size: int) -> bytes:
    """Fewer bytes only at the end of the file."""
    file.seek(place)
    data = file.read(size) or b""
    while 0 < len(data) < size:
        more = file.read(size - len(data))
        if not more:
            break
        data += more
    return data
