"""How a process of the command line ends: an exit code, and one line that names the remedy.

Exit codes: 0 it worked, 1 the check failed or the work could not be done, 2 usage or configuration.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130
"""What a shell expects of a program that ended by Ctrl-C."""

USAGE_CODES = frozenset({"BAD_REQUEST", "CONFIG", "CREDENTIAL", "UNIT", "TIER", "LOCKED", "CSV"})
"""Errors by which the user, not the system, has to change something before the next try."""


def ending_well(work: Callable[[], object]) -> None:
    """Does the work. Errors of Mainstem and of the system end the process in one line."""
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`mainstem ... | head`): nothing to report to.
        sys.stderr.close()
        sys.exit(FAILED)
    except Exception as error:
        # The engine's errors are imported only when there is one: help must not wait for it.
        from mainstem_engine.errors import MainstemError

        if isinstance(error, MainstemError):
            print(f"mainstem: {error}", file=sys.stderr)
            sys.exit(USAGE if error.code in USAGE_CODES else FAILED)
        if isinstance(error, OSError) and error.errno is not None:
            print(f"mainstem: {of_system(error)}", file=sys.stderr)
            sys.exit(FAILED)
        raise


def of_system(error: OSError) -> str:
    """What the operating system refused, of which file, and where to look."""
    from mainstem_engine.errors import NO_ROOM

    reason = error.strerror or str(error)
    named = f"{error.filename}: {reason}" if error.filename else reason
    if error.errno in NO_ROOM:
        return f"{named}; make room on the disk and try again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{named}; it must be writable for this user"
    return f"{named}; check the path, the disk and the rights"
