"""Files become rows, and go away when these are durable; what cannot be read goes to ``bad``."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mainstem_edge.collectors.file import FileCollector
from mainstem_edge.collectors.interface import Message
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.files import book_pace, file_book
from mainstem_edge.files.form import FileForm
from mainstem_edge.testing.file_site import CSV, FileSite, csv_rows
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import T0_MS
from mainstem_edge.testing.patience import eventually, taken
from mainstem_engine.engine import Engine
from mainstem_sync.receiving.quarantine import QuarantineStore

HEADER = "ts,count\n"
JSON = FileForm(piece="line")


def counts(engine: Engine, device: str = "") -> list[int]:
    rows = engine.scan("press").read_all().to_pylist()
    return sorted(row["count"] for row in rows if device in ("", row["device"]))


def shows(collector: FileCollector, **wanted: Any) -> bool:
    status = collector.status()
    return all(status[key] == value for key, value in wanted.items())


def test_files_become_rows_and_are_moved(site: FileSite, engine: Engine) -> None:
    site.put("m7.csv", HEADER + csv_rows(0, 30_000))
    site.put("m8.csv.gz", gzip.compress((HEADER + csv_rows(0, 20_000)).encode()))
    site.put("m9.csv", "\ufeff" + HEADER.replace(",", ";") + csv_rows(5, 1).replace(",", ";"))
    collector = site.start(site.collector())
    eventually(lambda: shows(collector, done=3, waiting=0, lag_bytes=0), "all done")
    assert counts(engine, "root.plant.m7") == list(range(30_000))
    assert counts(engine, "root.plant.m8") == list(range(20_000))
    assert counts(engine, "root.plant.m9") == [5]
    assert (site.names(), site.names("done")) == ([], ["m7.csv", "m8.csv.gz", "m9.csv"])
    assert shows(collector, state="connected", bad_files=0, unacknowledged=0, problems=[])


def test_a_file_stays_until_its_rows_are_durable(
    site: FileSite, engine: Engine, fs: GatedFilesystem
) -> None:
    collector = site.collector()
    site.put("m7.csv", HEADER + csv_rows(0, 10))
    fs.gate.clear()
    site.start(collector)
    eventually(lambda: shows(collector, unacknowledged=1), "on its way")
    eventually(fs.waiting.is_set, "the sync")
    assert (site.names(), collector.status()["done"]) == (["m7.csv"], 0)
    fs.gate.set()
    eventually(lambda: site.names("done") == ["m7.csv"], "moved")
    assert counts(engine) == list(range(10))


@pytest.mark.parametrize("after", ["delete", "keep"])
def test_deleted_or_kept(site: FileSite, engine: Engine, after: Any) -> None:
    site.put("m7.csv", HEADER + csv_rows(0, 10))
    collector = site.start(site.collector(after=after))
    eventually(lambda: shows(collector, done=1), "done")
    site.stop_all()
    assert site.names() == (["m7.csv"] if after == "keep" else [])
    assert not (site.root / "done").exists()
    again = site.start(site.collector(after=after))
    site.put("m8.csv", HEADER + csv_rows(0, 10))
    eventually(lambda: shows(again, done=1, waiting=0), "only the new one")
    assert again.status()["messages"] == 1
    if after == "keep":
        site.put("m7.csv", HEADER + csv_rows(0, 12))
        eventually(lambda: len(counts(engine, "root.plant.m7")) == 12, "it has changed")


def test_a_directory_of_too_many_kept_files_says_so(
    site: FileSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_book, "KEPT_MAX", 2)
    for number in range(2):
        site.put(f"m{number}.csv", HEADER + csv_rows(0, 1))
    collector = site.start(site.collector(after="keep"))
    eventually(lambda: shows(collector, done=2), "done")
    site.put("m2.csv", HEADER + csv_rows(0, 1))
    eventually(lambda: "use `after: move`" in (collector.status()["last_error"] or ""), "said")
    assert shows(collector, done=2, waiting=1)
    (site.root / "m0.csv").unlink()
    (site.root / "m1.csv").unlink()
    eventually(lambda: shows(collector, done=3), "there is room")


def test_what_cannot_be_read_goes_to_bad(
    site: FileSite, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    packed = gzip.compress(os.urandom(5000).hex().encode())
    site.put("cut.csv.gz", packed[: len(packed) // 2])
    site.put("no.csv.gz", b"plainly text")
    site.put("binary.csv", b"a,b\0\n1,2\n")
    site.put("latin.csv", b"ts,Temp \xb0C\n1,2\n")
    site.put("utf16.csv", "ts;Temp\n1;2\n".encode("utf-16"))
    site.put("unnamed.csv", "ts,,x\n1,2,3\n")
    site.put("m7.csv", HEADER + csv_rows(0, 3))
    form = FileForm(has_header=True, message_bytes_max=12_000, file_bytes_max=20_000)
    site.put("large.csv", HEADER + csv_rows(0, 2000))
    site.put("bomb.csv.gz", gzip.compress((HEADER + csv_rows(0, 2000)).encode()))
    collector = site.start(site.collector(form=form))
    eventually(lambda: shows(collector, done=1, bad_files=8), "all judged")
    eventually(lambda: len(site.names("bad")) == 8, "moved")
    assert counts(engine, "root.plant.m7") == [0, 1, 2]
    problems = dict(each.split(": ", 1) for each in collector.status()["problems"])
    assert problems["binary.csv"] == "it is no text"
    assert problems["latin.csv"] == (
        "its first line is not UTF-8: say `encoding: cp1252`, or what it is"
    )
    assert problems["utf16.csv"] == "it is UTF-16: let it be written as UTF-8"
    assert problems["large.csv"] == "it is larger than `file_limit`"
    assert problems["bomb.csv.gz"] == "unpacked it is larger than `file_limit`"
    assert "no header" in problems["unnamed.csv"]
    assert "before the end" in problems["cut.csv.gz"]
    assert all(name in caplog.text for name in problems)


def test_a_bad_line_costs_itself(site: FileSite, engine: Engine) -> None:
    body = f'{T0_MS},1\n{T0_MS + 1},"2\n{T0_MS + 2},3,4\n'.encode()
    body += f"{T0_MS + 3},\xff\n".encode("latin-1")
    site.put("m7.csv", HEADER.encode() + body + f"{T0_MS + 4},5".encode())
    collector = site.start(site.collector())
    eventually(lambda: shows(collector, done=1), "done")
    assert counts(engine) == [1, 5]


def test_long_lines_are_counted_and_passed_over(site: FileSite, engine: Engine) -> None:
    text = HEADER + csv_rows(0, 2) + f"{T0_MS},{'9' * 3000}\n" + csv_rows(2, 2)
    site.put("m7.csv", text)
    form = FileForm(has_header=True, message_bytes_max=1024)
    collector = site.start(site.collector(form=form))
    eventually(lambda: shows(collector, done=1, long_lines=1), "done")
    assert counts(engine) == [0, 1, 2, 3]
    assert "1 lines are longer" in collector.status()["last_error"]


def exported(rows: int) -> bytes:
    """As a SCADA system writes it: a preamble, names, units, a delimiter behind each cell."""
    head = 'Anlage;"Härterei"\nZeitraum;heute\n\nts;note;count;\n[ms];[°C];[Stk];\n'
    body = "".join(f"{T0_MS + n};größer {n} €;{n};\n" for n in range(rows))
    return (head + body).encode("cp1252")


EXPORT = FileForm(
    has_header=True, message_bytes_max=2048, encoding="cp1252", preamble_lines=3, unit_lines=1
)


@pytest.mark.parametrize("name", ["m7.csv", "m7.csv.gz"])
def test_an_export_with_preamble_units_and_another_encoding(
    site: FileSite, engine: Engine, quarantine: QuarantineStore, name: str
) -> None:
    site.put(name, gzip.compress(exported(20_000)) if name.endswith(".gz") else exported(20_000))
    collector = site.start(site.collector(form=EXPORT))
    eventually(lambda: shows(collector, done=1), "done")
    rows = engine.scan("press").read_all().to_pylist()
    assert [row["count"] for row in rows] == list(range(20_000))
    assert {row["note"] for row in rows} == {f"größer {n} €" for n in range(20_000)}
    assert quarantine.items() == []


def test_a_byte_that_is_no_character_costs_its_cell(
    site: FileSite, engine: Engine, quarantine: QuarantineStore
) -> None:
    site.put("m7.csv", exported(2) + f"{T0_MS + 2};x;\x81;\n".encode("latin-1"))
    collector = site.start(site.collector(form=EXPORT))
    eventually(lambda: shows(collector, done=1), "done")
    rows = engine.scan("press").read_all().to_pylist()
    assert [(row["note"], row["count"]) for row in rows][1:] == [("größer 1 €", 1), ("x", None)]
    assert [item["value"] for item in quarantine.items()] == ["\\x81"]


def test_an_encoding_that_the_file_does_not_have(site: FileSite) -> None:
    site.put("m7.csv", "\ufeffts;count\n1;2\n")
    collector = site.start(site.collector(form=FileForm(has_header=True, encoding="cp1252")))
    eventually(lambda: shows(collector, bad_files=1), "refused")
    assert "leave `encoding` out" in collector.status()["problems"][0]


def test_a_preamble_longer_than_a_line_may_be(site: FileSite) -> None:
    site.put("m7.csv", "x" * 3000 + "\nts;count\n1;2\n")
    form = FileForm(has_header=True, message_bytes_max=2048, preamble_lines=1)
    collector = site.start(site.collector(form=form))
    eventually(lambda: shows(collector, bad_files=1), "refused")
    assert "above its rows" in collector.status()["problems"][0]


def test_files_without_a_header(site: FileSite, engine: Engine) -> None:
    site.put("m7.csv", "\ufeff" + csv_rows(0, 3).replace(",", ";"))
    collector = site.start(site.collector(form=FileForm(has_header=True, header=b"ts;count")))
    eventually(lambda: shows(collector, done=1), "done")
    assert counts(engine) == [0, 1, 2]


def test_lines_of_json_and_whole_files(site: FileSite, engine: Engine) -> None:
    lines = [json.dumps({"ts": T0_MS + n, "count": n}) for n in range(5)]
    site.put("m7.json", "\n".join([*lines[:2], "", "{", *lines[2:]]))
    collector = site.start(site.collector(form=JSON))
    eventually(lambda: shows(collector, done=1, messages=6), "done")
    assert counts(engine) == [0, 1, 2, 3, 4]
    site.stop_all()
    path = site.put("m8.json", json.dumps({"count": 7}, indent=2))
    os.utime(path, (T0_MS // 1000, T0_MS // 1000))
    form = FileForm(piece="file", stamps=True, message_bytes_max=100)
    site.put("m9.json", " " * 101)
    collector = site.start(site.collector(form=form, source="auto"))
    eventually(lambda: shows(collector, done=1, bad_files=1), "done")
    (row,) = [r for r in engine.scan("press").read_all().to_pylist() if r["count"] == 7]
    assert row["time"] == T0_MS


def test_it_goes_on_where_it_was_after_a_stop(
    site: FileSite, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_pace, "BOOK_S", 0.0)
    path = site.put("m7.csv", HEADER + csv_rows(0, 100_000))
    size = path.stat().st_size
    collector = site.start(site.collector(queue=MessageQueue(1, 1 << 20)), stored=False)
    first, second = taken(collector, 2)
    first.origin.acknowledge([first.id])
    site.stop_all()
    (book,) = site.books.iterdir()
    ((_, offset),) = json.loads(book.read_text("utf-8"))["reading"].values()
    assert 0 < offset < size
    assert second.payload.startswith(b"ts,count\n")
    again = site.start(site.collector())
    eventually(lambda: shows(again, done=1), "the rest")
    site.stop_all()
    assert len(first.payload) - len(HEADER) + again.health.bytes - again.health.messages * len(
        HEADER
    ) == size - len(HEADER)
    assert json.loads(book.read_text("utf-8"))["reading"] == {}


def test_a_kill_after_a_few_seconds_of_a_large_file_does_not_begin_it_anew(
    site: FileSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is until the book is written by time."""
    monkeypatch.setattr(book_pace, "BOOK_S", 1e9)
    site.put("m7.csv", HEADER + csv_rows(0, 400_000))
    collector = site.start(site.collector(queue=MessageQueue(4, 1 << 30)), stored=False)
    messages: list[Message] = []
    while sum(len(each.payload) for each in messages) < book_pace.PROGRESS_BYTES + (1 << 20):
        messages += taken(collector, 1)
        messages[-1].origin.acknowledge([messages[-1].id])

    def position() -> int:
        books = [json.loads(path.read_text("utf-8")) for path in site.books.glob("*.json")]
        return sum(offset for book in books for _, offset in book["reading"].values())

    eventually(lambda: position() >= book_pace.PROGRESS_BYTES, "noted")


def test_a_file_that_changes_while_it_is_read_is_read_again(
    site: FileSite, engine: Engine, fs: GatedFilesystem
) -> None:
    collector = site.collector()
    path = site.put("m7.csv", HEADER + csv_rows(0, 10))
    fs.gate.clear()
    site.start(collector)
    eventually(lambda: shows(collector, unacknowledged=1), "on its way")
    with path.open("a", encoding="utf-8") as file:
        file.write(csv_rows(10, 5))
    fs.gate.set()
    eventually(lambda: shows(collector, done=1, changed_files=1), "both times")
    assert counts(engine) == list(range(15))


def test_a_file_that_cannot_be_put_away_is_read_once(
    site: FileSite, engine: Engine, tmp_path: Path
) -> None:
    (site.root / "done").symlink_to(tmp_path)
    site.put("m7.csv", HEADER + csv_rows(0, 10))
    collector = site.start(site.collector())
    eventually(lambda: shows(collector, done=1, waiting=0), "done")
    site.put("m8.csv", HEADER + csv_rows(0, 10))
    eventually(lambda: shows(collector, done=2, waiting=0), "the other")
    assert (collector.status()["messages"], site.names()) == (2, ["m7.csv", "m8.csv"])
    assert "cannot be put away" in collector.status()["last_error"]


def test_a_directory_that_is_missing_is_looked_for(site: FileSite, engine: Engine) -> None:
    collector = site.collector()
    site.root.rmdir()
    site.start(collector)
    eventually(lambda: "cannot be read" in (collector.status()["last_error"] or ""), "said")
    site.root.mkdir()
    site.put("m7.csv", HEADER + csv_rows(0, 10))
    eventually(lambda: shows(collector, done=1, state="connected"), "found")


def test_reading_waits_while_the_queue_is_full(site: FileSite) -> None:
    site.put("m7.csv", HEADER + csv_rows(0, 200_000))
    collector = site.start(site.collector(queue=MessageQueue(2, 1 << 30)), stored=False)
    eventually(lambda: collector.queue.statistics().full == 1, "full")
    assert len(collector.queue) == 2
    assert shows(collector, reading="m7.csv", done=0)


def test_odd_names_do_no_harm(site: FileSite, engine: Engine) -> None:
    for name in (b"a b.csv", b"m+#$.csv", b"\xff\n.csv", "Prüfstand.csv".encode()):
        (Path(os.fsdecode(os.fsencode(site.root) + b"/" + name))).write_text(
            HEADER + csv_rows(0, 1), encoding="utf-8"
        )
    collector = site.start(site.collector())
    eventually(lambda: shows(collector, done=4), "done")
    json.dumps(collector.status()).encode()
    devices = {row["device"] for row in engine.scan("press").read_all().to_pylist()}
    assert devices == {"root.plant.a b", "root.plant.m+#$", "root.plant.Prüfstand"}


def test_many_files(site: FileSite, engine: Engine) -> None:
    for number in range(1500):
        site.put(f"m{number % 10}_{number}.csv", HEADER + csv_rows(number, 1))
    collector = site.start(site.collector(form=CSV))
    eventually(lambda: shows(collector, done=1500, waiting=0), "all")
    assert len(site.names("done")) == 1500
    assert len(collector.status()["problems"]) == 0
