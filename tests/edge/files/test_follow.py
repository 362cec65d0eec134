"""Files that others go on writing: rotated, cut, deleted, unreadable, too many at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstem_edge.collectors import file_follow as module
from mainstem_edge.collectors.file_follow import FollowCollector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.files import follow_book
from mainstem_edge.files.form import FileForm
from mainstem_edge.testing.file_site import FileSite, csv_rows
from mainstem_edge.testing.parts import T0_MS
from mainstem_edge.testing.patience import eventually
from mainstem_engine.engine import Engine
from mainstem_node import metric_families

HEADER = "ts,count\n"
JSON = FileForm(piece="line")


class Reading:
    """A collector that is driven by hand. ``lines``: what it handed on, without headers."""

    def __init__(self, site: FileSite, **options: Any) -> None:
        self.collector: FollowCollector = site.follower(**options)
        self.lines: list[tuple[str, str]] = []
        self.headers: list[str] = []

    def __call__(self, *, stored: bool = True) -> list[str]:
        """Turns until there is no more; the lines that came."""
        before = len(self.lines)
        is_more = True
        while is_more:
            is_more = self.collector.turn()
            self.take(stored=stored)
        return [line for _, line in self.lines[before:]]

    def take(self, *, stored: bool = True) -> None:
        for message in (
            self.collector.queue.take(1000, 1 << 30, 0) if len(self.collector.queue) else []
        ):
            lines = message.payload.decode().splitlines()
            if message.payload.startswith(b"ts") or b"count" in message.payload.partition(b"\n")[0]:
                self.headers.append(lines.pop(0))
            self.lines += [(message.topic.removeprefix("file/"), each) for each in lines]
            if stored:
                message.origin.acknowledge([message.id])

    def status(self) -> dict[str, Any]:
        return self.collector.status()


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def test_lines_are_read_as_they_come_and_a_partial_one_waits(site: FileSite) -> None:
    path = site.put("m7.csv", "ts,co")
    read = Reading(site)
    assert read() == []
    append(path, "unt\n1,1\n2,")
    assert read() == ["1,1"]
    assert read() == []
    (file,) = read.status()["files"]
    assert (file["position"], file["size"], file["lag_bytes"]) == (13, 15, 2)
    append(path, "2\n3,3\n")
    assert read() == ["2,2", "3,3"]
    assert read.headers == ["ts,count"] * 2
    assert read.status()["lag_bytes"] == 0


def test_it_goes_on_behind_what_is_stored(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    assert read() == ["1,1"]
    append(path, "2,2\n")
    assert read(stored=False) == ["2,2"]
    read.collector.write_book()
    append(path, "3,3\n")
    again = Reading(site)
    assert again() == ["2,2", "3,3"]
    assert again.headers == ["ts,count"]
    again.collector.write_book()
    assert Reading(site)() == []


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    append(path, "2,2\n")
    path.rename(site.root / "m7.csv.1")
    append(site.root / "m7.csv.1", "3,3\n")
    site.put("m7.csv", HEADER + "4,4\n")
    assert read() == ["2,2", "3,3", "4,4"]
    append(site.root / "m7.csv.1", "5,5\n")  # its writer has not heard of it
    assert read() == ["5,5"]
    assert {name for name, _ in read.lines} == {"m7"}
    assert read.status()["following"] == 2


@pytest.mark.parametrize("pattern", ["*.csv", "*.csv*"])
def test_rotations_while_nobody_looked(site: FileSite, pattern: str) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site, pattern=pattern)
    read()
    read.collector.write_book()
    append(path, "2,2\n")
    path.rename(site.root / "m7.csv.2")
    middle = site.put("m7.csv.1", HEADER + "3,3\n")
    os.utime(middle, (1, 1))
    site.put("m7.csv.3.gz", "packed")
    site.put("m7.csv", HEADER + "4,4\n")
    again = Reading(site, pattern=pattern)
    # One that came and went meanwhile is read only where the pattern has its name.
    assert again() == (["2,2", "3,3", "4,4"] if pattern == "*.csv*" else ["2,2", "4,4"])
    assert {name for name, _ in again.lines} == {"m7"}


@pytest.mark.parametrize("content", ["9,9\n", "9,9\n8,8\n7,7\n6,6\n5,5\n", "1,1\n2,2\n3,4\n"])
def test_a_file_that_was_cut_is_read_from_its_beginning(site: FileSite, content: str) -> None:
    """Also where it is as long as before, or longer."""
    path = site.put("m7.csv", HEADER + "1,1\n2,2\n3,3\n")
    read = Reading(site)
    read()
    path.write_text(HEADER + content, encoding="utf-8")
    os.utime(path, ns=(0, 1))
    assert read() == content.split()
    assert read.status()["cut_files"] == 1
    assert "was cut or written anew" in read.status()["last_error"]
    append(path, "4,4\n")
    assert read() == ["4,4"]


def test_a_file_that_was_cut_while_nobody_looked(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n2,2\n")
    read = Reading(site)
    read()
    read.collector.write_book()
    path.write_text(HEADER + "9,9\n8,8\n7,7\n", encoding="utf-8")
    again = Reading(site)
    assert again() == ["9,9", "8,8", "7,7"]
    assert again.status()["cut_files"] == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_header_after_a_cut(site: FileSite, is_restarted: bool) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    for text, header, rows in (
        ("2,2\n3,3\n", "ts,count", ["2,2", "3,3"]),  # its writer goes on without one
        ("4,4\n", "ts,count", ["4,4"]),
        ("ts,x\n5,5\n", "ts,x", ["5,5"]),
        ("time,count2\n6,6\n", "time,count2", ["6,6"]),
    ):
        if is_restarted:
            read.collector.write_book()
            read = Reading(site)
        path.write_text(text, encoding="utf-8")
        assert read() == rows
        assert read.headers[-1] == header
    append(path, "7,7\n")
    read.collector.write_book()
    assert Reading(site)() == ["7,7"]


def test_a_header_that_does_not_stand_in_the_file_outlives_a_restart(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    path.write_text("2,2\n", encoding="utf-8")
    read()
    read.collector.write_book()
    append(path, "3,3\n")
    again = Reading(site)
    assert (again(), again.headers) == (["3,3"], ["ts,count"])


def test_a_number_that_another_file_got_deceives_nobody(site: FileSite) -> None:
    """Headers longer than the fingerprint's beginning are alike; what comes behind is not."""
    long = "ts,count," + ",".join(f"m{n}" for n in range(500)) + "\n"
    path = site.put("m7.csv", long + "1,1\n2,2\n")
    read = Reading(site)
    read()
    read.collector.write_book()
    (book,) = site.books.iterdir()
    path.unlink()
    other = site.put("m8.csv", long + "3,3\n4,4\n5,5\n")
    data = json.loads(book.read_text("utf-8"))
    status = other.stat()
    data["files"][0][:2] = [status.st_dev, status.st_ino]
    book.write_text(json.dumps(data), encoding="utf-8")
    again = Reading(site)
    assert again() == ["3,3", "4,4", "5,5"]
    assert again.lines[0][0] == "m8"


def test_a_share_with_another_device_number_goes_on(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    read.collector.write_book()
    (book,) = site.books.iterdir()
    data = json.loads(book.read_text("utf-8"))
    data["files"][0][0] += 1
    book.write_text(json.dumps(data), encoding="utf-8")
    append(path, "2,2\n")
    again = Reading(site)
    assert again() == ["2,2"]
    again.collector.write_book()
    assert len(json.loads(book.read_text("utf-8"))["files"]) == 1


def test_a_deleted_file_is_read_to_its_end_and_let_go(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    with path.open("a", encoding="utf-8") as file:
        file.write("2,2\n")
        file.flush()
        path.unlink()
        assert read() == ["2,2"]
        site.now += module.LINGER_S / 2
        file.write("3,3\n4,")
    assert read() == ["3,3"]
    site.now += module.LINGER_S
    assert read() == []
    status = read.status()
    assert (status["following"], status["lost_bytes"]) == (0, 2)
    assert "2 bytes of it were not read" in status["last_error"]


def test_a_directory_that_is_away_and_comes_back_is_not_read_again(
    site: FileSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_book, "GONE_MAX", 0)
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    away = site.root.with_name("away")
    site.root.rename(away)
    with pytest.raises(ConnectionError, match="cannot be read"):
        read.collector.turn()
    site.root.mkdir()  # the place where a share is mounted
    for _ in range(3):
        assert read() == []
        site.now += module.LINGER_S
    assert read.status()["following"] == 0
    site.root.rmdir()
    away.rename(site.root)
    append(path, "2,2\n")
    assert read() == ["2,2"]


def test_files_of_a_directory_that_cannot_be_listed_are_not_let_go(
    site: FileSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("a/m7.csv", HEADER + "1,1\n")
    read = Reading(site, pattern="*/*.csv")
    read()
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for _ in range(3):
        assert read() == []
        site.now += module.LINGER_S
    assert (read.status()["following"], read.status()["lost_bytes"]) == (1, 0)
    assert read.status()["last_error"] == "a/: Permission denied"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_the_next_file_of_a_name_may_have_no_header(site: FileSite, is_deleted: bool) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site)
    read()
    if is_deleted:
        path.unlink()
        read()
        site.now += module.LINGER_S
        read()
        assert read.status()["following"] == 0
    else:
        path.rename(site.root / "m7.csv.1")
    site.put("m7.csv", "2,2\n")
    assert read() == ["2,2"]
    assert read.headers[-1] == "ts,count"
    read.collector.write_book()
    path.unlink()
    site.put("m7.csv", "3,3\n")
    again = Reading(site)
    assert (again(), again.headers) == (["3,3"], ["ts,count"])


def test_lags_are_metrics(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n2")
    read = Reading(site)
    read()
    scraped = metric_families._collectors({"collectors": [read.status()]})
    samples = {each.name: each for family in scraped for each in family.samples}
    lag = samples["mainstem_file_lag_bytes"]
    assert (lag.labels["file"], lag.value) == (path.name, 1)
    assert samples["mainstem_collector_lost_bytes_total"].value == 0


def test_a_line_that_is_too_long_costs_itself(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n")
    read = Reading(site, form=FileForm(has_header=True, message_bytes_max=10_000))
    read()
    for _ in range(5):
        append(path, "9" * 5000)
        assert read() == []
    append(path, "\n2,2\n")
    assert read() == ["2,2"]
    assert read.status()["long_lines"] == 1
    assert "longer than `message_limit`" in read.status()["last_error"]
    append(path, "9" * 9000)
    read()
    append(path, "\n")
    assert read() == ["9" * 9000]  # one that is not


def test_an_unreadable_file_is_trouble_and_recovers(
    site: FileSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = site.put("m7.csv", HEADER + "1,1\n")
    site.put("m8.csv", HEADER + "2,2\n")
    site.put("m9.csv", ",\n")
    real = os.open

    def refused(path: Any, flags: int) -> int:
        if path == denied:
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", refused)
    read = Reading(site)
    assert read() == ["2,2"]
    assert read() == []
    status = read.status()
    problems = {each["file"]: each["problem"] for each in status["files"]}
    assert problems["m7.csv"] == "Permission denied"
    assert "no header" in problems["m9.csv"]
    assert (status["unreadable"], status["errors"]) == (2, 2)
    monkeypatch.setattr(os, "open", real)
    site.now += module.RETRY_S
    site.put("m9.csv", HEADER + "3,3\n")
    assert sorted(read()) == ["1,1", "3,3"]
    assert read.status()["unreadable"] == 0


def test_no_file_holds_up_the_others(site: FileSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("a.csv", HEADER + "1,1\n" * 1_000_000)
    site.put("b.csv", HEADER + "2,2\n")
    read = Reading(site)
    assert read.collector.turn()
    read.take()
    assert {name for name, _ in read.lines} == {"a", "b"}
    assert len(read.lines) < 500_000
    read()
    assert len(read.lines) == 1_000_001


def test_the_older_of_one_name_is_read_first(site: FileSite) -> None:
    site.put("m7.csv.1", HEADER + "1,1\n" * 600_000)
    os.utime(site.root / "m7.csv.1", (1, 1))
    site.put("m7.csv", HEADER + "2,2\n")
    read = Reading(site, pattern="*.csv*")
    read()
    assert [line for _, line in read.lines] == ["1,1"] * 600_000 + ["2,2"]


def test_more_files_than_are_followed(site: FileSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOWED_MAX", 2)
    monkeypatch.setattr(module, "LINGER_S", 0.0)
    for number in range(3):
        os.utime(site.put(f"m{number}.csv", HEADER + f"{number},1\n"), (number, number))
    read = Reading(site)
    assert read() == ["0,1", "1,1"]
    for _ in range(3):
        assert read() == []
    assert read.collector.queue.statistics().messages == 0
    assert (read.status()["following"], read.status()["unfollowed"]) == (2, 1)
    assert "1 files are not read" in read.status()["last_error"]
    append(site.root / "m1.csv", "1,2\n")
    assert read() == ["1,2"]
    assert (read.status()["following"], read.status()["lost_bytes"]) == (2, 0)
    (site.root / "m0.csv").unlink()
    read()  # it is let go, and there is room
    read()
    assert [line for _, line in read.lines] == ["0,1", "1,1", "1,2", "2,1"]


def test_from_the_end_is_only_for_what_was_there_at_the_very_first_start(site: FileSite) -> None:
    path = site.put("m7.csv", HEADER + "1,1\n2,")
    read = Reading(site, start="end")
    assert read() == []
    site.put("m8.csv", HEADER + "3,3\n")
    append(path, "2\n")
    assert read() == ["2,2", "3,3"]
    append(path, "4,4\n")  # and the process is killed: its book is of the first look
    again = Reading(site, start="end")
    assert sorted(again()) == ["2,2", "3,3", "4,4"]


def test_from_the_end_of_nothing_is_the_beginning(site: FileSite) -> None:
    Reading(site, start="end")()
    site.put("m7.csv", HEADER + "1,1\n")
    assert Reading(site, start="end")() == ["1,1"]


def test_lines_of_json(site: FileSite) -> None:
    path = site.put("m7.csv", '\ufeff{"count": 1}\n\n{"count": 2}\n')
    read = Reading(site, form=JSON)
    assert len(read()) == 0
    assert read.collector.health.messages == 2
    read.collector.write_book()
    append(path, '{"count": 3}\n')
    again = Reading(site, form=JSON)
    again()
    assert again.collector.health.messages == 1


def test_memory_and_handles_are_bounded(site: FileSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        site.put(f"m{number}.csv", HEADER + "1,1\n" + "9" * 20_000)
    before = len(os.listdir("/proc/self/fd"))
    read = Reading(site)
    assert len(read()) == 200
    assert len(os.listdir("/proc/self/fd")) < before + 100
    assert len(read.status()["files"]) == module.FILES_SHOWN


def test_a_full_queue_holds_reading_up(site: FileSite) -> None:
    site.put("m7.csv", HEADER + csv_rows(0, 200_000))
    collector = site.follower(
        queue=MessageQueue(2, 1 << 30), every_s=0.01, monotonic=time.monotonic
    )
    site.start(collector, stored=False)
    eventually(lambda: collector.queue.statistics().full == 1, "full")
    assert len(collector.queue) == 2


def test_rows_are_stored_as_they_come(site: FileSite, engine: Engine) -> None:
    path = site.put("m7.csv", HEADER)
    collector = site.start(site.follower(every_s=0.01, monotonic=time.monotonic))
    for number in range(3):
        append(path, csv_rows(10 * number, 10))
        eventually(caught_up(collector, path), "stored")
    path.rename(site.root / "m7.csv.1")
    site.put("m7.csv", HEADER + csv_rows(30, 1))
    append(site.root / "m7.csv.1", f"{T0_MS + 31},31\n")
    eventually(lambda: len(engine.scan("press").read_all()) == 32, "both")
    rows = engine.scan("press").read_all().to_pylist()
    assert sorted(row["count"] for row in rows) == list(range(32))
    assert {row["device"] for row in rows} == {"root.plant.m7"}
    assert collector.status()["state"] == "connected"
    site.stop_all()
    again = site.start(site.follower(every_s=0.01, monotonic=time.monotonic))
    eventually(lambda: again.status()["following"] == 2, "seen")
    eventually(caught_up(again, path), "caught up")
    assert again.status()["messages"] == 0


def caught_up(collector: FollowCollector, path: Path) -> Callable[[], bool]:
    def is_so() -> bool:
        status = collector.status()
        sizes = {each["file"]: each["position"] for each in status["files"]}
        return sizes.get(path.name) == path.stat().st_size

    return is_so


def test_a_growing_file_of_another_encoding(site: FileSite) -> None:
    form = FileForm(has_header=True, encoding="cp1252")
    read = Reading(site, form=form)
    path = site.put("m7.csv", "ts;Größe count\n1;größer\n".encode("cp1252"))
    assert read() == ["1;größer"]
    with path.open("ab") as file:
        file.write("2;€\n".encode("cp1252"))
    assert read() == ["2;€"]
    assert set(read.headers) == {"ts;Größe count"}
    site.put("m7.csv", "3;ä\n".encode("cp1252"))  # cut, and without the header
    assert read() == ["3;ä"]
    assert read.headers[-1] == "ts;Größe count"
