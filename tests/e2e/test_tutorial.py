"""docs/tutorial-edge.md works as it stands: all of it is typed into an empty directory."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from river import free_ports
from tutorial import Block, Typist, blocks_of, shows

from mainstem_edge.testing.mosquitto import Mosquitto, mosquitto_binary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-edge.md"
PROGRAMS = Path(os.environ.get("TUTORIAL_PROGRAMS", Path(sys.executable).parent))
"""Where `mainstem` is: tests/wheel_check.py says where it has installed a wheel."""


@pytest.mark.slow
@pytest.mark.broker
def test_the_page_about_a_first_edge(tmp_path: Path) -> None:
    if mosquitto_binary() is None or shutil.which("curl") is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have mosquitto and curl"
        pytest.skip("mosquitto or curl is not installed")
    place = tmp_path / "empty"
    place.mkdir()
    platform, edge = free_ports(2)
    with Mosquitto(tmp_path / "broker") as broker:
        ports = {1883: broker.port, 8410: platform, 8411: edge}
        with Typist(place, PROGRAMS, ports) as typist:
            typist.type(PAGE.read_text(encoding="utf-8"))
            typed = "".join(typist.typed)
    assert {"init", "run", "publish", "sql", "join"} <= {
        line.split()[1] for line in typed.splitlines() if line.startswith("mainstem ")
    }
    assert f":{edge}" in typed
    assert ":8411" not in typed


def test_a_page_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    right = "```sh\necho one two\n```\n\n```text\none ...o\n```\n"
    with Typist(tmp_path, PROGRAMS, {1883: 1}) as typist:
        typist.type(right)
        typist.type("```text a.txt\n1\n```\n```text a.txt +\n2\n```\n")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "1\n2\n"
        with pytest.raises(AssertionError, match="printed"):
            typist.type(right.replace("one ...o", "three"))
        with pytest.raises(AssertionError, match="ended with 3"):
            typist.type("```sh\nexit 3\n```\n")
        with pytest.raises(AssertionError, match="ended with 4"):
            typist.type("```sh\nsh -c 'exit 4'\necho on\n```\n")
        with pytest.raises(AssertionError, match="ended with 5"):
            typist.type("```sh terminal 2\nsh -c 'exit 5'\n```\n```text\nready\n```\n")
        with pytest.raises(AssertionError, match="what is a block"):
            typist.type("```sh untill\necho\n```\n")
        with pytest.raises(AssertionError, match="what is a block"):
            typist.type("```yaml\na: 1\n```\n")


def test_blocks_of_a_page() -> None:
    assert blocks_of("a\n```yaml a.yaml +\nb: 1\n```\nc\n") == [
        Block(("yaml", "a.yaml", "+"), "b: 1\n")
    ]
    with pytest.raises(AssertionError, match="without an info string"):
        blocks_of("```\nmainstem run\n```\n")


def test_lines_are_shown_in_their_order() -> None:
    assert shows("a ... c\nd", "x\na b c\ny\nd\n")
    assert not shows("d\na", "a\nd\n")
    assert not shows("a ... c", "a b\nc\n")
