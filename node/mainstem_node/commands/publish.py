"""``mainstem publish``: replays a CSV file to an MQTT broker.

1. The whole file is surveyed first; what cannot be sent is reported before anything is.
2. Rows are sent in the order of the file, in messages of ``--batch`` rows.
3. It ends with 0 only when the broker acknowledged every message.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstem_node.commands.arguments import Json
from mainstem_node.commands.terminal import USAGE, fail, note, result, result_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainstem_node.replay import CsvTable, Message, Publisher

BATCH_ROWS_MAX = 10_000
NS_PER_S = 1_000_000_000


def publish(
    file: Annotated[Path, typer.Argument(help="The CSV file.", metavar="FILE.csv")],
    broker: Annotated[str, typer.Option(help="mqtt://[USER@]HOST[:PORT]; mqtts:// for TLS.")],
    topic: Annotated[str, typer.Option(help="Topic of every message.")],
    device: Annotated[str | None, typer.Option(help="Put this device into every row.")] = None,
    delimiter: Annotated[str, typer.Option(help="auto, or one character.")] = "auto",
    time_column: Annotated[str | None, typer.Option(help="Default: found by its name.")] = None,
    time_format: Annotated[
        str, typer.Option(help="auto, iso, dmy, mdy, s, ms, us, ns, or a pattern like %d.%m.%y.")
    ] = "auto",
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that name none; default UTC.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to send; a,b=c sends b under the name c.")
    ] = None,
    codec: Annotated[str, typer.Option(help="json or csv.")] = "json",
    batch: Annotated[int, typer.Option(min=1, max=BATCH_ROWS_MAX, help="Rows a message.")] = 1,
    qos: Annotated[int, typer.Option(min=0, max=2, help="MQTT quality of service.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Rows a second, at most.")] = None,
    realtime: Annotated[
        float | None, typer.Option(min=1e-6, help="Follow the file's own times, X times as fast.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="MQTT client id; default random.")] = None,
    as_json: Json = False,
) -> None:
    """Replay a CSV file to an MQTT broker; ends with 0 only when all of it was acknowledged."""
    from mainstem_node.replay import (
        CODECS,
        BrokerAddress,
        BrokerError,
        CsvError,
        Publisher,
        encode,
        open_table,
    )

    if codec not in CODECS:
        fail(f"--codec {codec!r} is unknown", f"use {' or '.join(CODECS)}", USAGE)
    if rate is not None and realtime is not None:
        fail("--rate and --realtime exclude each other", "give one of them", USAGE)
    if not topic or "+" in topic or "#" in topic:
        fail(f"--topic {topic!r} cannot be published to", "leave out the wildcards", USAGE)
    try:
        address = BrokerAddress.parse(broker)
        table = open_table(
            file,
            delimiter=delimiter,
            time_column=time_column,
            time_format=time_format,
            zone=timezone,
            columns=columns,
        )
        check_names(table, device)
    except (BrokerError, CsvError) as error:
        fail(str(error), code=USAGE)
    if table.zone_assumed:
        note(f"{file}: the times name no zone and are read as UTC; --timezone says otherwise")
    messages = encode(
        table.rows(),
        codec=codec,
        columns=[column.name for column in table.columns],
        device=device,
        batch_rows=batch,
    )
    started = time.monotonic()
    publisher = Publisher(address, qos=qos, client_id=client_id)
    try:
        publisher.connect()
        with progress(table.row_count) as advance:
            sent = send(publisher, topic, paced(messages, rate, realtime), advance)
        publisher.drain()
    finally:
        publisher.close()
    report(table, publisher, sent, time.monotonic() - started, qos, as_json)


def check_names(table: CsvTable, device: str | None) -> None:
    """Refuses columns that would stand in the way of the message's own keys."""
    from mainstem_node.replay.errors import CsvError
    from mainstem_node.replay.messages import DEVICE_KEY, TIME_KEY

    taken = {TIME_KEY} | ({DEVICE_KEY} if device is not None else set())
    for column in table.columns:
        if column.name in taken:
            raise CsvError(
                table.path, 1, column.name, "a message has a key of that name",
                f"rename the column with --columns '...,{column.source}=NEW'",
            )  # fmt: skip


def send(
    publisher: Publisher, topic: str, messages: Iterator[Message], advance: Callable[[int], None]
) -> int:
    """Publishes every message; returns the rows sent."""
    rows = 0
    for message in messages:
        publisher.publish(topic, message.payload)
        rows += message.rows
        advance(message.rows)
    return rows


def paced(
    messages: Iterator[Message], rate: float | None, realtime: float | None
) -> Iterator[Message]:
    """Holds each message back until it is due.

    ``rate`` counts rows a second. ``realtime`` follows the event times; where the file steps back,
    the pace starts anew, since nobody can wait a negative time.
    """
    started = time.monotonic()
    rows = 0
    start_ns: int | None = None
    for message in messages:
        due = started
        if rate is not None:
            due = started + rows / rate
        elif realtime is not None:
            if start_ns is None or message.last_ns < start_ns:
                start_ns, started = message.last_ns, time.monotonic()
            due = started + (message.last_ns - start_ns) / NS_PER_S / realtime
        wait_s = due - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        rows += message.rows
        yield message


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)


def report(
    table: CsvTable, publisher: Publisher, rows: int, seconds: float, qos: int, as_json: bool
) -> None:
    """Prints what was sent; ends with 1 when the broker refused anything."""
    counted = publisher.statistics()
    if table.left_out:
        note(f"{table.left_out:,} cells are NaN or infinite, which JSON cannot carry: left out")
    if as_json:
        result_json(
            {
                "rows": rows,
                "messages": counted.messages,
                "acknowledged": counted.acknowledged,
                "refused": counted.refused,
                "seconds": round(seconds, 3),
                "reconnects": counted.reconnects,
                "cells_left_out": table.left_out,
                "delimiter": table.delimiter,
                "time_column": table.time_name,
                "time_format": table.time_reader.notation,
                "columns": {column.name: column.kind.value for column in table.columns},
            }
        )
    else:
        what = "all acknowledged" if qos else "QoS 0: nothing is acknowledged"
        outcome = f"{counted.refused:,} refused" if counted.refused else what
        result(
            f"{rows:,} rows in {counted.messages:,} messages, {seconds:.1f} seconds"
            f" ({rows / max(seconds, 1e-9):,.0f} rows/s), {outcome}"
        )
    if counted.refused:
        fail(
            f"the broker refused {counted.refused:,} messages ({counted.first_refusal})",
            "check its access rules and limits for this topic",
        )
