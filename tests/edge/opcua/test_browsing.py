"""Objects of a real server become devices; patterns; bounds."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_edge.opcua.browsing import fits
from mainstem_edge.testing.opcua_plant import until
from mainstem_edge.testing.opcua_server import URI, OpcuaServer


def browsing(server: OpcuaServer, browse: str, more: str = "") -> str:
    return f"{{type: opcua, url: '{server.url}', publish_every: 20ms, {more}browse: [{browse}]}}"


def newest(edge: Any) -> dict[str, dict[str, Any]]:
    return {row["device"]: row for row in edge.rows()}


def test_objects_become_devices_and_variables_measurements(
    server: OpcuaServer, collecting: Any
) -> None:
    browse = (
        f"{{under: 'nsu={URI};s=Line1', template: {{'M*': machine}}, device: 'root.l.{{name}}'}}"
    )
    with collecting(browsing(server, browse)) as edge:
        until(lambda: len(newest(edge)) == 2, edge.rows)
        found = newest(edge)["root.l.M2"]
        del found["time"]
        assert found == {
            "device": "root.l.M2", "temperature": 20.0, "speed": 100, "state": "idle", "on": False,
        }  # fmt: skip
        assert edge.status["nodes"] == 8
        assert edge.status["nodes_left_out"] == {
            "unnamed": 2,
            "bad_paths": 0,
            "same_paths": 0,
            "too_many": 0,
        }


def test_levels_are_named_from_the_first_node(server: OpcuaServer, collecting: Any) -> None:
    browse = "{template: {'*/M1': machine}, device: 'root.{path[0]}.{path[1]}'}"
    with collecting(browsing(server, browse)) as edge:
        until(lambda: newest(edge), edge.rows)
        assert set(newest(edge)) == {"root.Line1.M1"}


def test_the_nearest_object_that_fits_is_the_device(server: OpcuaServer, collecting: Any) -> None:
    browse = "{under: 'ns=2;s=Line1', template: {'**': machine}, device: 'root.l.{name}'}"
    with collecting(browsing(server, browse)) as edge:
        until(lambda: len(newest(edge)) == 3, edge.rows)
        assert newest(edge)["root.l.Motor"]["speed"] == 100
        assert "speed" not in newest(edge)["root.l.M1"]
        # The motor of M2 has the path of the other one: it is not mixed up with it.
        assert edge.status["nodes_left_out"]["same_paths"] == 1


def test_no_more_than_nodes_max_are_watched(server: OpcuaServer, collecting: Any) -> None:
    browse = "{under: 'ns=2;s=Line1', template: {'*': machine}, device: 'root.l.{name}'}"
    with collecting(browsing(server, browse, "nodes_max: 3, ")) as edge:
        assert edge.status["nodes"] == 3
        assert edge.status["nodes_left_out"]["too_many"] == 5
        assert "5 variables are beyond nodes_max" in edge.status["last_error"]


def test_where_nothing_fits_it_says_so(server: OpcuaServer, collecting: Any) -> None:
    browse = "{template: {'Press*': machine}, device: 'root.l.{name}'}"
    with collecting(browsing(server, browse), connected=False) as edge:
        until(lambda: edge.status["last_error"])
        assert "there is no variable to watch" in edge.status["last_error"]


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("*", "a", True), ("*", "a/b", False), ("**", "a/b", True), ("**", "", True),
        ("Line*/M?", "Line1/M1", True), ("Line*/M?", "Line1/M10", False),
        ("**/M1", "x/y/M1", True), ("**/M1", "M1", True), ("**/M1", "M1/x", False),
        ("a/**/b", "a/b", True), ("a/**/b", "a/x/y/b", True), ("a", "A", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, wanted: bool) -> None:
    assert fits(pattern.split("/"), path.split("/") if path else []) is wanted
