"""Devices that clients speak of beyond the limit of new ones: shown, adopted, ignored."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from mainstem_node.node import Node
from mainstem_sync.receiving.quarantine import QuarantineItem

T0 = 1_700_000_040_000


def put_aside(node: Node, device: str, count: int = 3, **more: Any) -> None:
    """As line protocol beyond ``max_new_devices_per_minute`` is, with its share of the accounts."""
    rows = [{"flow": 1.5 * n, "count": n, **more} for n in range(count)]
    node.federation.quarantine.add(
        QuarantineItem(node.config.id, "pump", device, T0 + n, "", "device_limit",
                       json.dumps(row), 5)
        for n, row in enumerate(rows)
    )  # fmt: skip
    ids = node.engine.device_ids("pump", ["root.plant.edge.known"], create=True)
    counts = {"received": count, "quarantined": count}
    node.engine.write("pump", ids[:0], [], {}, intake=counts).wait(10)


async def ask(
    http: aiohttp.ClientSession, method: str, path: str = "", body: Any = None
) -> tuple[int, Any]:
    async with http.request(method, f"/api/v1/devices/inbox{path}", json=body) as answer:
        return answer.status, await answer.json()


def flows(node: Node, device: str) -> list[Any]:
    found: list[Any] = node.engine.scan("pump", devices=[device]).read_all()["flow"].to_pylist()
    return found


async def test_a_device_is_shown_adopted_and_its_rows_move_in_the_accounts(
    node: Node, http: aiohttp.ClientSession
) -> None:
    put_aside(node, "root.plant.edge.new", strange="x")
    status, found = await ask(http, "GET")
    assert status == 200
    (shown,) = found["devices"]
    assert (shown["name"], shown["template"], shown["rows"]) == ("root.plant.edge.new", "pump", 3)
    assert shown["reasons"] == {"device_limit": 3}
    assert shown["fields"] == {"flow": "DOUBLE", "count": "INT64", "strange": "TEXT"}
    suggestion = shown["suggestion"]
    assert (suggestion["template"], suggestion["exists"]) == ("pump", True)
    assert suggestion["extra"] == ["strange"]
    body = {"tags": {"line": "L1"}}
    status, adopted = await ask(http, "POST", f"/{shown['id']}/adopt", body)
    assert (status, adopted["rows"], adopted["left"]) == (200, 3, 0)
    assert (adopted["device"], adopted["template_made"]) == ("root.plant.edge.new", False)
    assert flows(node, "root.plant.edge.new") == [0.0, 1.5, 3.0]
    devices = node.engine.catalog.devices
    number = devices.id_of("root.plant.edge.new")
    assert number is not None
    assert devices.tags(number) == {"line": "L1"}
    counts = node.runtime.status()["accounting"]["pump"]["intake"]
    assert (counts["received"], counts["accepted"], counts["quarantined"]) == (3, 3, 0)
    assert node.runtime.status()["accounting"]["pump"]["values_quarantined"] == 3
    # What does not fit is put aside for its own reason; the inbox is empty.
    left = node.federation.quarantine.items()
    assert {(each["reason"], each["measurement"]) for each in left} == {
        ("unknown_measurement", "strange")
    }
    assert (await ask(http, "GET"))[1] == {"devices": [], "more": False, "ignored": []}
    assert (await ask(http, "POST", f"/{shown['id']}/adopt", {}))[0] == 404


async def test_another_path_is_that_of_the_device(node: Node, http: aiohttp.ClientSession) -> None:
    put_aside(node, "root.plant.edge.typo")
    key = (await ask(http, "GET"))[1]["devices"][0]["id"]
    body = {"device": "root.plant.edge.right"}
    assert (await ask(http, "POST", f"/{key}/adopt", body))[1]["rows"] == 3
    assert flows(node, "root.plant.edge.right") == [0.0, 1.5, 3.0]
    assert node.inbox_book.path_of("pump", "root.plant.edge.typo") == "root.plant.edge.right"


async def test_an_ignored_one_is_forgotten_and_can_be_heeded(
    node: Node, http: aiohttp.ClientSession
) -> None:
    put_aside(node, "root.plant.edge.new")
    key = (await ask(http, "GET"))[1]["devices"][0]["id"]
    status, answer = await ask(http, "POST", f"/{key}/ignore", {})
    assert (status, answer["state"], answer["forgotten"]) == (200, "ignored", 3)
    assert node.federation.quarantine.items() == []
    found = (await ask(http, "GET"))[1]
    assert [(each["id"], each["rows"]) for each in found["ignored"]] == [(key, 0)]
    assert (await ask(http, "POST", f"/{key}/ignore", {"ignore": False}))[0] == 200
    assert (await ask(http, "POST", f"/{key}/ignore", {"ignore": False}))[0] == 404
    assert (await ask(http, "GET"))[1]["ignored"] == []


async def test_a_series_without_a_template_gets_one(
    node: Node, http: aiohttp.ClientSession
) -> None:
    line = {"line": 1, "measurement": "boiler", "tags": {"site": "s1"}, "fields": {"temp": 60.5}}
    node.federation.quarantine.add(
        [QuarantineItem("edge", "", "", T0, "", "unknown_template", json.dumps(line), 5)]
    )
    (shown,) = (await ask(http, "GET"))[1]["devices"]
    assert (shown["name"], shown["template"]) == ("boiler.s1", None)
    assert (shown["suggestion"]["template"], shown["suggestion"]["exists"]) == ("boiler", False)
    status, answer = await ask(http, "POST", f"/{shown['id']}/adopt", {"template": "other"})
    assert (status, answer["error"]["field"]) == (409, "template")
    status, answer = await ask(http, "POST", f"/{shown['id']}/adopt", {})
    assert (status, answer["template_made"], answer["rows"]) == (200, True, 1)
    assert answer["device"] == "root.plant.edge.boiler.s1"
    stored = node.engine.scan("boiler").read_all().to_pylist()
    assert [(row["temp"], row["site"]) for row in stored] == [(60.5, "s1")]


async def test_what_is_asked_wrongly_is_refused(
    start_node: Callable[..., Awaitable[Node]],
) -> None:
    node = await start_node(
        others=[{"id": "other", "tier": "edge", "listen": "127.0.0.1:1", "data_dir": "other",
                 "paths": ["root.theirs"]}]
    )  # fmt: skip
    put_aside(node, "root.plant.edge.new")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{node.port}") as http:
        key = (await ask(http, "GET"))[1]["devices"][0]["id"]
        wrong: tuple[tuple[dict[str, Any], int, str | None], ...] = (
            ({"template": "nothing"}, 409, "template"),
            ({"device": "root.theirs.x"}, 403, None),
            ({"device": "no path"}, 400, None),
            ({"tags": {"colour": "red"}}, 400, "tags"),
            ({"tags": "red"}, 400, "tags"),
            ({"what": 1}, 400, "what"),
        )
        for body, status, field in wrong:
            found = await ask(http, "POST", f"/{key}/adopt", body)
            assert found[0] == status, (body, found)
            if field is not None:
                assert found[1]["error"]["field"] == field
        assert (await ask(http, "POST", "/none/ignore", {}))[0] == 404
        assert (await ask(http, "POST", f"/{key}/adopt", []))[0] == 400
        assert len((await ask(http, "GET"))[1]["devices"]) == 1


async def test_a_row_that_was_kept_cut_stays(node: Node, http: aiohttp.ClientSession) -> None:
    put_aside(node, "root.plant.edge.new", 1)
    node.federation.quarantine.add(
        [QuarantineItem("edge", "pump", "root.plant.edge.new", T0 + 9, "", "device_limit",
                        '{"note": "' + "x" * 9000, 5)]
    )  # fmt: skip
    key = (await ask(http, "GET"))[1]["devices"][0]["id"]
    answer = (await ask(http, "POST", f"/{key}/adopt", {}))[1]
    assert (answer["rows"], answer["left"]) == (1, 1)
