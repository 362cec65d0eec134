"""Builds the wheel, installs it into a clean environment outside the checkout, runs the demo there.

What a newcomer gets from ``pip install mainstem`` must work without the checkout: the example
factory, the configurations and the first page travel in the wheel.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO_TIMEOUT_S = 300
"""20 s of publishing, at most 120 s of draining, the rest is start-up on a busy machine."""


def run(*command: str | Path, cwd: Path, timeout_s: float = 600) -> None:
    print("+", *command, flush=True)
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    subprocess.run([str(part) for part in command], cwd=cwd, env=environment, check=True,
                   timeout=timeout_s)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--port-base", type=int, default=18400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainstem-wheel-") as name:
        place = Path(name)
        dist = place / "dist"
        run(sys.executable, "-m", "build", "--wheel", "--outdir", dist, ROOT, cwd=place)
        wheel = next(dist.glob("mainstem-*.whl"))
        venv.create(place / "env", with_pip=True)
        python = place / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=place)
        run(python.with_name("mainstem"), "config", "check",
            place / "env" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
            / "site-packages" / "mainstem_node" / "_examples" / "configs" / "topology.yaml",
            cwd=place)  # fmt: skip
        run(python.with_name("mainstem"), "demo", "--dir", place / "demo",
            "--seconds", str(arguments.seconds), "--port-base", str(arguments.port_base),
            "--no-open", cwd=place, timeout_s=DEMO_TIMEOUT_S)  # fmt: skip
    print("the wheel works on its own")


if __name__ == "__main__":
    main()
