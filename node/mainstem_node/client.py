"""The client of a node's HTTP API, for programs, notebooks and the command line.

    with connect("http://127.0.0.1:8400", token=...) as client:
        client.sql("SELECT ...").rows
        client.write("meters", "root.a.d1", [{"time": 1792540800000, "current": 10.3}])

Answers other than 2xx raise ``ApiError`` with the node's code, message, field and hint; a node that
cannot be reached raises ``UnavailableError``. Nothing is repeated by itself: a write that may have
arrived is the caller's to repeat, with the same ``idempotency_key``.
A Client may be used by one thread at a time. ``connect_async`` gives the same methods to await.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from mainstem_node.errors import ApiError, BadRequestError
from mainstem_node.transport import Transport

if TYPE_CHECKING:
    import pyarrow as pa

TIMEOUT_S = 30.0
"""For everything but statements, which wait for their own time-out and a little more."""
STOP_TIMEOUT_S = 120.0
"""Collectors stop when their brokers have nothing left for them."""
BACKUP_TIMEOUT_S = 3600.0
"""A backup reads everything that the node has."""
_ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave. ``columns``: mappings with name, type, unit, zone."""

    columns: list[dict[str, Any]]
    rows: list[list[Any]]
    rows_affected: int | None = None
    elapsed_ms: float = 0.0
    warnings: list[str] = field(default_factory=list)
    completeness: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [column["name"] for column in self.columns]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as mappings."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


def connect(
    url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S, ca: str | None = None
) -> Client:
    """A client for the node at ``url``; nothing is sent yet. ``ca``: PEM file of its authority."""
    return Client(url, token, timeout_s=timeout_s, ca=ca)


class Client:
    """See the module. Every method blocks."""

    def __init__(
        self, url: str, token: str | None, *, timeout_s: float = TIMEOUT_S, ca: str | None = None
    ) -> None:
        tls = ssl.create_default_context(cafile=ca) if ca is not None else None
        self._transport = Transport(url, token, timeout_s, tls)
        self._timeout_s = timeout_s

    @property
    def url(self) -> str:
        """The node's address."""
        return self._transport.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        self._transport.close()

    # Statements

    def sql(
        self,
        statement: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        time_zone: str = "UTC",
        on_incomplete: str = "return",
        timeout_s: float | None = None,
        time_format: str = "integer",
    ) -> Answer:
        """Runs one statement."""
        data = self._post_sql(
            statement, params, database, time_zone, on_incomplete, timeout_s, time_format, None
        )
        found = json.loads(data)
        return Answer(
            found["columns"],
            found["rows"],
            found.get("rows_affected"),
            found.get("elapsed_ms", 0.0),
            found.get("warnings", []),
            found.get("completeness", []),
        )

    def sql_csv(self, statement: str, params: Sequence[Any] | None = None, **options: Any) -> str:
        """The answer as CSV with a header line. Options as sql()."""
        return self._post_sql_as("text/csv", statement, params, **options).decode()

    def sql_arrow(
        self, statement: str, params: Sequence[Any] | None = None, **options: Any
    ) -> pa.Table:
        """The answer as an Arrow table. Options as sql()."""
        import pyarrow as pa

        data = self._post_sql_as(_ARROW, statement, params, **options)
        return pa.ipc.open_stream(io.BytesIO(data)).read_all()

    def _post_sql_as(
        self,
        accept: str,
        statement: str,
        params: Sequence[Any] | None = None,
        *,
        database: str | None = None,
        time_zone: str = "UTC",
        on_incomplete: str = "return",
        timeout_s: float | None = None,
        time_format: str = "integer",
    ) -> bytes:
        return self._post_sql(
            statement, params, database, time_zone, on_incomplete, timeout_s, time_format, accept
        )

    def _post_sql(
        self,
        statement: str,
        params: Sequence[Any] | None,
        database: str | None,
        time_zone: str,
        on_incomplete: str,
        timeout_s: float | None,
        time_format: str,
        accept: str | None,
    ) -> bytes:
        body: dict[str, Any] = {
            "sql": statement,
            "params": list(params or ()),
            "database": database,
            "time_zone": time_zone,
            "on_incomplete": on_incomplete,
            "time_format": time_format,
        }
        if timeout_s is not None:
            body["timeout_ms"] = int(timeout_s * 1000)
        headers = {} if accept is None else {"Accept": accept}
        wait_s = max(self._timeout_s, (timeout_s or 0) + 10)
        return self._transport.request(
            "POST", "/api/v1/sql", body, headers=headers, timeout_s=wait_s
        )

    # Rows

    def write(
        self,
        template: str,
        device: str | None = None,
        rows: Any = (),
        *,
        tags: Mapping[str, Any] | None = None,
        strict: bool = False,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Writes rows and returns when they are durable: accepted, quarantined, warnings, lsn.

        ``rows``: mappings with ``time`` for one ``device``; or a pandas or Polars frame or an Arrow
        table with the columns ``device`` (unless given), ``time`` and measurements.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        query = {"strict": "1"} if strict else {}
        table = _as_arrow(rows, device)
        if table is not None:
            if tags:
                raise BadRequestError("give tags as columns of the table", field="tags")
            headers["Content-Type"] = _ARROW
            data = _stream(table)
            path = "/api/v1/write?" + urlencode({**query, "template": template})
            answer = self._transport.request("POST", path, data, headers=headers)
        else:
            if device is None:
                raise BadRequestError("rows as mappings need a device", field="device")
            group: dict[str, Any] = {"template": template, "device": device, "rows": list(rows)}
            if tags:
                group["tags"] = dict(tags)
            path = "/api/v1/write" + (f"?{urlencode(query)}" if query else "")
            answer = self._transport.request("POST", path, [group], headers=headers)
        result: dict[str, Any] = json.loads(answer)
        return result

    def last(
        self, template: str | None = None, *, under: str | None = None, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """The newest values: template, device, measurement, value, unit, time (ms)."""
        query = _query(template=template, under=under, limit=limit)
        values: list[dict[str, Any]] = self._get(f"/api/v1/last{query}")["values"]
        return values

    def series(self, signals: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """Columns for a chart. Options: start, end (ms or RFC 3339), points."""
        query = _query(
            signals=",".join(signals),
            **{"from": options.get("start"), "to": options.get("end")},
            points=options.get("points"),
        )
        found: list[dict[str, Any]] = self._get(f"/api/v1/series{query}")["series"]
        return found

    def watch(self, signals: Sequence[str]) -> Iterator[dict[str, Any]]:
        """New values of signals as they come: signal, time, value; at most one a second each."""
        for event in self._transport.events(f"/api/v1/live{_query(signals=','.join(signals))}"):
            yield from event

    # What the node knows

    def status(self) -> dict[str, Any]:
        """The status object, children inside."""
        return self._get("/api/v1/status")

    def federation(self) -> dict[str, Any]:
        """The tree below this node."""
        return self._get("/api/v1/federation")

    def alarms(self) -> list[dict[str, Any]]:
        """The newest alarms of the node, oldest first."""
        return [dict(each) for each in json.loads(self._transport.request("GET", "/api/v1/alarms"))]

    def metrics(self) -> str:
        """What Prometheus reads."""
        return self._transport.request("GET", "/metrics").decode()

    def watch_status(self) -> Iterator[dict[str, Any]]:
        """The status object once a second."""
        return self._transport.events("/api/v1/live")

    def completeness(
        self,
        tables: Sequence[str] | None = None,
        start: int | str | None = None,
        end: int | str | None = None,
    ) -> list[dict[str, Any]]:
        """How complete the tables are, one object per origin node and table."""
        query = _query(tables=",".join(tables or ()) or None, **{"from": start, "to": end})
        found: list[dict[str, Any]] = self._get(f"/api/v1/completeness{query}")["completeness"]
        return found

    def verify(
        self,
        start: int | str | None = None,
        end: int | str | None = None,
        *,
        rescan: bool = False,
    ) -> dict[str, Any]:
        """The slices that are due, and which of them are not verified. ``rescan``: after looking
        at the stored rows again."""
        query = _query(**{"from": start, "to": end}, rescan=1 if rescan else None)
        return self._get(f"/api/v1/verify{query}")

    def trace(self, device: str, measurement: str, at: int | str) -> dict[str, Any]:
        """Where one point comes from: its versions, the tiers it went through, what it fed."""
        return self._get(f"/api/v1/trace{_query(device=device, measurement=measurement, at=at)}")

    def quarantine(
        self,
        *,
        limit: int = 100,
        node: str | None = None,
        table: str | None = None,
        below: bool = False,
        after: str | None = None,
    ) -> dict[str, Any]:
        """``{"items": [...], "bytes": n, "next": ...}``, the newest of each node first. ``below``:
        of all nodes below too, which are asked; ``after``: ``next`` of the page before."""
        query = _query(limit=limit, node=node, table=table, below=1 if below else None, after=after)
        return self._get(f"/api/v1/quarantine{query}")

    def quarantine_item(self, item_id: str) -> dict[str, Any]:
        """One refused value or row."""
        return self._get(f"/api/v1/quarantine/{quote(item_id, safe='')}")

    def retry_quarantine(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Tries items again: ``{"id","state","message"}`` of each; state retried, asked, kept."""
        body = {"ids": list(ids)}
        answer = self._send("POST", "/api/v1/quarantine/retry", body)
        found: list[dict[str, Any]] = answer["results"]
        return found

    def drop_quarantine(self, item_id: str) -> dict[str, Any]:
        """Forgets an item for good; with it those of the same column of one batch."""
        return self._send("DELETE", f"/api/v1/quarantine/{quote(item_id, safe='')}")

    def inbox(self) -> dict[str, Any]:
        """Unknown devices: ``{"devices": [...], "more", "ignored": [...]}``, the newest first."""
        return self._get("/api/v1/devices/inbox")

    def adopt(
        self,
        key: str,
        *,
        template: str | None = None,
        device: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Makes an unknown device one, and stores what was kept of it. Without a template and path
        those that the inbox suggests."""
        body = {
            "template": template,
            "device": device,
            "tags": None if tags is None else dict(tags),
        }
        return self._send("POST", f"/api/v1/devices/inbox/{quote(key, safe='')}/adopt", body)

    def ignore(self, key: str, *, ignore: bool = True) -> dict[str, Any]:
        """Rows of an unknown device are counted and not kept; False: kept again."""
        body = {"ignore": ignore}
        return self._send("POST", f"/api/v1/devices/inbox/{quote(key, safe='')}/ignore", body)

    def templates(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("/api/v1/templates")["templates"]
        return found

    def devices(
        self, template: str | None = None, *, under: str | None = None, limit: int = 1000
    ) -> list[dict[str, Any]]:
        query = _query(template=template, under=under, limit=limit)
        found: list[dict[str, Any]] = self._get(f"/api/v1/devices{query}")["devices"]
        return found

    # Governance

    def nodes(self) -> list[dict[str, Any]]:
        """The enrolled children."""
        found: list[dict[str, Any]] = self._get("/api/v1/nodes")["nodes"]
        return found

    def add_node(self, node_id: str, paths: Sequence[str] | str) -> dict[str, Any]:
        """Invites a child; ``join_token`` of the answer is shown this once."""
        listed = [paths] if isinstance(paths, str) else list(paths)
        return self._send("POST", "/api/v1/nodes", {"id": node_id, "paths": listed})

    def join(self, token: str, uuid: str) -> dict[str, Any]:
        """At a parent: exchanges a join token for the link credential (``token``)."""
        return self._send("POST", "/api/v1/nodes/join", {"token": token, "uuid": uuid})

    def revoke_node(self, node_id: str) -> dict[str, Any]:
        return self._send("DELETE", f"/api/v1/nodes/{quote(node_id, safe='')}")

    def replace_node(self, node_id: str) -> dict[str, Any]:
        """A child has a new disk; the answer has a ``join_token``."""
        return self._send("POST", f"/api/v1/nodes/{quote(node_id, safe='')}/replace", {})

    def retire_node(self, node_id: str, since: int | str | None = None) -> dict[str, Any]:
        """A child is gone for good: refused, and nothing of it is expected from ``since`` on."""
        path = f"/api/v1/nodes/{quote(node_id, safe='')}/retire"
        return self._send("POST", path, {"from": since})

    def move_device(self, device: str, to: str, at: int | str | None = None) -> dict[str, Any]:
        """Rows of ``device`` from ``at`` (ms or RFC 3339; the next moment that is possible) on are
        of the node ``to``; returns the move, with how far the nodes are that it concerns."""
        return self._send("POST", "/api/v1/moves", {"device": device, "to": to, "at": at})

    def moves(self, device: str | None = None) -> list[dict[str, Any]]:
        """Devices that were moved, oldest first."""
        found: list[dict[str, Any]] = self._get(f"/api/v1/moves{_query(device=device)}")["moves"]
        return found

    def tokens(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("/api/v1/tokens")["tokens"]
        return found

    def create_token(self, name: str, role: str, expires: str | None = None) -> dict[str, Any]:
        """A new API token; ``token`` of the answer is shown this once. ``expires``: as ``90d``."""
        body = {"name": name, "role": role, "expires": expires}
        return self._send("POST", "/api/v1/tokens", body)

    def revoke_token(self, token_id: str) -> dict[str, Any]:
        return self._send("DELETE", f"/api/v1/tokens/{quote(token_id, safe='')}")

    def backup(self, name: str) -> dict[str, Any]:
        """Has the node write a backup of that name into its ``backup_dir``; returns when done."""
        data = self._transport.request(
            "POST", "/api/v1/backup", {"name": name}, timeout_s=BACKUP_TIMEOUT_S
        )
        found: dict[str, Any] = json.loads(data)
        return found

    def stop_intake(self) -> dict[str, Any]:
        """Stops the collectors once their queues are empty, until the node is started again."""
        data = self._transport.request(
            "POST", "/api/v1/intake", {"action": "stop"}, timeout_s=STOP_TIMEOUT_S
        )
        found: dict[str, Any] = json.loads(data)
        return found

    def is_ready(self) -> bool:
        """False while the node starts, stops, cannot write, or cannot be reached."""
        try:
            return bool(self._get("/ready")["status"] == "ready")
        except ApiError:
            return False

    # Requests

    def rule_alarms(
        self,
        *,
        state: str = "open",
        severity: str | None = None,
        start: str | None = None,
        limit: int = 100,
    ) -> dict[str, Any]:
        """How alarms of rules stand, the newest change first: ``{"alarms": [...], "total"}``.
        ``start``: those that changed since."""
        query = {"state": state, "severity": severity, "from": start, "limit": limit}
        return self._get(f"/api/v1/alarms{_query(source='rules', **query)}")

    def acknowledge_alarm(self, alarm: str, comment: str = "") -> dict[str, Any]:
        """Somebody has seen an alarm: ``{"alarm", "command"}``; the command if its node, which is
        below, was told."""
        path = f"/api/v1/alarms/{quote(alarm, safe='')}/ack"
        return self._send("POST", path, {"comment": comment})

    def send_command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a command (docs/http.md); returns it with its state."""
        return self._send("POST", "/api/v1/commands", dict(command))

    def command(self, command_id: str) -> dict[str, Any]:
        """One command with its state."""
        return self._get(f"/api/v1/commands/{command_id}")

    def commands(
        self, *, limit: int = 100, state: str | None = None, target: str | None = None
    ) -> list[dict[str, Any]]:
        """Commands, newest first."""
        query = _query(limit=limit, state=state, target=target)
        found: list[dict[str, Any]] = self._get(f"/api/v1/commands{query}")["commands"]
        return found

    def configurations(self, *, documents: bool = False) -> list[dict[str, Any]]:
        """What the node and all below it are configured by, as they say."""
        query = _query(documents=1 if documents else None)
        found: list[dict[str, Any]] = self._get(f"/api/v1/config{query}")["nodes"]
        return found

    def apply_config(
        self, documents: Mapping[str, Any], base: Mapping[str, int | None]
    ) -> list[dict[str, Any]]:
        """New configurations, by node; ``base``: the revisions that they were planned for. Returns
        the orders."""
        body = {"documents": dict(documents), "base": dict(base)}
        found: list[dict[str, Any]] = self._send("POST", "/api/v1/config", body)["orders"]
        return found

    def roll_config_back(self, nodes: Sequence[str], to: int | None = None) -> list[dict[str, Any]]:
        """Nodes go back to an earlier revision, by default the one before. Returns the orders."""
        body = {"nodes": list(nodes), "to": to}
        found: list[dict[str, Any]] = self._send("POST", "/api/v1/config/rollback", body)["orders"]
        return found

    def config_order(self, order_id: str) -> dict[str, Any]:
        """What became of an order of apply_config or roll_config_back."""
        return self._get(f"/api/v1/config/orders/{order_id}")

    def verify_audit(self) -> dict[str, Any]:
        """``{"lines", "head", "problems"}`` of the audit's hash chain."""
        return self._get("/api/v1/audit/verify")

    def _get(self, path: str) -> dict[str, Any]:
        return self._send("GET", path)

    def _send(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._transport.request(method, path, body))
        return found


def _query(**values: Any) -> str:
    given = {key: value for key, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _as_arrow(rows: Any, device: str | None) -> pa.Table | None:
    """An Arrow table of a frame, or None for rows as mappings."""
    if isinstance(rows, Sequence | Iterator) and not hasattr(rows, "schema"):
        return None
    import pyarrow as pa

    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    elif hasattr(rows, "to_arrow"):  # Polars
        rows = rows.to_arrow()
    elif not isinstance(rows, pa.Table):
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if device is not None and "device" not in rows.column_names:
        rows = rows.append_column("device", pa.array([device] * rows.num_rows, pa.string()))
    return rows


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


class AsyncClient:
    """The methods of Client, to await; each call runs in a thread, one at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = asyncio.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._lock:
                return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self._client.close)


def connect_async(
    url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S, ca: str | None = None
) -> AsyncClient:
    """As connect(), for asyncio."""
    return AsyncClient(Client(url, token, timeout_s=timeout_s, ca=ca))
