"""Pages that are asked for: a real server, its answers, refusals, and what is not read twice."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from msgspec import structs

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.assembly.http import page_of
from mainstem_edge.collectors.http_poll import (
    RETRY_S_MIN,
    HttpPollCollector,
)
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.page import RETRY_AFTER_S_MAX, Page, new_session, retry_after_s
from mainstem_edge.page_examination import pages
from mainstem_edge.testing.parts import NOW_NS, T0_MS
from mainstem_edge.turns import next_turn_ns
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.kinds import parse_listen
from mainstem_node.config.schema import NodeConfig, TlsConfig
from mainstem_node.declare import declare
from mainstem_node.doctor.finding import BAD, FINE
from mainstem_node.moments import parse_moments
from mainstem_node.server import server_context
from mainstem_sync.receiving.quarantine import QuarantineStore

S = 10**9
EVERY_NS = 900 * S
TIMEOUT_S = 20.0


class Weather:
    """A server: remembers requests; answers by ``answers``, the last of them for ever."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.answers: list[Callable[[], web.Response]] = []
        self.url = ""
        self.silent = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(
            (request.method, request.path_qs, dict(request.headers), await request.text())
        )
        if request.path == "/silent":
            await self.silent.wait()
        if request.path == "/cut" and request.transport is not None:
            request.transport.close()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer()


def says(body: bytes = b"{}", status: int = 200, **headers: str) -> Callable[[], web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.Response(body=body, status=status, headers=named)


@asynccontextmanager
async def serving(found: Weather, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", found.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scheme = "http" if tls is None else "https"
    found.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        found.silent.set()
        await runner.cleanup()


@pytest.fixture
async def weather() -> AsyncIterator[Weather]:
    found = Weather()
    async with serving(found):
        yield found


class Clock:
    def __init__(self) -> None:
        self.now_ns = T0_MS * 10**6 + 5 * S

    def __call__(self) -> int:
        return self.now_ns


def page(weather: Weather, path: str = "/v1", **options: Any) -> Page:
    return Page(parse_moments(weather.url + path), **options)


def poll(found: Page, clock: Clock, *, dated: bool = True, every_ns: int = EVERY_NS) -> Any:
    return HttpPollCollector(
        "poll", (), MessageQueue(100, 1 << 20), page=found, every_ns=every_ns, dated=dated,
        clock_ns=clock,
    )  # fmt: skip


async def turns(collector: Any, count: int = 1) -> list[int]:
    """When it would ask again after each turn, seconds from now."""
    found = []
    async with new_session(collector._page) as session:
        for _ in range(count):
            again_ns = await collector.turn(session) - collector.clock_ns()
            found.append(round(again_ns / S))
    return found


def bodies(collector: Any) -> list[bytes]:
    return [message.payload for message in collector.queue.take(100, 1 << 20, 0)]


async def test_an_answer_is_a_message_and_the_next_turn_is_a_multiple(weather: Weather) -> None:
    weather.answers = [says(b'{"a": 1}')]
    clock = Clock()
    collector = poll(page(weather), clock)
    assert await turns(collector) == [895]
    assert bodies(collector) == [b'{"a": 1}']
    status = collector.status()
    assert (status["state"], status["messages"], status["errors"]) == ("connected", 1, 0)
    assert status["url"] == f"{weather.url}/v1"


def test_turns() -> None:
    assert next_turn_ns(0, 10, 0) == 10
    assert next_turn_ns(9, 10, 3) == 13
    assert next_turn_ns(12, 10, 3) == 13
    assert next_turn_ns(13, 10, 3) == 23


async def test_a_pause_that_ends_early_is_not_its_turn_again(weather: Weather) -> None:
    weather.answers = [says()]
    clock = Clock()
    collector = poll(page(weather), clock)
    collector._due_ns = clock.now_ns + 895 * S
    clock.now_ns = collector._due_ns - 1000
    assert await turns(collector) == [900]
    clock.now_ns -= 86_405 * S  # a clock that was set back
    assert await turns(collector) == [5]


async def test_the_request(weather: Weather) -> None:
    weather.answers = [says(b"1"), says(b"2")]
    clock = Clock()
    collector = poll(
        page(
            weather, "/{now:date}?x=1", method="POST",
            query={"start": parse_moments("{since:minute}"), "y": parse_moments("a b&c")},
            headers={"Accept": parse_moments("application/json")},
            body=parse_moments('{"to": "{now}"}'),
            secret_query={"appid": "k3y"}, secret_headers={"X-Key": "s3cret"},
            user=("müller", "wort"),
        ),
        clock,
    )  # fmt: skip
    await turns(collector)
    clock.now_ns += EVERY_NS
    await turns(collector)
    (method, path, headers, body), (_, later, _, _) = weather.requests
    assert (method, body) == ("POST", '{"to": "2026-10-21T00:00:05Z"}')
    assert path == "/2026-10-21?x=1&start=2026-10-20T23:45&y=a+b%26c&appid=k3y"
    assert "start=2026-10-21T00:00&" in later  # when it was asked the last time
    assert (headers["Accept"], headers["X-Key"]) == ("application/json", "s3cret")
    assert headers["Authorization"] == "Basic bcO8bGxlcjp3b3J0"
    assert headers["Accept-Encoding"] == "gzip"
    shown = repr(collector._page) + json.dumps(collector.status())
    assert not any(secret in shown for secret in ("k3y", "s3cret", "wort"))


async def test_what_is_not_new_is_not_read_again(weather: Weather) -> None:
    weather.answers = [
        says(b"[1]", ETag='"a"', Last_Modified="Wed, 21 Oct 2026 00:00:00 GMT"),
        says(b"", 304), says(b"[1]"), says(b"[2]"), says(b"[2]"), says(b"[1]"),
    ]  # fmt: skip
    clock = Clock()
    collector = poll(page(weather), clock)
    assert await turns(collector, 6) == [895] * 6
    assert bodies(collector) == [b"[1]", b"[2]", b"[1]"]
    asked = [headers.get("If-None-Match") for _, _, headers, _ in weather.requests]
    assert asked == [None, '"a"', '"a"', None, None, None]
    assert weather.requests[1][2]["If-Modified-Since"] == "Wed, 21 Oct 2026 00:00:00 GMT"
    assert collector.status()["unchanged"] == 3


async def test_a_mark_is_for_its_own_url(weather: Weather) -> None:
    weather.answers = [says(b"[1]", ETag='"a"')]
    clock = Clock()
    collector = poll(page(weather, "/?t={now:s}"), clock)
    await turns(collector)
    clock.now_ns += EVERY_NS
    await turns(collector)
    assert "If-None-Match" not in weather.requests[1][2]


async def test_a_sample_at_another_time_is_news(weather: Weather) -> None:
    weather.answers = [says(b'{"a": 1}', ETag='"a"')]
    collector = poll(page(weather), Clock(), dated=False)
    await turns(collector, 3)
    assert len(bodies(collector)) == 3
    assert all("If-None-Match" not in headers for _, _, headers, _ in weather.requests)


async def test_an_empty_answer_is_none(weather: Weather) -> None:
    weather.answers = [says(b"", 204)]
    collector = poll(page(weather), Clock())
    await turns(collector)
    assert (bodies(collector), collector.health.state) == ([], "connected")


@pytest.mark.parametrize(
    ("answer", "problem", "soon"),
    [
        (says(status=500), "it answers 500 Internal Server Error", True),
        (says(status=429), "it answers 429 Too Many Requests", True),
        (says(status=404), "it answers 404 Not Found", False),
        (says(status=401), "it answers 401 Unauthorized", False),
        (says(status=304), "it answers 304 Not Modified", False),  # nobody asked for it
        (says(status=301, Location="/v2?key=k3y"), "it answers 301: the page is at http", False),
        (says(b"x" * 1001), "longer than 1000 bytes", False),
        (says(gzip.compress(b"x" * 1001), Content_Encoding="gzip"), "longer than 1000", False),
        (says(b"xx", Content_Encoding="gzip"), "the answer is not gzip", True),
        (says(gzip.compress(b"x" * 900)[:-9], Content_Encoding="gzip"), "is cut off", True),
        (says(b"xx", Content_Encoding="br"), "encoded as br", False),
    ],
)
async def test_a_refusal(
    weather: Weather, answer: Callable[[], web.Response], problem: str, soon: bool
) -> None:
    weather.answers = [answer, says(gzip.compress(b"[1]"), Content_Encoding="gzip")]
    collector = poll(page(weather, answer_bytes_max=1000), Clock())
    (pause,) = await turns(collector)
    assert (pause < 10) == soon
    assert soon or pause == 895
    status = collector.status()
    assert problem in status["last_error"]
    assert "k3y" not in status["last_error"]
    assert (status["state"], collector.state().connected_ns) == ("waiting", None)
    await turns(collector)
    assert (bodies(collector), collector.status()["last_error"]) == ([b"[1]"], None)


async def test_pauses_grow_and_the_server_may_ask_for_longer(weather: Weather) -> None:
    weather.answers = [says(status=503)]
    collector = poll(page(weather), Clock())
    pauses = await turns(collector, 12)
    assert pauses[0] <= 1.25 * RETRY_S_MIN + 1
    assert all(later > earlier for earlier, later in zip(pauses[:5], pauses[2:7], strict=True))
    assert pauses[-1] == 895
    weather.answers = [says(status=429, Retry_After="3600")]
    assert await turns(collector) == [3600]
    weather.answers = [says(status=403, Retry_After="7"), says()]
    assert await turns(collector, 2) == [895, 895]
    assert collector._failures == 0


def test_retry_after() -> None:
    assert retry_after_s(None, NOW_NS) is None
    assert retry_after_s("soon", NOW_NS) is None
    assert retry_after_s(" 120 ", NOW_NS) == 120
    assert retry_after_s("9" * 20, NOW_NS) == RETRY_AFTER_S_MAX
    assert retry_after_s("Wed, 21 Oct 2026 00:01:10 GMT", NOW_NS) == 60
    assert retry_after_s("Wed, 21 Oct 2020 00:01:10 GMT", NOW_NS) == 0


async def test_nobody_there_and_nobody_answers(weather: Weather) -> None:
    clock = Clock()
    gone = poll(Page(parse_moments("http://127.0.0.1:1/?key=k3y")), clock)
    await turns(gone)
    assert gone.health.error.startswith("cannot connect")
    weather.answers = [says()]
    slow = poll(page(weather, "/silent?key=k3y", timeout_s=0.05), clock)
    await turns(slow)
    assert slow.health.error == "no whole answer within 0.05 s"
    cut = poll(page(weather, "/cut?key=k3y"), clock)
    await turns(cut)
    assert cut.health.error.startswith("the connection failed")
    assert not any("k3y" in each.health.error for each in (gone, slow, cut))


async def test_through_a_proxy(weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    weather.answers = [says(b"[1]")]
    found = Page(parse_moments("http://weather.invalid/v1"), proxy=weather.url)
    collector = poll(found, Clock())
    await turns(collector)
    assert bodies(collector) == [b"[1]"]
    assert weather.requests[0][2]["Host"] == "weather.invalid"
    monkeypatch.setenv("HTTP_PROXY", weather.url)  # is not looked at
    straight = poll(Page(parse_moments("http://127.0.0.1:1/v1")), Clock())
    await turns(straight)
    assert straight.health.error.startswith("cannot connect")


async def test_it_asks_at_the_start_and_ends_when_told(weather: Weather) -> None:
    weather.answers = [says(b"[1]")]
    collector = poll(page(weather), Clock())
    collector.start()
    async with asyncio.timeout(TIMEOUT_S):
        while not len(collector.queue):  # noqa: ASYNC110 - it runs in a thread
            await asyncio.sleep(0.01)
    assert collector.status()["next_ms"] in (None, (T0_MS + 900_000))
    await asyncio.to_thread(collector.stop, TIMEOUT_S)
    assert collector.status()["state"] == "stopped"
    assert len(weather.requests) == 1


async def test_the_certificate_is_verified(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    await asyncio.to_thread(
        subprocess.run,
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key),
            "-out", str(cert), "-subj", "/CN=weather", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    context = server_context(TlsConfig(cert=cert, key=key))
    found = Weather()
    found.answers = [says(b"[1]")]
    async with serving(found, context):
        config = HttpPollCollectorConfig(
            type="http_poll", url=parse_moments(f"{found.url}/?key=k3y"), every=EVERY_NS
        )
        stranger = poll(page_of(config), Clock())
        await turns(stranger)
        assert stranger.health.error.startswith("its certificate is refused")
        trusting = structs.replace(config, tls=ClientTlsConfig(ca=cert))
        known = poll(page_of(trusting), Clock())
        await turns(known)
        assert bodies(known) == [b"[1]"]


FORECAST = {
    "latitude": 52.52, "longitude": 13.42, "utc_offset_seconds": 0, "timezone": "GMT",
    "hourly_units": {"time": "iso8601", "temperature_2m": "°C", "wind_speed_10m": "km/h"},
    "hourly": {
        "time": ["2026-10-20T22:00", "2026-10-20T23:00", "2026-10-21T00:00"],
        "temperature_2m": [8.4, 8.1, None], "wind_speed_10m": [5, 6.5, 7],
    },
}  # fmt: skip
PAGE = Path(__file__).resolve().parents[2] / "docs" / "collect-http.md"


async def test_the_forecast_of_the_documentation(
    weather: Weather, tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    """The example of the page, with this server in the place of the real one."""
    blocks = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    blocks = [block.partition("```")[0] for block in blocks]
    example = next(yaml.safe_load(block) for block in blocks if "open-meteo" in block)
    (section,) = example["collectors"]
    section["url"] = section["url"].replace("https://api.open-meteo.com", weather.url)
    document = {
        "templates": example["templates"],
        "nodes": [{"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                   "collectors": [section]}],
    }  # fmt: skip
    path = tmp_path / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    found = load_topology(path)
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, quarantine, clock_ns=lambda: NOW_NS)
    (intake,) = Assembly(bench).intakes()
    collector = intake.collector
    assert isinstance(collector, HttpPollCollector)
    weather.answers = [says(json.dumps(FORECAST).encode())]
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for _ in range(2):
            await collector.turn(session)
    ((_, asked, _, _), _) = weather.requests
    assert "hourly=temperature_2m,wind_speed_10m" in asked.replace("%2C", ",")
    assert "start_hour=2026-10-20T" in asked
    messages = collector.queue.take(10, 1 << 20, 0)
    place = "root.plant.outside"
    assert len(messages) == 1  # the second answer says nothing new
    intake.process(messages)
    assert await asyncio.to_thread(intake.drain, 10)
    assert [
        {name: value for name, value in row.items() if value is not None}
        for row in engine.scan("weather").read_all().to_pylist()
    ] == [
        {"device": place, "time": T0_MS - 7_200_000, "temperature": 8.4, "wind": 5.0},
        {"device": place, "time": T0_MS - 3_600_000, "temperature": 8.1, "wind": 6.5},
        {"device": place, "time": T0_MS, "wind": 7.0},
    ]  # fmt: skip
    assert not quarantine.items()


async def test_doctor_asks_each_page_once(weather: Weather, tmp_path: Path) -> None:
    weather.answers = [says(b"[1]"), says(status=404)]
    config = HttpPollCollectorConfig(
        type="http_poll", url=parse_moments(f"{weather.url}/a?key=k3y"), every=EVERY_NS
    )
    broken = structs.replace(
        config, url=parse_moments("https://127.0.0.1"), tls=ClientTlsConfig(ca=tmp_path / "none")
    )
    node = NodeConfig(
        id="edge", tier="edge", listen=parse_listen("127.0.0.1:0"), data_dir=tmp_path,
        collectors=(config, config, broken),
    )  # fmt: skip
    findings = await asyncio.to_thread(lambda: list(pages(node)))
    assert [(each.check, each.state) for each in findings] == [
        ("collectors[0]", FINE), ("collectors[1]", BAD), ("collectors[2]", BAD),
    ]  # fmt: skip
    assert findings[0].message == f"{weather.url}/a answers with 3 bytes"
    assert findings[1].message == f"{weather.url}/a: it answers 404 Not Found"
    assert findings[2].message.startswith("tls: ")
    assert len(weather.requests) == 2
