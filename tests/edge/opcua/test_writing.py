"""Commands write to a real server: types, refusals, what is allowed, no session."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua

from mainstem_edge.actions.opcua_write import Allowed, OpcuaWrite
from mainstem_edge.assembly.actions import actions
from mainstem_edge.opcua.writing import fit
from mainstem_edge.testing.opcua_server import URI, OpcuaServer
from mainstem_node.commanding.action import ActionError
from mainstem_node.config.collectors.opcua import OpcuaWriteConfig
from mainstem_node.errors import BadRequestError


def collector(server: OpcuaServer) -> str:
    return (
        f"{{type: opcua, url: '{server.url}', devices: "
        "[{device: root.m1, template: machine, nodes: {temperature: 'ns=2;s=M1.T'}}]}"
    )


@pytest.fixture
def action(server: OpcuaServer, collecting: Any) -> Any:
    with collecting(collector(server)) as edge:
        yield OpcuaWrite([Allowed(lambda: edge.collector, ["ns=2;s=M1.*", f"nsu={URI};s=M1.T"])])


def done(action: OpcuaWrite, node: str, value: Any) -> dict[str, Any]:
    arguments = {"node": node, "value": value}
    action.check(arguments)
    return action.run(arguments)


def test_a_value_is_written_in_the_node_s_own_type_and_read_back(
    server: OpcuaServer, action: OpcuaWrite
) -> None:
    assert done(action, "ns=2;s=M1.Speed", 1500) == {
        "node": "ns=2;s=M1.Speed", "written": 1500, "status": "Good", "read_back": 1500,
    }  # fmt: skip
    assert server.value("ns=2;s=M1.Speed") == 1500
    assert done(action, f"nsu={URI};s=M1.T", 42)["read_back"] == 42.0
    assert isinstance(server.value("ns=2;s=M1.T"), float)


@pytest.mark.parametrize(
    ("node", "value", "problem"),
    [
        ("ns=2;s=M1.Speed", 1.5, "whole numbers from -2147483648"),
        ("ns=2;s=M1.Speed", 1 << 31, "whole numbers from -2147483648"),
        ("ns=2;s=M1.Speed", "fast", "whole numbers from -2147483648"),
        ("ns=2;s=M1.State", "run", "BadUserAccessDenied"),
        ("ns=2;s=M1.Nobody", 1, "BadNodeIdUnknown"),
        ("ns=2;s=M1.Motor", 1, "the node cannot be read"),
    ],
)
def test_what_cannot_be_written_has_failed_and_nothing_is_done(
    server: OpcuaServer, action: OpcuaWrite, node: str, value: Any, problem: str
) -> None:
    with pytest.raises(ActionError, match=problem):
        done(action, node, value)
    assert server.value("ns=2;s=M1.Speed") == 100
    assert server.value("ns=2;s=M1.State") == "idle"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"node": "ns=2;s=M2.T", "value": 1}, "not allowed"),
        ({"node": "ns=2;s=m1.T", "value": 1}, "not allowed"),
        ({"node": "s=M1.T;ns=2", "value": 1}, "not allowed"),
        ({"node": "ns=3;s=M1.T", "value": 1}, "not allowed"),
        ({"node": "M1.T", "value": 1}, "not a node id"),
        ({"node": "ns=2;s=M1.T", "value": [1]}, "value is no number"),
        ({"node": "ns=2;s=M1.T"}, "value is no number"),
        ({"node": 5, "value": 1}, "node is missing"),
        ({"node": "ns=2;s=M1.T", "value": 1, "type": "Int32"}, "no argument 'type'"),
    ],
)
def test_what_may_not_be_written_is_refused(arguments: dict[str, Any], problem: str) -> None:
    action = OpcuaWrite([Allowed(lambda: None, ["ns=2;s=M1.*"])])
    with pytest.raises(BadRequestError, match=problem):
        action.check(arguments)


def test_without_a_session_nothing_is_done(server: OpcuaServer, configured: Any) -> None:
    (intake,) = configured(collector(server)).intakes()
    action = OpcuaWrite([Allowed(lambda: intake.collector, ["*"])])
    with pytest.raises(ActionError, match="there is no session"):
        done(action, "ns=2;s=M1.T", 1)


def test_the_configured_action_finds_its_collector(server: OpcuaServer, collecting: Any) -> None:
    config = OpcuaWriteConfig(type="opcua.write", url=server.url, nodes=("ns=2;s=M1.T",))

    class Node:
        id, actions = "edge", (config,)

    with collecting(collector(server)) as edge:
        (found,) = actions(Node(), lambda: [edge.collector])  # type: ignore[arg-type]
        assert found.run({"node": "ns=2;s=M1.T", "value": 7.5})["read_back"] == 7.5


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        (True, "Boolean", True), (255, "Byte", 255), (-128, "SByte", -128), (3.0, "UInt64", 3),
        (1, "Float", 1.0), ("a", "String", "a"), (1 << 63, "UInt64", 1 << 63),
    ],
)  # fmt: skip
def test_values_that_fit(value: Any, kind: str, fitted: Any) -> None:
    found = fit(value, ua.VariantType[kind])
    assert found == fitted
    assert type(found) is type(fitted)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "Boolean"), (256, "Byte"), (-1, "UInt16"), (True, "Int16"), (1e39, "Float"),
        (True, "Double"), (float("nan"), "Double"), (1, "String"), (1, "DateTime"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit(value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=r"takes|beyond|not written"):
        fit(value, ua.VariantType[kind])
