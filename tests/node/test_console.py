"""The first page in a real browser: what it shows, what it must not run, and asking for a token."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from mainstem_node.credentials import read_token
from mainstem_node.node import Node

pytestmark = pytest.mark.browser
StartNode = Callable[..., Awaitable[Node]]

HOSTILE = "<img src=x onerror=document.title='owned'>"
WAIT_S = 30.0


def must_have_browser() -> bool:
    """In CI a missing browser is an error, elsewhere a reason to skip."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver")) or bool(
        os.environ.get("MAINSTEM_CI")
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not must_have_browser():
        pytest.skip("needs chromium and chromium-driver: apt-get install chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=360,800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


async def shown(browser: Any, script: str, *arguments: Any) -> Any:
    """The value of a script once it is true; the page renews itself meanwhile."""
    async with asyncio.timeout(WAIT_S):
        while True:
            value = await asyncio.to_thread(browser.execute_script, script, *arguments)
            if value:
                return value
            await asyncio.sleep(0.1)


async def write(node: Node, device: str) -> None:
    rows = [{"time": node.clock_ns() // 1_000_000, "flow": 1.25}]
    group = {"template": "pump", "device": device, "rows": rows}
    url = f"http://127.0.0.1:{node.port}/api/v1/write"
    async with aiohttp.ClientSession() as http, http.post(url, json=group) as answer:
        assert answer.status == 200, await answer.text()


TEXT = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1])"


async def test_the_page_shows_nodes_and_values_and_runs_no_name(browser: Any, node: Node) -> None:
    await write(node, "root.plant.edge.press")
    await write(node, f"root.plant.edge.`{HOSTILE}`")
    await asyncio.to_thread(browser.get, f"http://127.0.0.1:{node.port}/")
    await shown(browser, TEXT, "[data-testid=tree-row]", "edge")
    await shown(browser, TEXT, "[data-testid=connection]", "live")
    await shown(browser, TEXT, "[data-testid=last]", "root.plant.edge.press")
    await shown(browser, TEXT, "[data-testid=last]", HOSTILE)
    assert await shown(browser, "return document.title") == "edge · Mainstem"
    assert not browser.execute_script("return document.querySelector('td img, th img')")
    width = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "it scrolls sideways on a telephone"
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


async def test_the_filter_narrows_the_values(browser: Any, node: Node) -> None:
    for name in ("press", "paint"):
        await write(node, f"root.plant.edge.{name}")
    await asyncio.to_thread(browser.get, f"http://127.0.0.1:{node.port}/")
    count = "return document.querySelectorAll('[data-testid=value-row]').length === arguments[0]"
    await shown(browser, count, 2)
    box = browser.find_element("css selector", "[data-testid=filter]")
    await asyncio.to_thread(box.send_keys, "PAINT")
    await shown(browser, count, 1)


async def test_a_node_that_wants_a_token_is_given_one(browser: Any, start_node: StartNode) -> None:
    node = await start_node(auth={"loopback": "closed"})
    await asyncio.to_thread(browser.get, f"http://127.0.0.1:{node.port}/")
    await shown(browser, "return document.querySelector('dialog').open")
    box = browser.find_element("css selector", "[data-testid=token]")
    await asyncio.to_thread(box.send_keys, "wrong-token")
    await asyncio.to_thread(box.submit)
    await shown(browser, TEXT, "#login-error", "not valid")
    await asyncio.to_thread(box.send_keys, read_token(node.config.data_dir / "admin.token"))
    await asyncio.to_thread(box.submit)
    await shown(browser, TEXT, "[data-testid=tree-row]", "edge")
    assert not browser.execute_script("return document.querySelector('dialog').open")
    assert browser.execute_script("return localStorage.length") == 0
