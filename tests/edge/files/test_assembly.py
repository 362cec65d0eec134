"""From the file to rows: the example of the page, line protocol, JSON and values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.collectors.file import FileCollector
from mainstem_edge.testing.parts import NOW_NS, T0_MS
from mainstem_edge.testing.patience import eventually
from mainstem_engine.engine import Engine
from mainstem_node.config import check, load_topology
from mainstem_node.declare import declare
from mainstem_sync.receiving.quarantine import QuarantineStore

PAGE = Path(__file__).resolve().parents[3] / "docs" / "collect-files.md"
BENCH = {"tags": {"hall": "TEXT"}, "measurements": {"speed": {"type": "DOUBLE"}}}


@contextmanager
def running(
    place: Path,
    engine: Engine,
    quarantine: QuarantineStore,
    *collectors: dict[str, Any],
    template: dict[str, Any] | None = None,
) -> Iterator[list[FileCollector]]:
    (place / "data").mkdir(exist_ok=True)
    quick = [
        {"every": "100ms", **({} if "mode" in each else {"settle": "0s"}), **each}
        for each in collectors
    ]
    document = {
        "templates": {"bench": template or BENCH},
        "nodes": [{"id": "edge", "tier": "edge", "listen": "127.0.0.1:0", "data_dir": "data",
                   "collectors": quick}],
    }  # fmt: skip
    file = place / "topology.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    assert check(file) == []
    found = load_topology(file)
    declare(engine, found, found.nodes[0])
    bench = Workbench(found, found.nodes[0], engine, quarantine, clock_ns=lambda: NOW_NS)
    intakes = Assembly(bench).intakes()
    for intake in intakes:
        intake.start()
        intake.collector.start()
    try:
        yield [each.collector for each in intakes if isinstance(each.collector, FileCollector)]
    finally:
        for intake in intakes:
            intake.collector.pause()
            intake.drain(5)
            intake.collector.stop(5)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def done(collector: FileCollector, count: int = 1) -> bool:
    return bool(collector.status()["done"] == count)


def stored(engine: Engine, table: str = "bench") -> set[tuple[Any, ...]]:
    rows = engine.scan(table).read_all().to_pylist()
    return {(row["device"], row["time"], row["speed"]) for row in rows}


def examples() -> list[dict[str, Any]]:
    texts = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [each for text in texts for each in yaml.safe_load(text)["collectors"]]


def test_the_example_of_a_growing_file(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    path = tmp_path / "log" / "m7.csv"
    put(path, "ts;speed\n2026-10-21 02:00:01;5.5\n2026-10-21 02:00:02;")
    with running(tmp_path, engine, quarantine, examples()[2]) as collectors:
        eventually(lambda: len(stored(engine)) == 1, "the first line")
        with path.open("a", encoding="utf-8") as file:
            file.write("6\n")
        eventually(lambda: len(stored(engine)) == 2, "the second")
    assert collectors == []  # it is no collector of complete files
    assert ("root.plant.m7", T0_MS + 2000, 6.0) in stored(engine)
    assert path.exists()
    assert len(list((tmp_path / "data").glob("follow-*.json"))) == 1


def test_the_example_of_the_page(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    example = examples()[0]
    put(
        tmp_path / "inbox" / "hall2" / "M7_2026-10-21.csv",
        "ts;speed\n2026-10-21 02:00:01;5.5\n2026-10-21 02:00:02;6\n;7\n",
    )
    put(tmp_path / "inbox" / "M8.csv", "ts;speed\n2026-10-21 02:00:01;5.5\n")
    with running(tmp_path, engine, quarantine, example) as (collector,):
        eventually(lambda: done(collector), "done")
    assert stored(engine) == {
        ("root.plant.hall2.M7", T0_MS + 1000, 5.5),
        ("root.plant.hall2.M7", T0_MS + 2000, 6.0),
    }
    assert (tmp_path / "inbox" / "done" / "hall2" / "M7_2026-10-21.csv").exists()
    assert (tmp_path / "inbox" / "M8.csv").exists()
    assert len(quarantine.items()) == 1  # the row without a time


def test_the_example_of_an_export(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    path = tmp_path / "exports" / "M7.csv"
    path.parent.mkdir()
    text = "Anlage;Härterei\n\nDatum;Uhrzeit;Drehzahl, ist;\n;;[°/s];\n"
    text += "21.10.2026;02:00:01;1.005,5;\n21.10.2026;02:00:02;6;\n"
    path.write_bytes(text.encode("cp1252"))
    template = {"measurements": {"speed": {"type": "DOUBLE", "from": "Drehzahl, ist"}}}
    with running(tmp_path, engine, quarantine, examples()[1], template=template) as (collector,):
        eventually(lambda: done(collector), "done")
    assert stored(engine) == {
        ("root.plant.M7", T0_MS + 1000, 1005.5),
        ("root.plant.M7", T0_MS + 2000, 6.0),
    }
    assert quarantine.items() == []


def test_every_codec(tmp_path: Path, engine: Engine, quarantine: QuarantineStore) -> None:
    at = T0_MS
    put(tmp_path / "lp" / "a.lp", f"w,site=b speed=1.5 {at}000000\nw,site=b speed=2 {at + 1}000000")
    put(tmp_path / "json" / "m1.jsonl", f'{{"ts": {at}, "speed": 1}}\n{{"ts": {at + 1}}}\n')
    put(tmp_path / "doc" / "m2.json", f'[\n {{"ts": {at}, "speed": 2}},\n {{"ts": {at + 1}}}\n]')
    put(tmp_path / "raw" / "m3_speed.txt", "3.5\n")
    os.utime(tmp_path / "raw" / "m3_speed.txt", (at // 1000, at // 1000))
    rest = {"type": "file", "template": "bench", "device": "root.x.{file[0]}"}
    with running(
        tmp_path, engine, quarantine,
        {"type": "file", "path": "lp", "codec": "line_protocol"},
        {**rest, "path": "json", "codec": "json"},
        {**rest, "path": "doc", "codec": "json", "whole": True},
        {**rest, "path": "raw", "codec": "raw", "whole": True, "measurement": "{file[-1]}",
         "time": {"source": "record"}},
    ) as collectors:  # fmt: skip
        eventually(lambda: all(map(done, collectors)), "done")
    rows = engine.scan("w").read_all().to_pylist()
    assert sorted(row["speed"] for row in rows) == [1.5, 2.0]
    assert {("root.x.m1", at, 1.0), ("root.x.m2", at, 2.0), ("root.x.m3", at, 3.5)} <= stored(
        engine
    )


def test_rows_of_one_file_take_its_time_where_the_file_says_so(
    tmp_path: Path, engine: Engine, quarantine: QuarantineStore
) -> None:
    put(tmp_path / "in" / "a.csv", "name,speed\nm1,1\nm2,2\n")
    os.utime(tmp_path / "in" / "a.csv", (T0_MS // 1000, T0_MS // 1000))
    config = {"type": "file", "path": "in", "codec": "csv", "template": "bench",
              "device": "root.x.{payload.name}", "time": {"source": "record"}}  # fmt: skip
    with running(tmp_path, engine, quarantine, config) as (collector,):
        eventually(lambda: done(collector), "done")
    assert stored(engine) == {("root.x.m1", T0_MS, 1.0), ("root.x.m2", T0_MS, 2.0)}
