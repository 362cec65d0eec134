"""The nightly run counts, reports, and goes on after a group that failed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from .nightly import GROUPS, ROOT, Group, main

GOOD = """
import os
def test_counts(record_property):
    record_property("count:kills", 40)
    record_property("other", 3)
def test_more(record_property):
    assert os.environ["MAINSTEM_NIGHTLY"] == "1" and os.environ["MAINSTEM_SEED"] == "5"
    record_property("count:kills", 2)
    record_property("count:cuts", 1)
"""
BAD = """
import pytest
def test_it_breaks():
    assert False, ("seed 117: bit at 5", "lost")
def test_it_cannot():
    pytest.skip("no such disk here")
"""


@pytest.fixture
def groups(tmp_path: Path) -> dict[str, Group]:
    for name, text in (("test_good.py", GOOD), ("test_bad.py", BAD), ("test_none.py", "")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    # A warning is an error, as in this project's settings; this one is about settings themselves.
    warnings = ("-W", "error", "-W", "ignore:The configuration option")
    own = (f"--rootdir={tmp_path}", "-c", "/dev/null", "-p", "no:cacheprovider", *warnings)
    return {
        "bad": Group("fails", (*own, str(tmp_path / "test_bad.py"))),
        "none": Group("has nothing", (*own, str(tmp_path / "test_none.py"))),
        "good": Group("passes", (*own, str(tmp_path / "test_good.py"))),
        "asked": Group("runs when asked", (*own, "nowhere"), asked_only=True),
    }


def test_a_night(
    groups: dict[str, Group], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "report"
    assert main(["--into", str(into), "--seed", "5"], groups) == 1
    report = json.loads((into / "report.json").read_text(encoding="utf-8"))
    text = (into / "report.txt").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert report["seed"] == 5
    assert {"date", "commit", "machine", "python", "versions"} <= report.keys()
    bad, none, good = report["groups"]
    assert (good["group"], good["passed"], good["tests"]) == ("good", True, 2)
    assert good["counts"] == {"cuts": 1, "kills": 42}
    assert (bad["passed"], bad["tests"], len(bad["skipped"])) == (False, 2, 1)
    (failure,) = bad["failures"]
    assert "test_it_breaks" in failure["again"]
    assert "MAINSTEM_SEED=5" in failure["again"]
    assert {"MAINSTEM_SEED=5", "seed 117"} <= set(failure["seeds"])
    assert not none["passed"]
    assert "no test ran" in none["problem"]
    for expected in ("nightly run: FAILED", "42 kills", "seed 117", "no such disk here"):
        assert expected in text
    assert "asked" not in text


def test_groups_can_be_chosen(groups: dict[str, Group], tmp_path: Path) -> None:
    into = tmp_path / "report"
    assert main(["--into", str(into), "--seed", "5", "--groups", "good"], groups) == 0
    assert "nightly run: passed" in (into / "report.txt").read_text(encoding="utf-8")
    assert (into / "good.log").is_file()


def test_the_order_of_a_shuffled_group_comes_from_its_seed(
    groups: dict[str, Group], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    line = f"with open({str(order)!r}, 'a') as file: file.write"
    names = "".join(f"def test_{n}():\n    {line}(' {n}')\n" for n in range(20))
    (tmp_path / "test_good.py").write_text(names, encoding="utf-8")
    shuffled = {"good": replace(groups["good"], is_shuffled=True)}
    found = []
    for seed in ("5", "5", "6"):
        order.write_text("", encoding="utf-8")
        assert main(["--into", str(tmp_path / "report"), "--seed", seed], shuffled) == 0
        found.append(order.read_text(encoding="utf-8").split())
    assert found[0] == found[1] != found[2] != sorted(found[2])
    assert sorted(found[0]) == sorted(found[2]) == sorted(map(str, range(20)))


def test_a_group_that_hangs_is_stopped(tmp_path: Path) -> None:
    test = tmp_path / "test_hangs.py"
    test.write_text("import threading\ndef test(): threading.Event().wait(60)\n", encoding="utf-8")
    own = (f"--rootdir={tmp_path}", "-c", "/dev/null", "-p", "no:cacheprovider", str(test))
    groups = {"hangs": Group("waits for nothing", own, hours_max=1 / 3600)}
    assert main(["--into", str(tmp_path / "report"), "--seed", "5"], groups) == 1
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert "stopped after" in report["groups"][0]["problem"]


def test_every_long_test_is_in_a_group() -> None:
    listed = subprocess.run(
        ["git", "grep", "-l", "mark.nightly", "--", "tests/*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    named = [argument for group in GROUPS.values() for argument in group.arguments]
    long = [path for path in listed if Path(path).name.startswith("test_")]
    missing = [
        path
        for path in long
        if path != "tests/test_nightly.py"
        and not any(
            path == name or path.startswith(f"{name}/") for name in named if name != "tests"
        )
    ]
    assert len(long) > 5
    assert missing == []
