"""Commands that ask a node, against a node that answers from a script."""

from __future__ import annotations

import copy
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mainstem_node import cli

NOW = 1_792_540_860_000


class Script:
    """Answers by (method, path without query); keeps what was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self.url = ""


@pytest.fixture
def node() -> Iterator[Script]:
    script = Script()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            script.asked.append((self.command, self.path, body, self.headers.get("Authorization")))
            status, content = script.answers.get(
                (self.command, self.path.partition("?")[0]),
                (404, {"error": {"code": "NOT_FOUND", "message": "nothing there", "hint": "look"}}),
            )
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


def invoke(node: Script, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli.app, list(arguments), env={"MAINSTEM_URL": node.url, "MAINSTEM_TOKEN_FILE": None}
    )


SUMS = {"intake": {"received": 2, "accepted": 2, "filtered": 0, "quarantined": 0, "refused": 0}}
STATUS = {
    "node": "group", "tier": "group", "path": "root", "state": "live", "now": NOW, "lag_ms": 0,
    "delivery": None, "accounting": {}, "clock_offset_ms": None, "config_rev": 0,
    "completeness": [
        {"node": "edge", "table": "t", "state": "incomplete", "complete_through": NOW - 60_000,
         "holes": [[NOW - 50_000, NOW - 40_000]], "lost": []},
    ],
    "children": [
        {"node": "edge", "tier": "edge", "state": "lagging", "lag_ms": 12_000,
         "delivery": {"acked_lsn": 5, "applied_lsn": 5, "head_lsn": 9, "pending_rows": 42,
                      "pending_bytes": 4200, "oldest_pending_ms": 11_000},
         "accounting": {"t": SUMS}, "completeness": [], "children": []},
    ],
}  # fmt: skip


def test_status_shows_the_tree(node: Script) -> None:
    node.answers["GET", "/api/v1/federation"] = 200, STATUS
    answer = invoke(node, "status")
    assert answer.exit_code == 0, answer.stderr
    assert "  edge" in answer.stdout
    assert "lagging" in answer.stdout
    assert "42" in answer.stdout
    assert "t of edge: not proven" in answer.stdout


def test_status_says_what_comes_and_what_was_put_aside(node: Script) -> None:
    found: Any = copy.deepcopy(STATUS)
    found["collectors"] = [
        {"name": "mqtt-0", "state": "connected", "messages": 1200, "last_message_ms": NOW - 3000,
         "last_error": None},
        {"name": "mqtt-1", "state": "connected", "messages": 0, "last_message_ms": None,
         "last_error": None},
        {"name": "file-2", "state": "connected", "messages": 0, "last_message_ms": None,
         "last_error": "a.csv: it is no text\x1b"},
    ]  # fmt: skip
    found["now"] = NOW
    found["accounting"] = {
        name: {
            "intake": {**SUMS["intake"], "received": 2 + aside, "quarantined": aside},
            "values_quarantined": values,
        }
        for name, aside, values in (("a", 2, 5), ("b", 1, 0))
    }
    node.answers["GET", "/api/v1/federation"] = 200, found
    shown = invoke(node, "status").stdout
    assert "\nmqtt-0: connected, 1,200 messages, the last 3.0 s ago\n" in shown
    assert "\nmqtt-1: connected, no message yet\n" in shown
    assert "no message yet; newest trouble: a.csv: it is no text\\x1b\n" in shown
    assert "3 rows or messages, and 5 values of rows that are stored" in shown
    assert "mainstem quarantine list" in shown


def test_status_is_silent_about_what_is_not_there(node: Script) -> None:
    node.answers["GET", "/api/v1/federation"] = 200, STATUS
    assert "put aside" not in invoke(node, "status").stdout


def test_status_names_the_sum_that_does_not_hold(node: Script) -> None:
    broken: Any = copy.deepcopy(STATUS)
    broken["children"][0]["accounting"]["t"]["intake"]["received"] = 3
    node.answers["GET", "/api/v1/federation"] = 200, broken
    answer = invoke(node, "status", "--json")
    assert answer.exit_code == 1
    assert "edge: t: intake: received 3" in answer.stderr
    assert json.loads(answer.stdout)["problems"]


def test_an_error_of_the_node_is_passed_on(node: Script) -> None:
    from mainstem_node.errors import MissingError

    answer = invoke(node, "status")
    assert isinstance(answer.exception, MissingError)
    assert str(answer.exception) == "nothing there; look"


def test_the_token_is_sent(node: Script, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-of-many-characters\n")
    node.answers["GET", "/api/v1/federation"] = 200, STATUS
    assert invoke(node, "status", "--token-file", str(file)).exit_code == 0
    assert node.asked[0][3] == "Bearer secret-of-many-characters"


def test_node_add_prints_the_token_alone(node: Script) -> None:
    node.answers["POST", "/api/v1/nodes"] = (
        201, {"id": "e", "join_token": "msj_x", "expires": NOW, "paths": ["root.e"]},
    )  # fmt: skip
    answer = invoke(node, "node", "add", "e", "--path", "root.e", "--path", "root.f")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == "msj_x\n"
    assert "mainstem join" in answer.stderr
    assert node.asked[0][2] == {"id": "e", "paths": ["root.e", "root.f"]}


def test_node_list_and_revoke(node: Script) -> None:
    entry = {"id": "e", "state": "enrolled", "paths": ["root.e"], "uuid": "ab", "created": NOW}
    node.answers["GET", "/api/v1/nodes"] = 200, {"nodes": [entry]}
    node.answers["DELETE", "/api/v1/nodes/e"] = 200, entry
    assert "enrolled" in invoke(node, "node", "list").stdout
    assert json.loads(invoke(node, "node", "list", "--json").stdout) == {"nodes": [entry]}
    assert invoke(node, "node", "revoke", "e").stdout == "e is revoked\n"


def test_node_retire(node: Script) -> None:
    node.answers["POST", "/api/v1/nodes/e/retire"] = 200, {"id": "e", "retired": NOW}
    answer = invoke(node, "node", "retire", "e", "--from", "2026-01-01T00:00:00Z")
    assert answer.stdout.startswith("e is retired from ")
    assert node.asked[0][2] == {"from": "2026-01-01T00:00:00Z"}
    shown = invoke(node, "node", "retire", "e", "--json").stdout
    assert json.loads(shown)["retired"] == NOW


def test_tokens(node: Script) -> None:
    entry = {"id": "12", "name": "ann", "role": "read", "created": NOW, "expires": None}
    node.answers["POST", "/api/v1/tokens"] = 201, {**entry, "token": "mst_x"}
    node.answers["GET", "/api/v1/tokens"] = 200, {"tokens": [entry]}
    node.answers["DELETE", "/api/v1/tokens/12"] = 200, entry
    made = invoke(node, "token", "create", "ann", "--expires", "90d")
    assert made.stdout == "mst_x\n"
    assert node.asked[0][2] == {"name": "ann", "role": "read", "expires": "90d"}
    assert "never" in invoke(node, "token", "list").stdout
    assert "12 (ann) is revoked" in invoke(node, "token", "revoke", "12").stdout


def test_quarantine(node: Script) -> None:
    item = {"id": "1", "node": "e", "table": "t", "device": "root.e.d", "time": NOW,
            "measurement": "m", "reason": "range", "value": "x" * 200, "at": NOW}  # fmt: skip
    node.answers["GET", "/api/v1/quarantine"] = 200, {"items": [item], "bytes": 1234}
    answer = invoke(node, "quarantine", "list", "--limit", "5", "--node", "e")
    assert "range" in answer.stdout
    assert "..." in answer.stdout
    assert node.asked[0][1] == "/api/v1/quarantine?limit=5&node=e"
    assert json.loads(invoke(node, "quarantine", "list", "--json").stdout)["bytes"] == 1234


def test_quarantine_is_shown_retried_dropped_and_exported(node: Script, tmp_path: Path) -> None:
    item = {"id": "1", "node": "e", "table": "t", "device": "root.e.d", "time": NOW,
            "measurement": "m", "reason": "range", "value": None, "at": NOW}  # fmt: skip
    node.answers["GET", "/api/v1/quarantine"] = 200, {"items": [item], "bytes": 1234}
    node.answers["GET", "/api/v1/quarantine/1"] = 200, item
    node.answers["DELETE", "/api/v1/quarantine/1"] = 200, {"id": "1", "state": "dropped"}
    results = [{"id": "1", "state": "kept", "message": "still"}]
    node.answers["POST", "/api/v1/quarantine/retry"] = 200, {"results": results}
    assert "root.e.d" in invoke(node, "quarantine", "show", "1").stdout
    assert json.loads(invoke(node, "quarantine", "show", "1", "--json").stdout) == item
    assert invoke(node, "quarantine", "drop", "1").stdout == "1 dropped\n"
    kept = invoke(node, "quarantine", "retry", "1")
    assert (kept.exit_code, node.asked[-1][2]) == (1, {"ids": ["1"]})
    results[0]["state"] = "retried"
    assert invoke(node, "quarantine", "retry", "--all", "--table", "t").exit_code == 0
    assert invoke(node, "quarantine", "retry").exit_code == 2
    file = tmp_path / "out.csv"
    done = invoke(node, "quarantine", "export", str(file), "--format", "csv", "--below")
    assert done.exit_code == 0
    assert "below=1" in node.asked[-1][1]
    assert file.read_text().splitlines()[1] == f"1,e,t,root.e.d,{NOW},m,range,null,{NOW}"
    lines = invoke(node, "quarantine", "export").stdout
    assert json.loads(lines) == item
    assert invoke(node, "quarantine", "export", "--format", "xml").exit_code == 2


def test_trace(node: Script) -> None:
    found: dict[str, Any] = {
        "device": "root.e.d", "measurement": "m", "time": NOW,
        "versions": [{"node": "e", "epoch": 0, "lsn": 7, "value": 1.5}],
        "hops": [{"node": "e", "received": NOW, "acked": None}],
        "rollups": [{"table": "t_1m", "from": NOW, "to": NOW + 60_000}],
    }  # fmt: skip
    node.answers["GET", "/api/v1/trace"] = 200, found
    answer = invoke(node, "trace", "root.e.d", "m", "--at", str(NOW))
    assert answer.exit_code == 0, answer.stderr
    for text in ("root.e.d.m", "1.5", "t_1m"):
        assert text in answer.stdout
    assert node.asked[0][1] == f"/api/v1/trace?device=root.e.d&measurement=m&at={NOW}"
    shown = invoke(node, "trace", "root.e.d", "m", "--at", "0", "--json").stdout
    assert json.loads(shown) == found
    found["versions"] = []
    assert invoke(node, "trace", "root.e.d", "m", "--at", "0").exit_code == 1


def test_verify(node: Script) -> None:
    whole = {"from": 0, "to": NOW, "judged": 3, "verified": 3, "slices": []}
    node.answers["GET", "/api/v1/verify"] = 200, whole
    assert invoke(node, "verify").stdout == "3 of 3 due slices are verified\n"
    piece = {"node": "e", "table": "t", "from": 0, "to": 60_000, "state": "PENDING", "count": 4,
             "reason": "records are to come"}  # fmt: skip
    node.answers["GET", "/api/v1/verify"] = 200, {**whole, "verified": 2, "slices": [piece]}
    answer = invoke(node, "verify", "--from", "0", "--wait", "0.01")
    assert answer.exit_code == 1
    assert "PENDING" in answer.stdout


def test_verify_names_the_points_that_differed(
    node: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_node.commands.verify.NAMING_S", 0.0)
    piece = {"node": "e", "table": "t", "from": 0, "to": 60_000, "state": "MISMATCH", "count": 4,
             "reason": "one row less"}  # fmt: skip
    point = {"node": "e", "table": "t", "device": "root.e.d7", "measurement": "m", "time": 5000,
             "what": "missing", "here": None, "owner": 1.5, "at": NOW}  # fmt: skip
    found = {"from": 0, "to": NOW, "judged": 1, "verified": 0, "slices": [piece], "points": [point]}
    node.answers["GET", "/api/v1/verify"] = 200, found
    answer = invoke(node, "verify")
    assert answer.exit_code == 1
    for text in ("MISMATCH", "root.e.d7", "missing", "1.5"):
        assert text in answer.stdout
    assert json.loads(invoke(node, "verify", "--json").stdout) == found
    # Repaired by now: named all the same, and nothing is wrong.
    repaired = {**found, "verified": 1, "slices": []}
    node.answers["GET", "/api/v1/verify"] = 200, repaired
    answer = invoke(node, "verify")
    assert answer.exit_code == 0
    assert "root.e.d7" in answer.stdout


ANSWER = {
    "columns": [{"name": "time", "type": "TIMESTAMP", "unit": "ms", "zone": "UTC"},
                {"name": "v", "type": "DOUBLE", "unit": "degC", "zone": None}],
    "rows": [[NOW, 0.1], [NOW + 1, None], [NOW + 2, "NaN"]],
    "row_count": 3, "elapsed_ms": 1.5, "rows_affected": None, "warnings": ["look"],
    "completeness": [{"node": "e", "table": "t", "state": "incomplete", "holes": [[1, 2]]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [
        ("csv", f"time,v\n{NOW},0.1\n{NOW + 1},\n{NOW + 2},NaN\n"),
        ("table", "v [degC]"),
        ("json", '"row_count": 3'),
    ],
)
def test_sql_formats(node: Script, output_format: str, expected: str) -> None:
    node.answers["POST", "/api/v1/sql"] = 200, ANSWER
    answer = invoke(node, "sql", "--format", output_format, "--database", "root.x", "SELECT 1")
    assert answer.exit_code == 0, answer.stderr
    assert expected in answer.stdout
    assert "warning: look" in answer.stderr
    assert "t of e: incomplete, 1 hole" in answer.stderr
    body = node.asked[0][2]
    assert body["database"] == "root.x"
    assert body["time_format"] == ("rfc3339" if output_format == "table" else "integer")


def test_sql_reads_a_statement_from_standard_input(node: Script) -> None:
    node.answers["POST", "/api/v1/sql"] = 200, {**ANSWER, "columns": [], "rows": [],
                                               "rows_affected": 2}  # fmt: skip
    answer = CliRunner().invoke(
        cli.app, ["sql"], input="INSERT ...", env={"MAINSTEM_URL": node.url}
    )
    assert answer.stdout == "2 rows written\n"
    assert node.asked[0][2]["sql"] == "INSERT ..."


def test_sql_writes_a_file(node: Script, tmp_path: Path) -> None:
    node.answers["POST", "/api/v1/sql"] = 200, ANSWER
    file = tmp_path / "out.csv"
    answer = invoke(node, "sql", "--format", "csv", "--output", str(file), "SELECT 1")
    assert answer.stdout == ""
    assert file.read_text().startswith("time,v\n")


def test_join_puts_the_credential_where_the_topology_wants_it(node: Script, tmp_path: Path) -> None:
    node.answers["POST", "/api/v1/nodes/join"] = (
        200, {"id": "e", "paths": ["root.e"], "token": "msl_" + "x" * 40, "parent": "g",
              "federation": "f"},
    )  # fmt: skip
    file = tmp_path / "edge.yaml"
    file.write_text(
        "nodes:\n  - {id: e, tier: edge, listen: 127.0.0.1:1, data_dir: data, paths: [root.e],"
        f" parent: {{node: g, url: '{node.url}', token_file: secrets/e}}}}\n"
    )
    token = tmp_path / "join.token"
    token.write_text("msj_abc\n")
    answer = invoke(node, "join", "-c", str(file), "--token-file", str(token))
    assert answer.exit_code == 0, (answer.stderr, answer.exception)
    assert answer.stdout == "e is enrolled at g for root.e\n"
    credential = tmp_path / "secrets" / "e"
    assert credential.read_text().strip() == "msl_" + "x" * 40
    assert credential.stat().st_mode & 0o077 == 0
    sent = node.asked[0][2]
    identity = json.loads((tmp_path / "data" / "identity.json").read_text())
    assert sent == {"token": "msj_abc", "uuid": identity["node_uuid"]}


def test_a_backup_is_made_by_the_node(node: Script) -> None:
    report = {
        "path": "/backups/monday", "files": 7, "bytes": 2_000_000, "linked": 4, "parts": 3,
        "checkpoint_lsn": 60, "durable_lsn": 65, "still_ns": 9,
    }  # fmt: skip
    node.answers["POST", "/api/v1/backup"] = 201, report
    answer = invoke(node, "backup", "monday")
    assert answer.exit_code == 0, answer.stderr
    assert node.asked[0][2] == {"name": "monday"}
    assert "/backups/monday" in answer.stdout
    assert json.loads(invoke(node, "backup", "monday", "--json").stdout) == report


def test_unknown_devices_are_shown_adopted_and_ignored(node: Script) -> None:
    suggestion = {"template": "room", "exists": False, "score": 0.0, "yaml": "templates: {}\n"}
    unknown = {"id": "k1", "name": "z2m/hall", "rows": 1200, "last_seen": NOW,
               "reasons": {"unknown_topic": 1200}, "suggestion": suggestion}  # fmt: skip
    ignored = {"id": "k2", "name": "noise", "rows": 7}
    node.answers["GET", "/api/v1/devices/inbox"] = 200, {
        "devices": [unknown], "more": True, "ignored": [ignored],
    }  # fmt: skip
    shown = invoke(node, "device", "inbox")
    assert shown.exit_code == 0, shown.stderr
    assert "1,200" in shown.stdout
    for text in ("there are more", "k2 noise, 7 rows", "templates: {}"):
        assert text in shown.stderr
    assert json.loads(invoke(node, "device", "inbox", "--json").stdout)["devices"] == [unknown]
    answer = {"device": "root.p.hall", "template": "room", "template_made": True, "rows": 1200,
              "left": 0}  # fmt: skip
    adopt = "/api/v1/devices/inbox/k1/adopt"
    node.answers["POST", adopt] = 200, answer
    done = invoke(node, "device", "adopt", "k1", "--as", "root.p.hall", "--tag", "line=A=1")
    assert (done.exit_code, done.stdout) == (0, "root.p.hall of room (new): 1,200 rows stored\n")
    sent = {"template": None, "device": "root.p.hall", "tags": {"line": "A=1"}}
    assert node.asked[-1][:3] == ("POST", adopt, sent)
    node.answers["POST", adopt] = 200, {**answer, "left": 2}
    assert invoke(node, "device", "adopt", "k1").exit_code == 1
    assert invoke(node, "device", "adopt", "k1", "--tag", "line").exit_code == 2
    ignore = "/api/v1/devices/inbox/k1/ignore"
    node.answers["POST", ignore] = 200, {"id": "k1", "name": "z2m/hall", "forgotten": 3}
    assert "3 rows forgotten" in invoke(node, "device", "ignore", "k1").stdout
    assert invoke(node, "device", "ignore", "k1", "--undo").exit_code == 0
    assert node.asked[-1][:3] == ("POST", ignore, {"ignore": False})


def test_alarms_of_rules_are_listed_and_acknowledged(node: Script) -> None:
    alarm = {
        "id": "root.p.m1.alarms.hot", "state": "active_unacknowledged", "severity": "critical",
        "since": NOW, "changed": NOW, "message": "too hot", "acknowledged_by": None,
        "comment": None,
    }  # fmt: skip
    node.answers["GET", "/api/v1/alarms"] = 200, {"alarms": [alarm], "total": 3}
    shown = invoke(node, "alarm", "list", "--state", "active", "--from", "5")
    assert (shown.exit_code, "too hot" in shown.stdout) == (0, True), shown.stderr
    assert "3 in all" in shown.stderr
    asked = node.asked[-1][1].partition("?")[2].split("&")
    assert set(asked) == {"source=rules", "state=active", "from=5", "limit=50"}
    assert json.loads(invoke(node, "alarm", "list", "--json").stdout)["alarms"] == [alarm]
    place = "/api/v1/alarms/root.p.m1.alarms.hot/ack"
    answer = {"alarm": {**alarm, "state": "active_acknowledged"}, "command": None}
    node.answers["POST", place] = 200, answer
    done = invoke(node, "alarm", "ack", "root.p.m1.alarms.hot", "-m", "valve")
    assert done.stdout == "root.p.m1.alarms.hot: active_acknowledged\n"
    assert node.asked[-1][:3] == ("POST", place, {"comment": "valve"})
    node.answers["POST", place] = 202, {"alarm": alarm, "command": {"id": "c1", "node": "edge"}}
    done = invoke(node, "alarm", "ack", "root.p.m1.alarms.hot")
    assert done.stdout == "root.p.m1.alarms.hot: edge is told\n"
    assert json.loads(invoke(node, "alarm", "ack", "root.p.m1.alarms.hot", "--json").stdout)[
        "command"
    ]
