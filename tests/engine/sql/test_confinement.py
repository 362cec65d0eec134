"""What a process cannot do any more once it is confined; each tried in a process of its own."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mainstem_engine.sql.running.confinement import Confinement, readable_directories
from mainstem_engine.sql.running.system_calls import ARCHITECTURES, filter_program
from mainstem_engine.sql.running.worker_process import SETTINGS

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own means")

PREPARED = """
import ctypes, os, sys
from mainstem_engine.sql.running.confinement import StatementLimits, confine
assert len(os.listdir("/proc/self/task")) == 1
found = confine()
if not found.is_complete:
    print("not here:", found)
    sys.exit()
for attempt in sys.argv[1:]:
    try:
        exec(attempt)
    except (OSError, MemoryError) as error:
        print(type(error).__name__, getattr(error, "errno", None))
    else:
        print("done")
"""


def confined(*attempts: str) -> list[str]:
    """What becomes of some code in a confined process. Skips where the kernel cannot confine."""
    # A pipe: the process may not let a file grow.
    ended = subprocess.run(
        [sys.executable, "-c", PREPARED, *attempts],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), **SETTINGS},
    )
    if ended.stdout.startswith("not here"):
        pytest.skip(ended.stdout)
    assert ended.returncode <= 0, ended.stderr
    return [*ended.stdout.splitlines(), *([f"signal {-ended.returncode}"] * (ended.returncode < 0))]


REFUSED = [
    ("open({file!r}).read()", errno.EACCES),
    ("os.listdir({folder!r})", errno.EACCES),
    ("open('/etc/passwd').read()", errno.EACCES),
    ("open({folder!r} + '/new', 'w')", errno.EACCES),
    ("os.unlink({file!r})", errno.EACCES),
    ("os.mkdir({folder!r} + '/new')", errno.EACCES),
    ("os.open('/proc/' + str(os.getppid()) + '/environ', os.O_RDONLY)", errno.EACCES),
    ("__import__('socket').socket()", errno.EPERM),
    ("__import__('socket').socketpair()", errno.EPERM),
    ("os.fork()", errno.EPERM),
    ("os.execv(sys.executable, [sys.executable])", errno.EPERM),
    ("os.kill(os.getppid(), 0)", errno.EPERM),
    ("os.posix_spawn(sys.executable, [sys.executable], {{}})", errno.EPERM),
]


@linux
def test_what_a_confined_process_tries_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden", encoding="utf-8")
    names = {"file": str(secret), "folder": str(tmp_path)}
    printed = confined(*(attempt.format(**names) for attempt, _ in REFUSED))
    assert [
        (attempt, line.split()[-1]) for (attempt, _), line in zip(REFUSED, printed, strict=True)
    ] == [(attempt, str(number)) for attempt, number in REFUSED]
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


@linux
def test_what_computing_needs_goes_on() -> None:
    attempts = (
        "import duckdb, pyarrow.compute, numpy.fft, zoneinfo; zoneinfo.ZoneInfo('Asia/Shanghai')",
        "import threading; t = threading.Thread(target=len, args=('',)); t.start(); t.join()",
    )
    assert confined(*attempts) == ["done", "done"]


@linux
def test_memory_has_an_end_for_numpy_too() -> None:
    limit = "import numpy as np; StatementLimits().set(64 << 20, 60.0)"
    small, large = "np.ones(4 << 20)", "np.ones(16 << 20)"
    found = confined(limit, small, large)
    assert found[:2] == ["done", "done"]
    assert found[2].endswith("MemoryError None")


@linux
def test_computing_has_an_end_whoever_holds_the_interpreter() -> None:
    """SIGXCPU ends it: no thread of Python would get a turn."""
    assert confined("StatementLimits().set(1 << 30, 0.0); 3 ** 3 ** 16") == ["signal 24"]


def test_no_directory_of_a_user_is_readable(tmp_path: Path) -> None:
    readable = readable_directories()
    for place in (tmp_path, Path.home(), Path.cwd(), Path("/etc"), Path("/var"), Path("/tmp")):
        assert not [root for root in readable if place == root or root in place.parents]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_filter_is_well_formed(name: str) -> None:
    """Jumps stay inside, numbers are told apart, and the last word is to allow."""
    machine = ARCHITECTURES[name]
    assert len(set(machine.refused)) == len(machine.refused)
    assert not {machine.clone, machine.clone3} & set(machine.refused)
    code = filter_program(machine)
    length = len(code) // 8
    assert len(code) % 8 == 0
    for place in range(length):
        then, other = code[8 * place + 2], code[8 * place + 3]
        assert place + 1 + max(then, other) < length or (then, other) == (0, 0)
    assert code[-8:] == bytes.fromhex("06000000" + "0000ff7f")


def test_a_system_without_these_means_says_so() -> None:
    assert not Confinement().is_complete
    assert set(Confinement().to_map().values()) == {"not on this system"}
