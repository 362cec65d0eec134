"""What a node shows of its data: templates, devices, last values, series, events, status, page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_node.api import ROUTES
from mainstem_node.api.series import min_max
from mainstem_node.node import Node
from mainstem_node.service_manager import STUCK_S, Progress

T0 = 1_700_000_040_000
STATUS_KEYS = {
    "node", "tier", "path", "state", "now", "lag_ms", "delivery", "completeness", "accounting",
    "clock_offset_ms", "config_rev", "buffer", "durability", "last_fsync_error", "drops",
    "children",
}  # fmt: skip


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_health_ready_and_ping(http: aiohttp.ClientSession) -> None:
    assert (await get(http, "/health"))["status"] == "up"
    assert await get(http, "/ready") == {"status": "ready", "reasons": []}
    async with http.get("/ping") as answer:
        assert answer.status == 204


async def test_ready_says_why_not(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node._reporter, "log_error", lambda: "no space left")
    async with http.get("/ready") as answer:
        assert answer.status == 503
        assert (await answer.json())["reasons"] == ["the log failed: no space left"]
    assert (await get(http, "/health"))["status"] == "up"
    status = await get(http, "/api/v1/status")
    assert (status["last_fsync_error"], status["state"]) == ("no space left", "stale")


async def test_a_node_that_stands_still_is_not_ready(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records wait, and the log has not moved for a minute: whoever asks from outside hears it."""
    now_s = 1000.0
    monkeypatch.setattr(node, "_progress", Progress(monotonic=lambda: now_s))
    log = node.engine.log.statistics()
    waiting = replace(log, appended_lsn=log.committed_lsn + 1)
    monkeypatch.setattr(node.engine.log, "statistics", lambda: waiting)
    assert (await get(http, "/ready"))["reasons"] == []
    now_s += STUCK_S + 1
    async with http.get("/ready") as answer:
        assert answer.status == 503
        (reason,) = (await answer.json())["reasons"]
        assert "the committer stands still" in reason


async def test_the_status_object_has_the_keys_of_the_contract(
    filled: aiohttp.ClientSession,
) -> None:
    for path in ("/api/v1/status", "/api/v1/federation"):
        status = await get(filled, path)
        assert set(status) >= STATUS_KEYS
    assert (status["node"], status["tier"], status["path"]) == ("edge", "edge", "root.plant.edge")
    assert (status["state"], status["delivery"], status["durability"]) == ("live", None, "always")
    assert set(status["buffer"]) >= {"used_bytes", "limit_bytes", "written_bytes_per_day"}
    assert status["buffer"]["bytes_per_row"] is None  # too few rows to say
    assert status["buffer"]["used_bytes"] > 0
    assert status["buffer"]["written_bytes"] >= 0
    assert status["accounting"]["pump"]["log"]["logged"] == 300


async def test_templates(filled: aiohttp.ClientSession) -> None:
    found = (await get(filled, "/api/v1/templates"))["templates"]
    assert [t["name"] for t in found] == ["pump"]
    assert found[0]["measurements"][0]["unit"] == "l/min"
    assert found[0]["devices"] == 2


async def test_devices_by_template_path_and_page(filled: aiohttp.ClientSession) -> None:
    found = await get(filled, "/api/v1/devices?limit=1")
    assert [d["path"] for d in found["devices"]] == ["root.plant.edge.p1"]
    assert found["more"]
    assert found["devices"][0]["tags"] == {"line": "p1"}
    after = found["devices"][-1]["id"]
    found = await get(filled, f"/api/v1/devices?limit=1&after={after}")
    assert [d["path"] for d in found["devices"]] == ["root.plant.edge.p2"]
    assert not found["more"]
    assert (await get(filled, "/api/v1/devices?under=root.other"))["devices"] == []
    found = await get(filled, "/api/v1/devices?filter=EDGE.P2&template=pump")
    assert len(found["devices"]) == 1
    for query, status in (("template=no", 404), ("limit=0", 400), ("limit=x", 400)):
        async with filled.get(f"/api/v1/devices?{query}") as answer:
            assert answer.status == status


async def test_last_values(filled: aiohttp.ClientSession) -> None:
    found = await get(filled, "/api/v1/last?filter=p2")
    values = {v["measurement"]: v for v in found["values"]}
    assert values["flow"]["value"] == 74.5
    assert values["flow"]["unit"] == "l/min"
    assert values["flow"]["time"] == T0 + 149_000
    assert "note" not in values
    assert (await get(filled, "/api/v1/last?limit=1"))["more"]


async def test_a_series_is_thinned_but_keeps_its_peaks(filled: aiohttp.ClientSession) -> None:
    query = (
        f"signals=root.plant.edge.p1.flow,root.plant.edge.p1.running&from={T0}&to={T0 + 150_000}"
    )
    found = await get(filled, f"/api/v1/series?{query}")
    flow, running = found["series"]
    assert flow["time"] == [T0 + 1000 * n for n in range(150)]
    assert (flow["downsampled"], flow["unit"], flow["rows"]) == (False, "l/min", 150)
    assert set(running["value"]) == {0, 1}
    found = await get(filled, f"/api/v1/series?{query}&points=20")
    flow = found["series"][0]
    assert flow["downsampled"]
    assert len(flow["time"]) <= 20
    assert (min(flow["value"]), max(flow["value"])) == (0.0, 74.5)
    assert flow["time"] == sorted(flow["time"])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400), ("signals=root.plant.edge.p1.nope", 404), ("signals=root.none.flow", 404),
        ("signals=flow", 400), ("signals=root.plant.edge.p1.note", 400),
        ("signals=root.plant.edge.p1.flow&points=1", 400),
        ("signals=root.plant.edge.p1.flow&from=5&to=5", 400),
        ("signals=root.plant.edge.p1.flow&from=yesterday", 400),
        ("signals=root.plant.edge.p1.flow&from=2026-10-03T06:00:00", 400),
        ("signals=" + ",".join(f"root.a.d{n}.flow" for n in range(300)), 400),
    ],
)  # fmt: skip
async def test_series_that_cannot_be_drawn(
    filled: aiohttp.ClientSession, query: str, status: int
) -> None:
    async with filled.get(f"/api/v1/series?{query}") as answer:
        assert answer.status == status, await answer.text()


@given(
    st.lists(st.tuples(st.floats(), st.integers(0, 3)), min_size=1, max_size=60).map(
        lambda rows: sorted(rows, key=lambda row: row[1])
    )
)
@settings(max_examples=100, deadline=None)
def test_thinning_keeps_the_extremes_of_every_bucket(rows: list[tuple[float, int]]) -> None:
    value = np.array([row[0] for row in rows])
    bucket = np.array([row[1] for row in rows])
    time = np.arange(len(rows), dtype=np.int64)
    kept_time, kept = min_max(time, value, bucket)
    assert np.all(np.diff(kept_time) > 0)
    for number in set(bucket.tolist()):
        inside = value[bucket == number]
        shown = kept[bucket[kept_time] == number]
        assert 1 <= len(shown) <= 2
        if not np.isnan(inside).all():
            assert np.nanmin(shown) == np.nanmin(inside)
            assert np.nanmax(shown) == np.nanmax(inside)


async def read_events(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    name = ""
    async for line in answer.content:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            found.append((name, json.loads(line[6:])))
            if len(found) == count:
                break
    return found


async def test_the_status_is_pushed(node: Node, http: aiohttp.ClientSession) -> None:
    node.runtime.live._tick_s = 0.01
    async with http.get("/api/v1/live") as answer:
        assert answer.content_type == "text/event-stream"
        events = await read_events(answer, 3)
    assert [name for name, _ in events] == ["status"] * 3
    assert set(events[0][1]) >= STATUS_KEYS


async def test_new_values_of_signals_are_pushed(node: Node, filled: aiohttp.ClientSession) -> None:
    node.runtime.live._tick_s = 0.01
    path = "/api/v1/live?signals=root.plant.edge.p1.flow,root.plant.edge.p2.count"
    async with filled.get(path) as answer:
        (name, first), (_, second) = await read_events(answer, 2)
        assert name == "values"
        assert {(v["signal"], v["value"]) for v in first} == {
            ("root.plant.edge.p1.flow", 74.5), ("root.plant.edge.p2.count", 149),
        }  # fmt: skip
        assert second == []
        group = {"template": "pump", "device": "root.plant.edge.p1",
                 "rows": [{"time": T0 + 200_000, "flow": 9.5}]}  # fmt: skip
        async with filled.post("/api/v1/write", json=group) as written:
            assert written.status == 200
        changed: list[Any] = []
        while not changed:
            ((_, changed),) = await read_events(answer, 1)
    assert changed == [{"signal": "root.plant.edge.p1.flow", "time": T0 + 200_000, "value": 9.5}]


async def test_signals_that_do_not_exist_are_an_error_not_a_stream(
    http: aiohttp.ClientSession,
) -> None:
    async with http.get("/api/v1/live?signals=root.none.flow") as answer:
        assert answer.status == 404


async def test_streams_end_with_the_node(start_node: Any) -> None:
    node = await start_node()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        answer = await http.get("/api/v1/live")
        await read_events(answer, 1)
        assert node.runtime.live.listeners == 1
        await node.stop()
        await answer.read()
        answer.close()


async def test_too_many_streams_are_refused(
    node: Node, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstem_node.live.LISTENERS_MAX", 0)
    async with http.get("/api/v1/live") as answer:
        assert answer.status == 503


async def test_metrics_agree_with_the_status(filled: aiohttp.ClientSession) -> None:
    async with filled.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await answer.text()
    assert 'mainstem_accounting_rows{sum="log",table="pump",term="logged"} 300.0' in text
    assert 'mainstem_state{node="edge",state="live"} 1.0' in text
    assert "mainstem_event_loop_lag_seconds_bucket" in text
    assert re.search(r"^mainstem_written_bytes_total \d", text, re.M)
    pattern = re.compile(r'mainstem_http_requests_total\{.*route="/api/v1/write".*\} 1\.0')
    assert pattern.search(text)
    assert "root.plant" not in text


async def test_openapi_names_every_route_with_its_role(http: aiohttp.ClientSession) -> None:
    document = await get(http, "/api/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        assert operation["x-role"] == route.role
        assert bool(operation["security"]) == (route.role is not None)
        assert ("requestBody" in operation) == bool(route.media)
    text = json.dumps(document)
    for reference in re.findall(r"#/components/schemas/(\w+)", text):
        assert reference in document["components"]["schemas"]


async def test_the_page_is_three_files_without_inline_script(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        html = await answer.text()
        tag = answer.headers["ETag"]
    assert "<script src=" in html
    assert not re.search(r"<script(?![^>]*src=)|<style| on\w+=|style=|https?://", html)
    for name in re.findall(r'(?:src|href)="([\w.]+)"', html):
        async with http.get(f"/{name}") as answer:
            assert answer.status == 200
            assert "innerHTML" not in await answer.text()
    async with http.get("/", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


def test_every_id_that_the_script_uses_is_in_the_page() -> None:
    static = Path(__file__).resolve().parents[2] / "node/mainstem_node/static"
    script = (static / "app.js").read_text("utf-8")
    page = (static / "index.html").read_text("utf-8")
    used = set(re.findall(r'\$\("([\w-]+)"\)', script))
    assert used
    assert used <= set(re.findall(r'id="([\w-]+)"', page))
