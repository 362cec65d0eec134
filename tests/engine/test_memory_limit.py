"""The memory limit as the system sees it: a process at work, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

MIB = 1 << 20
LIMIT_MIB = 64
MARGIN_SHARE = 0.125
"""Of the limit. Between two looks at the process free memory may grow by so much, and the caller's
own batch is in the process too."""
SAMPLE_S = 0.002

CHILD = """
import sys
import numpy as np
import pyarrow
from mainstem_engine import ColumnType, Engine, EngineOptions, Measurement, Template

DEVICES, ROUNDS, BATCH = 20_000, 60, 10_000
NAMES = [f"m{n}" for n in range(10)]
limit = int(sys.argv[2])
engine = Engine.open(sys.argv[1], EngineOptions(memory_limit_bytes=limit))
engine.create_template(Template("t", (
    *(Measurement(0, name, ColumnType.DOUBLE) for name in NAMES),
    Measurement(0, "state", ColumnType.TEXT))))
ids = engine.device_ids("t", [f"root.a.d{n}" for n in range(DEVICES)], create=True)
noise = np.random.default_rng(1).normal(0, 1, (10, BATCH))
states = [f"state {n % 7}" for n in range(BATCH)]
print("open", flush=True)
written, waiting = 0, []
for round in range(ROUNDS):
    for first in range(0, DEVICES, BATCH):
        device = ids[first:first + BATCH]
        columns = {name: np.round(noise[n] * (1 + round % 5), 2) for n, name in enumerate(NAMES)}
        if len(waiting) == 4:
            waiting.pop(0).wait()
        times = np.full(BATCH, round * 1000)
        waiting.append(engine.write("t", device, times, {**columns, "state": states}))
        written += BATCH
for ack in waiting:
    ack.wait()
engine.flush()
engine.compact()
read = sum(len(batch) for batch in engine.scan("t"))
assert read == written, (read, written)
engine.close()
print("done", flush=True)
"""


def anonymous_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) << 10 if lines else 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_writing_compacting_and_reading_keep_the_limit(tmp_path: Path) -> None:
    """12 M values and 1.2 M texts of 20,000 devices: several times what the limit holds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "data"), str(LIMIT_MIB * MIB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        base = anonymous_bytes(child.pid)
        peak = base
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, anonymous_bytes(child.pid))
                time.sleep(SAMPLE_S)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            said = child.stdout.readline()
        finally:
            done.set()
            sampler.join()
    assert said == "done\n"
    assert child.returncode == 0
    grown_mib = (peak - base) / MIB
    assert grown_mib <= LIMIT_MIB * (1 + MARGIN_SHARE), f"{grown_mib:.0f} MiB"
