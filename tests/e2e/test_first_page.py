"""The first page in a real browser: the tree, the values, hostile names, a lost node, a token."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from tiers import write_topology
from whole_river import NodeProcess, free_ports, wait_for

pytestmark = pytest.mark.browser
PAGE_TIMEOUT_S = 30.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1280,1000",
)  # fmt: skip
"""No sandbox: CI runs as root. The rest keeps the browser from talking to anybody else."""

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        assert not os.environ.get("MAINSTEM_CI"), "CI must have chromium and chromedriver"
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def start(place: Path, loopback: str) -> NodeProcess:
    """A group that listens and nothing else."""
    [port] = free_ports(1)
    document = {
        "federation": "works",
        "templates": {"meter": {"measurements": {"power": {"type": "DOUBLE", "unit": "kW"}}}},
        "nodes": [
            {
                "id": "group",
                "tier": "group",
                "listen": f"127.0.0.1:{port}",
                "data_dir": "data/group",
                "auth": {"loopback": loopback},
            }
        ],
    }
    node = NodeProcess(
        "group", port, write_topology(place, document), place / "group.log",
        environment={"MAINSTEM_TEST_SYNC_DELAY_S": "0"},
    )  # fmt: skip
    node.start()
    node.wait_ready()
    return node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    node = start(tmp_path, "open")
    rows = [{"time": 1_792_540_800_000, "power": 12.5}]
    for device in ("root.works.m1", "root.works.m2", f"root.works.`{HOSTILE}`"):
        node.request("/api/v1/write", {"template": "meter", "device": device, "rows": rows})
    yield node
    if node.process is not None and node.process.poll() is None:
        node.kill()


def text(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, f"[data-testid={name}]").text


def rows(browser: webdriver.Chrome, name: str) -> list[str]:
    """The rows as one snapshot: the page replaces them while a test looks."""
    script = "return [...document.querySelectorAll(arguments[0])].map((row) => row.innerText)"
    found = browser.execute_script(script, f"[data-testid={name}]")
    assert isinstance(found, list)
    return found


def wait_until(condition: Any, what: str) -> None:
    wait_for(condition, PAGE_TIMEOUT_S, what)


def test_the_page_shows_nodes_and_values_and_runs_nothing_from_names(
    browser: webdriver.Chrome, node: NodeProcess
) -> None:
    browser.get(node.url + "/")
    wait_until(lambda: text(browser, "connection") == "live", "the page is live")
    wait_until(lambda: len(rows(browser, "value-row")) == 3, "all devices are listed")
    assert "group" in rows(browser, "tree-row")[0]
    shown = " ".join(rows(browser, "value-row"))
    assert HOSTILE in shown
    assert "12.5" in shown
    assert "kW" in shown
    assert browser.find_elements(By.CSS_SELECTOR, "#last img") == []
    logged = browser.get_log("browser")  # type: ignore[no-untyped-call]
    severe = [entry for entry in logged if entry["level"] == "SEVERE"]
    assert [entry for entry in severe if "favicon" not in entry["message"]] == []


def test_the_filter_narrows_the_values(browser: webdriver.Chrome, node: NodeProcess) -> None:
    browser.get(node.url + "/")
    wait_until(lambda: len(rows(browser, "value-row")) == 3, "all devices are listed")
    browser.find_element(By.ID, "filter").send_keys("works.m2")
    wait_until(lambda: len(rows(browser, "value-row")) == 1, "one device is listed")


def test_it_fits_a_narrow_screen(browser: webdriver.Chrome, node: NodeProcess) -> None:
    browser.set_window_size(360, 800)
    try:
        browser.get(node.url + "/")
        wait_until(lambda: len(rows(browser, "value-row")) == 3, "all devices are listed")
        wide = browser.execute_script(
            "return document.documentElement.scrollWidth - window.innerWidth"
        )
        assert wide <= 0
    finally:
        browser.set_window_size(1280, 1000)


def test_a_lost_node_is_said(browser: webdriver.Chrome, node: NodeProcess) -> None:
    browser.get(node.url + "/")
    wait_until(lambda: text(browser, "connection") == "live", "the page is live")
    node.kill()
    wait_until(lambda: text(browser, "connection") == "offline", "the page says offline")
    assert "What is shown is old" in text(browser, "problem")
    node.start()
    node.wait_ready()
    wait_until(lambda: text(browser, "connection") == "live", "the page recovers by itself")


def test_a_closed_node_asks_for_a_token(browser: webdriver.Chrome, tmp_path: Path) -> None:
    node = start(tmp_path, "closed")
    try:
        browser.get(node.url + "/")
        wait_until(
            lambda: browser.find_element(By.ID, "login").is_displayed(), "the page asks for a token"
        )
        token = (tmp_path / "data" / "group" / "admin.token").read_text().strip()
        browser.find_element(By.ID, "token").send_keys(token)
        browser.find_element(By.CSS_SELECTOR, "[data-testid=login-submit]").click()
        wait_until(lambda: text(browser, "connection") == "live", "the token opens the page")
    finally:
        node.kill()
