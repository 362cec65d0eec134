"""Backups over HTTP: only by an administrator, only below the configured directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.restore import restore


async def test_a_running_node_is_backed_up(start_node: Any, tmp_path: Path) -> None:
    node = await start_node(backup_dir=str(tmp_path / "backups"))
    node.engine.write("pump", "root.plant.edge.p1", [1], {"flow": [2.5]}).wait()
    url = f"http://127.0.0.1:{node.port}"
    async with aiohttp.ClientSession(url) as http:
        async with http.post("/api/v1/backup", json={"name": "monday"}) as answer:
            assert answer.status == 201
            report = await answer.json()
        async with http.post("/api/v1/backup", json={"name": "monday"}) as answer:
            assert answer.status == 400
    assert report["path"] == str(tmp_path / "backups" / "monday")
    restore(tmp_path / "backups" / "monday", tmp_path / "restored")
    assert (tmp_path / "restored" / "tokens.json").is_file()
    with Engine.open(tmp_path / "restored", EngineOptions(background=False)) as engine:
        assert engine.scan("pump").read_all()["flow"].to_pylist() == [2.5]


async def test_without_a_directory_there_are_no_backups(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/backup", json={"name": "x"}) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["field"] == "backup_dir"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/etc", "a\\b", "x" * 200, 7, None])
async def test_names_that_lead_elsewhere(http: aiohttp.ClientSession, name: object) -> None:
    async with http.post("/api/v1/backup", json={"name": name}) as answer:
        assert answer.status == 400
