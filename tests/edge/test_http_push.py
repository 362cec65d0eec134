"""Devices that post: to a real edge over HTTP, in their own formats, with their own secrets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from mainstem_edge.collectors import http_push
from mainstem_edge.collectors.http_push import HttpPushCollector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.push_place import PushPlace
from mainstem_edge.collectors.push_proof import Proof, TokenProof
from mainstem_edge.intake import Intake
from mainstem_edge.node import EdgeNode
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import T0_MS, subscription
from mainstem_engine.engine import Engine
from mainstem_node.config import load_topology
from mainstem_node.errors import ApiError, BadRequestError, UnavailableError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "collect-http.md"
MakeIntake = Callable[..., Intake]
SECRETS = {"TOKEN": "t0ken", "PASSWORD": "pässword", "SECRET": "s3cret"}
READ = {"template": "scale", "device": "root.plant.{path[0]}"}
COLLECTORS: list[dict[str, Any]] = [
    {
        "name": "scales", "template": "scale", "device": "root.plant.{query.id}.{path[0]}",
        "tags": {"line": "{header.X-Line}"}, "message_limit": "1KiB",
    },
    {"name": "csv", "codec": "csv", "sender": {"token": "${TOKEN}"}, **READ},
    {"name": "key", "sender": {"token": "${TOKEN}", "header": "X-Api-Key"}, **READ},
    {"name": "basic", "sender": {"username": "müller", "password": "${PASSWORD}"}, **READ},
    {
        "name": "signed",
        "sender": {"signature": {"secret": "${SECRET}", "prefix": "sha256="}}, **READ,
    },
    {
        "name": "signed64",
        "sender": {"signature": {
            "secret": "${SECRET}", "header": "X-Hmac", "hash": "sha512", "encoding": "base64"}},
        **READ,
    },
    {"name": "lines", "codec": "line_protocol"},
    {"name": "values", "codec": "raw", **READ},
    {"name": "few", "per_minute": 2, **READ},
]  # fmt: skip


def edge(place: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> EdgeNode:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    document = {
        "templates": {
            "scale": {
                "tags": {"line": "TEXT"},
                "measurements": {"weight": {"type": "DOUBLE"}, "stable": {"type": "BOOLEAN"}},
            },
            "press": {
                "tags": {"place": "TEXT"},
                "measurements": {
                    "grams": {"type": "DOUBLE", "from": "kilos", "scale": 1000, "range": [0, 5000]}
                },
            },
        },
        "nodes": [
            {
                "id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                "auth": {"loopback": "open"}, "clock": {"past": "2010-01-01", "future": "36500d"},
                "collectors": [{"type": "http_push", **each} for each in COLLECTORS], **options,
            }
        ],
    }  # fmt: skip
    path = place / "topology.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = load_topology(path)
    return EdgeNode(topology, topology.nodes[0])


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EdgeNode]:
    async with AsyncExitStack() as stack:
        found = edge(tmp_path, monkeypatch)
        stack.push_async_callback(found.stop)
        await found.start()
        yield found


@pytest.fixture
async def http(node: EdgeNode) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://127.0.0.1:{node.port}/collect/v1/"
    async with aiohttp.ClientSession(base) as session:
        yield session


def rows(node: EdgeNode, template: str = "scale") -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in node.engine.scan(template).read_all().to_pylist()
    ]


async def post(
    http: aiohttp.ClientSession, path: str, body: Any, **options: Any
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(path, data=data, **options) as answer:
        return answer.status, {**await answer.json(), "headers": dict(answer.headers)}


async def test_what_was_answered_is_stored(node: EdgeNode, http: aiohttp.ClientSession) -> None:
    line = {"X-Line": "l1"}
    sent = {"ts": T0_MS, "weight": 12.5}
    for _ in range(2):  # a sender that heard nothing sends again
        status, body = await post(http, "scales/s1?id=hall", sent, headers=line)
        assert (status, body["stored"]) == (200, True)
    packed = gzip.compress(json.dumps({"ts": T0_MS + 1, "weight": 13}).encode())
    headers = {**line, "Content-Encoding": "gzip"}
    assert (await post(http, "scales/s1?id=hall", packed, headers=headers))[0] == 200
    assert rows(node) == [
        {"device": "root.plant.hall.s1", "time": T0_MS, "weight": 12.5, "line": "l1"},
        {"device": "root.plant.hall.s1", "time": T0_MS + 1, "weight": 13.0, "line": "l1"},
    ]
    status = next(each for each in node.status_fields()["collectors"] if each["messages"])
    assert (status["name"], status["path"]) == ("http_push-0", "/collect/v1/scales")
    assert (status["state"], status["messages"], status["waiting"]) == ("connected", 3, 0)


async def test_a_key_makes_a_request_that_is_sent_again_the_same(
    node: EdgeNode, http: aiohttp.ClientSession
) -> None:
    """Rows that take their time of arrival would be there twice."""
    headers = {"Idempotency-Key": "k1"}
    for _ in range(2):
        assert (await post(http, "values/v/weight", b"1", headers=headers))[0] == 200
    assert len(rows(node)) == 1
    assert (await post(http, "values/v/weight", b"2", headers=headers))[0] == 422
    assert (await post(http, "values/w/weight", b"1", headers=headers))[0] == 200
    assert (await post(http, "few/v", BODY, headers=headers))[0] == 200
    assert len(rows(node)) == 3


async def test_other_formats(node: EdgeNode, http: aiohttp.ClientSession) -> None:
    token = {"Authorization": "Token t0ken"}
    lines = b"ts;weight;stable\n2026-10-21T00:00:00Z;5,5;true\n2026-10-21T00:00:01Z;6;false\n"
    assert (await post(http, "csv/c", lines, headers=token))[0] == 200
    assert (await post(http, "values/v/weight", b"7.5"))[0] == 200
    assert (await post(http, "values/v/stable", b"on"))[0] == 200
    assert (await post(http, "lines", b"oven,place=a t=5 1792540800000000000"))[0] == 200
    assert [(row["device"], row.get("weight"), row.get("stable")) for row in rows(node)] == [
        ("root.plant.c", None, True), ("root.plant.c", 6.0, False),
        ("root.plant.v", 7.5, None), ("root.plant.v", None, True),
    ]  # fmt: skip
    (made,) = rows(node, "oven")
    assert (made["device"], made["t"], made["time"]) == ("root.main.oven.a", 5.0, T0_MS)
    aside = node.federation.quarantine.items()
    assert [(item["measurement"], item["reason"]) for item in aside] == [("weight", "wrong_type")]


async def test_lines_that_a_collector_takes_are_preprocessed(
    node: EdgeNode, http: aiohttp.ClientSession
) -> None:
    lines = (
        b"press,place=a kilos=1.5 1792540800000000000\npress,place=a kilos=99 1792540801000000000"
    )
    assert (await post(http, "lines", lines))[0] == 200
    assert [(row["device"], row.get("grams")) for row in rows(node, "press")] == [
        ("root.main.press.a", 1500.0)
    ]
    aside = node.federation.quarantine.items()
    assert [(item["measurement"], item["reason"]) for item in aside] == [("grams", "out_of_range")]


async def test_what_cannot_be_read_is_kept_and_not_sent_again(
    node: EdgeNode, http: aiohttp.ClientSession
) -> None:
    assert (await post(http, "few/s", b'{"weight": '))[0] == 200
    assert [item["reason"] for item in node.federation.quarantine.items()] == ["malformed"]


def basic(user: str, password: str) -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


BODY = json.dumps({"ts": T0_MS, "weight": 1}).encode()
SIGNATURE = hmac.new(b"s3cret", BODY, hashlib.sha256).hexdigest()
SIGNATURE_64 = base64.b64encode(hmac.new(b"s3cret", BODY, hashlib.sha512).digest()).decode()


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("key", {"X-Api-Key": "t0ken"}),
        ("basic", basic("müller", "pässword")),
        ("signed", {"X-Signature": f"sha256={SIGNATURE}"}),
        ("signed", {"X-Signature": f"sha256={SIGNATURE.upper()}"}),
        ("signed64", {"X-Hmac": SIGNATURE_64}),
    ],
)
async def test_a_known_sender(
    node: EdgeNode, http: aiohttp.ClientSession, name: str, headers: dict[str, str]
) -> None:
    assert (await post(http, f"{name}/s", BODY, headers=headers))[0] == 200
    assert [row["weight"] for row in rows(node)] == [1.0]


async def test_an_unknown_sender(node: EdgeNode, http: aiohttp.ClientSession) -> None:
    wrong: list[tuple[str, dict[str, str], str]] = [
        ("csv", {}, "Bearer"), ("csv", {"Authorization": "Bearer t0keN"}, "Bearer"),
        ("csv", {"X-Api-Key": "t0ken"}, "Bearer"), ("csv", {"Authorization": "Digest x"}, "Bearer"),
        ("key", {"Authorization": "Bearer t0ken"}, "Bearer"), ("key", {"X-Api-Key": ""}, "Bearer"),
        ("basic", basic("müller", "password"), "Basic"), ("basic", basic("x", "pässword"), "Basic"),
        ("basic", {"Authorization": "Basic =%"}, "Basic"),
        ("signed", {"X-Signature": SIGNATURE}, "Signature"), ("signed", {}, "Signature"),
        ("signed64", {"X-Hmac": SIGNATURE_64[:-4]}, "Signature"),
    ]  # fmt: skip
    for name, headers, challenge in wrong:
        status, body = await post(http, f"{name}/s", BODY, headers=headers)
        assert (status, body["error"]["code"]) == (401, "UNAUTHORIZED"), (name, headers)
        assert body["headers"]["WWW-Authenticate"].startswith(challenge)
    tampered = BODY.replace(b"1}", b"2}")
    signed = {"X-Signature": f"sha256={SIGNATURE}"}
    assert (await post(http, "signed/s", tampered, headers=signed))[0] == 401
    assert rows(node) == []
    refused = {each["path"]: each["refused"] for each in node.status_fields()["collectors"]}
    assert refused["/collect/v1/csv"] == {"unauthorized": 4}


async def test_without_a_secret_of_its_own_the_node_s_credentials_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        node = edge(tmp_path, monkeypatch, auth={})
        stack.push_async_callback(node.stop)
        await node.start()
        tokens = node.authenticator.tokens
        _, writer = tokens.create("scale", "write")
        _, reader = tokens.create("eye", "read")
        http = await stack.enter_async_context(
            aiohttp.ClientSession(f"http://127.0.0.1:{node.port}/collect/v1/")
        )
        assert (await post(http, "values/v/weight", b"1"))[0] == 401
        as_reader = {"Authorization": f"Bearer {reader}"}
        assert (await post(http, "values/v/weight", b"1", headers=as_reader))[0] == 403
        assert (await post(http, "values/v/weight", b"1", headers=basic("scale", writer)))[0] == 200
        assert (await post(http, "key/v", BODY, headers={"X-Api-Key": "t0ken"}))[0] == 200
        assert len(rows(node)) == 2


async def test_what_is_refused_before_it_is_read(
    node: EdgeNode, http: aiohttp.ClientSession
) -> None:
    line = {"X-Line": "l1"}
    expected: list[tuple[str, bytes, dict[str, str], int, str]] = [
        ("nobody/s", b"{}", {}, 404, "nothing is collected under 'nobody'"),
        ("scales/s", b"{}", line, 400, "query id is missing"),
        ("scales/s?id=a%2Fb", b"{}", line, 400, "query id is too long, or no printable text"),
        ("scales/s?id=a", b"{}", {}, 400, "header X-Line is missing"),
        ("scales/?id=a", b"{}", line, 400, "0 parts after scales, 1 are needed"),
        ("scales/s?id=a", b" " * 1025, line, 413, "larger than 1024 bytes"),
        ("scales/s?id=a", gzip.compress(b" " * 1025), {**line, "Content-Encoding": "gzip"}, 413,
         "larger than 1024"),
        ("scales/s?id=a", b"{}", {**line, "Content-Encoding": "br"}, 415, "br is not taken"),
    ]  # fmt: skip
    for path, body, headers, wanted, text in expected:
        status, answer = await post(http, path, body, headers=headers)
        assert (status, text in answer["error"]["message"]) == (wanted, True), answer
    page = {"Sec-Fetch-Site": "cross-site", **basic("müller", "pässword")}
    assert (await post(http, "basic/s", BODY, headers=page))[0] == 403
    async with http.get("scales/s") as got:
        assert got.status == 405
    assert rows(node) == []


async def test_the_description_of_the_api_has_the_edge_s_own_routes(
    node: EdgeNode, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"http://127.0.0.1:{node.port}/api/v1/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    rest = paths["/collect/v1/{name}/{rest}"]["post"]
    assert [each["name"] for each in rest["parameters"]] == ["name", "rest"]
    assert "200 when durable" in paths["/collect/v1/{name}"]["post"]["summary"]
    assert "/api/v1/sql" in paths


async def test_too_many_requests(node: EdgeNode, http: aiohttp.ClientSession) -> None:
    for _ in range(2):
        assert (await post(http, "few/s", BODY))[0] == 200
    status, body = await post(http, "few/s", BODY)
    assert (status, body["error"]["code"]) == (429, "TOO_MANY_REQUESTS")
    assert body["headers"]["Retry-After"] == "1"


async def test_a_stopped_intake_takes_nothing(node: EdgeNode, http: aiohttp.ClientSession) -> None:
    await asyncio.to_thread(node._stop_collectors, 0.0)
    status, body = await post(http, "values/v/weight", b"1")
    assert (status, body["headers"]["Retry-After"]) == (503, "5")
    assert rows(node) == []


async def test_the_lines_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first example of the page, and what its line of curl sends."""
    text = await asyncio.to_thread(PAGE.read_text, encoding="utf-8")
    example = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    monkeypatch.setenv("SCALES_TOKEN", "abc")
    line = (
        'curl http://127.0.0.1:8411/collect/v1/scales/s1 -H "Authorization: Bearer $SCALES_TOKEN"'
    )
    assert f"{line} -d '{{\"weight\": 12.5}}'" in text
    async with AsyncExitStack() as stack:
        node = edge(tmp_path, monkeypatch, **example)
        stack.push_async_callback(node.stop)
        await node.start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{node.port}/collect/v1/scales/s1"
        headers = {
            "Authorization": "Bearer abc", "Content-Type": "application/x-www-form-urlencoded"
        }  # fmt: skip
        assert (await post(http, url, b'{"weight": 12.5}', headers=headers))[0] == 200
        (row,) = rows(node)
        assert (row["device"], row["weight"]) == ("root.plant.s1", 12.5)


async def test_an_answer_waits_for_the_disk(
    make_intake: MakeIntake, fs: GatedFilesystem, engine: Engine
) -> None:
    found = collector()
    intake = make_intake(subscription("p/#", "root.{topic[0]}"))
    sent = asyncio.ensure_future(found.take("p", json.dumps({"ts": T0_MS, "count": 1}).encode()))
    await asyncio.sleep(0)
    fs.gate.clear()
    await asyncio.to_thread(intake.process, found.queue.take(10, 1 << 20, 0))
    assert await asyncio.to_thread(fs.waiting.wait, 10)
    assert not sent.done()
    fs.gate.set()
    await asyncio.wait_for(sent, 10)
    assert engine.durable_lsn == engine.log.appended_lsn


# The collector alone


def collector(
    *, in_flight: int = 10, reading_bytes_max: int = 1 << 20, proof: Proof | None = None
) -> HttpPushCollector:
    found = HttpPushCollector(
        "push", "p", (), MessageQueue(in_flight, 1 << 20), place=PushPlace("p"), proof=proof,
        body_bytes_max=1000, reading_bytes_max=reading_bytes_max, per_minute=1000,
        in_flight=in_flight,
    )  # fmt: skip
    found.start()
    return found


async def test_it_is_answered_when_it_is_durable_and_not_before() -> None:
    found = collector()
    first, second = (asyncio.ensure_future(found.take("p", b"x")) for _ in range(2))
    await asyncio.sleep(0)
    messages = found.queue.take(10, 1 << 20, 0)
    assert len({message.id for message in messages}) == 2
    await asyncio.to_thread(messages[0].origin.acknowledge, [messages[0].id])
    await asyncio.wait_for(first, 5)
    assert not second.done()
    found.pause()  # what was taken is still acknowledged
    messages[1].origin.acknowledge([messages[1].id, 99])
    await asyncio.wait_for(second, 5)
    with pytest.raises(UnavailableError):
        await found.take("p", b"x")


async def test_who_still_waits_at_the_end_is_told_to_come_again() -> None:
    found = collector()
    waiting = asyncio.ensure_future(found.take("p", b"x"))
    await asyncio.sleep(0)
    assert not found.state().source_holds  # a stop does not wait until nobody posts
    found.stop(1.0)
    with pytest.raises(UnavailableError) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.headers == {"Retry-After": "5"}
    assert found.status()["state"] == "stopped"
    found.stop(1.0)


async def test_a_slow_disk_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_push, "ANSWER_S_MAX", 0.01)
    found = collector()
    with pytest.raises(UnavailableError, match="not durable"):
        await found.take("p", b"x")
    assert found.status()["waiting"] == 0
    found.acknowledge([1])  # too late: nobody waits, nothing happens


async def test_behind_a_full_queue_nothing_is_read() -> None:
    found = collector(in_flight=1)
    waiting = asyncio.ensure_future(found.take("p", b"x"))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError), found.admitted():
        pytest.fail("it was admitted")
    found.acknowledge([1])
    await asyncio.wait_for(waiting, 5)
    found.queue.take(1, 1 << 20, 0)
    with found.admitted():
        pass
    assert found.status()["refused"] == {"unavailable": 1}


@pytest.mark.parametrize(("reading_bytes_max", "count"), [(1 << 20, 64), (2999, 2), (10, 1)])
def test_bodies_that_are_read_at_once_are_bounded(reading_bytes_max: int, count: int) -> None:
    found = collector(reading_bytes_max=reading_bytes_max)
    with ExitStack() as reading:
        for _ in range(count):
            reading.enter_context(found.admitted())
        with pytest.raises(UnavailableError), found.admitted():
            pytest.fail("it was admitted")
    with found.admitted():
        pass


def test_an_empty_secret_lets_nobody_in() -> None:
    found = collector(proof=TokenProof(""))
    for headers in ({}, {"Authorization": "Bearer "}):
        with pytest.raises(ApiError):
            found.require_proof(headers, b"")
    assert "secret" not in repr(TokenProof("secret"))


def test_parts_of_a_request_are_levels_of_a_topic() -> None:
    texts = ("root.{query.id}.{path[1]}.{path[-1]}", "{header.X-Line}", "{payload.a}", "{query.id}")
    place = PushPlace.of("p", texts)
    assert place.asked == (("query", "id"), ("header", "X-Line"))
    assert place.segments == 2
    assert place.pattern(texts[0]) == "root.{topic[1]}.{topic[4]}.{topic[-1]}"
    assert (
        place.pattern("{header.X-Line}/{path[0]}/{payload.a}")
        == "{topic[2]}/{topic[3]}/{payload.a}"
    )
    assert place.topic("a//b/", {"id": "7"}, {"X-Line": "l"}) == "p/7/l/a/b"
    with pytest.raises(BadRequestError):
        place.topic("a", {"id": "7"}, {"X-Line": "l"})
    with pytest.raises(BadRequestError):
        place.topic("a/b", {"id": "\udcff"}, {"X-Line": "l"})
