"""The lines of the README that use the engine as a library run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_lines_of_the_readme(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## As a library")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    inside = code.partition("with Engine.open")[2].strip().splitlines()
    assert len(inside) <= 10, "the contract's ten lines"
    shown = "\nprint(table.num_rows, newest.num_rows, sorted(means))"
    answer = subprocess.run(
        [sys.executable, "-c", code + shown],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "common_engine")},
    )
    assert answer.stdout.strip() == "2 2 [['x', 219.0], ['y', 221.0]]"
