"""Changes of alarms at a real web server: how they are signed, and what its answers mean."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.edge.notices.hook import Hook
from tests.node.certificates import make_certificate

from mainstem_edge.notices.courier import RefusedError, SendError
from mainstem_edge.notices.notice import Telling
from mainstem_edge.notices.webhook import SIGNATURE, Webhook
from mainstem_node.config.schema import TlsConfig
from mainstem_node.server import client_context, server_context

SECRET = "not-for-everybody"
NOW_S = 1_764_000_000
HOT = "root.plant.m1.alarms.hot"
TELLING = Telling(f"{HOT}@5/raised", {"id": f"{HOT}@5/raised", "source": "root.plant.m1"})


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as found:
        yield found


async def post(webhook: Webhook) -> None:
    """As a courier's thread does it."""

    def run() -> None:
        with contextlib.ExitStack() as closing:
            closing.callback(webhook.rest)
            webhook.send(TELLING)

    await asyncio.to_thread(run)


async def test_it_gets_json_with_an_id_signed_with_the_time(stack: AsyncExitStack) -> None:
    hook = Hook()
    webhook = Webhook(
        await hook.start(stack),
        secret=SECRET,
        headers={"Authorization": "Bearer key"},
        clock_ns=lambda: NOW_S * 10**9 + 5,
    )
    await post(webhook)
    ((headers, body),) = hook.got
    assert json.loads(body) == TELLING.fields
    assert headers["Idempotency-Key"] == TELLING.id
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer key", "application/json")
    signed = f"{NOW_S}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"t={NOW_S},v1={digest}"
    is_genuine = documented_check()
    assert is_genuine(SECRET, headers[SIGNATURE], body, NOW_S + 299)
    assert not is_genuine(SECRET, headers[SIGNATURE], body, NOW_S + 301)
    assert not is_genuine(SECRET, headers[SIGNATURE], body + b" ", NOW_S)
    assert not is_genuine("other", headers[SIGNATURE], body, NOW_S)
    later = headers[SIGNATURE].replace(str(NOW_S), str(NOW_S + 400))
    assert not is_genuine(SECRET, later, body, NOW_S + 400)


def documented_check() -> Callable[..., bool]:
    """As docs/alarms.md shows it to receivers."""
    page = (Path(__file__).parents[3] / "docs" / "alarms.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    check: Callable[..., bool] = found["is_genuine"]
    return check


async def test_without_a_secret_nothing_is_signed(stack: AsyncExitStack) -> None:
    hook = Hook()
    await post(Webhook(await hook.start(stack)))
    assert SIGNATURE not in hook.got[0][0]


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429])
async def test_later_means_later(stack: AsyncExitStack, status: int) -> None:
    hook = Hook(web.Response(status=status, headers={"Retry-After": "7"}))
    webhook = Webhook(await hook.start(stack))
    with pytest.raises(SendError, match=str(status)) as caught:
        await post(webhook)
    assert caught.value.after_s == 7.0
    await post(webhook)
    assert len(hook.got) == 2


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "secret_headers"), (403, "secret_headers"), (404, "path of `url`")]
)
async def test_what_a_correction_mends_is_tried_again(
    stack: AsyncExitStack, status: int, remedy: str
) -> None:
    hook = Hook(web.Response(status=status))
    webhook = Webhook(await hook.start(stack))
    with pytest.raises(SendError, match=f"it answers {status}: .*{remedy}") as caught:
        await post(webhook)
    assert "T0K3N" not in str(caught.value)
    await post(webhook)
    assert len(hook.got) == 2


@pytest.mark.parametrize("status", [400, 405, 410, 413, 422])
async def test_a_refusal_is_one_for_good(stack: AsyncExitStack, status: int) -> None:
    hook = Hook(web.Response(status=status))
    with pytest.raises(RefusedError, match=str(status)):
        await post(Webhook(await hook.start(stack)))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_not_followed(stack: AsyncExitStack, status: int) -> None:
    elsewhere = Hook()
    place = await elsewhere.start(stack)
    hook = Hook(web.Response(status=status, headers={"Location": place}))
    with pytest.raises(RefusedError, match=str(status)) as caught:
        await post(Webhook(await hook.start(stack), secret=SECRET))
    assert not elsewhere.got
    assert "T0K3N" not in str(caught.value)


async def test_of_an_answer_without_end_the_head_is_enough(stack: AsyncExitStack) -> None:
    hook = Hook(endless=True)
    await post(Webhook(await hook.start(stack)))
    assert len(hook.got) == 1


async def test_an_answer_that_does_not_come_is_waited_for_so_long(stack: AsyncExitStack) -> None:
    hook = Hook(silent=True)
    with pytest.raises(SendError, match=r"no answer within 0\.2 s"):
        await post(Webhook(await hook.start(stack), timeout_s=0.2))


async def test_one_that_is_away_tells_no_secret(unused_tcp_port: int) -> None:
    webhook = Webhook(f"http://127.0.0.1:{unused_tcp_port}/hooks/T0K3N")
    assert webhook.shown == f"http://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(SendError, match="cannot connect") as caught:
        await post(webhook)
    assert "T0K3N" not in str(caught.value)
    with pytest.raises(SendError, match="cannot connect"):
        await asyncio.to_thread(webhook.greet)


async def test_a_certificate_is_verified(stack: AsyncExitStack, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    hook = Hook()
    url = await hook.start(stack, server_context(TlsConfig(cert=cert, key=key)))
    stranger = Webhook(url)
    with pytest.raises(SendError, match="certificate"):
        await post(stranger)
    with pytest.raises(SendError, match="certificate"):
        await asyncio.to_thread(stranger.greet)
    assert not hook.got
    named = url.replace("127.0.0.1", "localhost")  # as the certificate has it
    friend = Webhook(named, tls=client_context(cert))
    await asyncio.to_thread(friend.greet)
    assert not hook.got
    await post(friend)
    assert len(hook.got) == 1
