"""Random sequences of definitions, rows and restarts beside a model in dictionaries.

Templates and devices are dropped and made again under the same names, columns and tags renamed,
dropped, added again in other types and widened, tags set, rows written and deleted, the store
flushed, compacted and opened again. What DESCRIBE, SELECT, SELECT TAGS and SHOW DEVICES say of it
is compared all the while. A seed reproduces a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mainstem_engine import Engine
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import open_engine

COLUMN_TYPES = ["INT", "BIGINT", "DOUBLE", "TEXT", "BOOL"]
TAG_TYPES = ["INT", "TEXT", "DOUBLE"]
NAMES = "abcdef"


@dataclass
class Template:
    """Types by name, in the order of their declaration."""

    columns: dict[str, str]
    tags: dict[str, str]

    def free_name(self, pick: random.Random) -> str | None:
        free = [name for name in NAMES if name not in self.columns and name not in self.tags]
        return pick.choice(free) if free else None


@dataclass
class Device:
    """``rows``: values by column by time; a NULL is not there, and neither is a row of NULLs."""

    template: str
    tags: dict[str, Any]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)


def renamed(items: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in items.items()}


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else repr(value)


class Model:
    def __init__(self, path: Path, executor: InProcessExecutor, seed: int) -> None:
        self.path = path
        self.executor = executor
        self.pick = random.Random(seed)
        self.templates: dict[str, Template] = {}
        self.devices: dict[str, Device] = {}
        self.owners: dict[str, str] = {}
        """The template that a path has had, dropped or not: it keeps it."""
        self.asked: list[str] = []
        self.engine: Engine = open_engine(path)
        self.session = Session(self.engine, executor)

    def ask(self, sql: str) -> list[list[Any]]:
        self.asked.append(sql)
        result = self.session.execute(sql)
        return result.rows() or [[result.rows_affected]]

    def reopen(self) -> None:
        self.asked.append("-- opened again")
        self.engine.close()
        self.engine = open_engine(self.path)
        self.session = Session(self.engine, self.executor)

    def value(self, kind: str) -> Any:
        pick = self.pick
        if pick.random() < 0.15:
            return None
        return {
            "INT": pick.randrange(9),
            "BIGINT": 2**40 + pick.randrange(9),
            "DOUBLE": pick.randrange(90) / 4,
            "TEXT": pick.choice("xyz"),
            "BOOL": pick.random() < 0.5,
        }[kind]

    # Steps

    def step(self) -> None:
        if not self.templates:
            return self.create()
        name = self.pick.choice(sorted(self.templates))
        steps: list[Callable[[str], None]] = [self.insert] * 8
        steps += [self.add_column, self.drop_column, self.rename_column] * 2
        steps += [self.add_tag, self.drop_tag, self.rename_tag, self.set_tag] * 2
        steps += [self.widen, self.drop_device, self.drop_template, self.delete_by_tag]
        step = self.pick.choice([*steps, None, None, self.tidy])
        return self.create() if step is None else step(name)

    def create(self) -> None:
        name = self.pick.choice(["t1", "t2", "t3"])
        if name in self.templates:
            return
        names = self.pick.sample(NAMES, 4)
        columns = {each: self.pick.choice(COLUMN_TYPES) for each in names[:2]}
        tags = {each: self.pick.choice(TAG_TYPES) for each in names[2:]}
        written = [", ".join(f"{k} {v}" for k, v in each.items()) for each in (columns, tags)]
        self.ask(f"CREATE STABLE {name} (ts TIMESTAMP, {written[0]}) TAGS ({written[1]})")
        self.templates[name] = Template(columns, tags)

    def insert(self, name: str) -> None:
        template = self.templates[name]
        device = f"d{self.pick.randrange(5)}"
        tags = {tag: self.value(kind) for tag, kind in template.tags.items()}
        row = {column: self.value(kind) for column, kind in template.columns.items()}
        if self.owners.get(device, name) != name or not any(v is not None for v in row.values()):
            return
        time = self.pick.randrange(5) * 1_000
        named = f"({', '.join(tags)}) " if tags else ""
        given = f"{named}TAGS ({', '.join(map(literal, tags.values()))})"
        values = ", ".join(map(literal, row.values()))
        self.ask(
            f"INSERT INTO {device} USING {name} {given} "
            f"(ts, {', '.join(row)}) VALUES ({time}, {values})"
        )
        self.owners[device] = name
        present = {tag: value for tag, value in tags.items() if value is not None}
        known = self.devices.setdefault(device, Device(name, present))
        known.rows.setdefault(time, {}).update({c: v for c, v in row.items() if v is not None})

    def add_column(self, name: str) -> None:
        new = self.templates[name].free_name(self.pick)
        if new is not None and len(self.templates[name].columns) < 4:
            kind = self.pick.choice(COLUMN_TYPES)
            self.ask(f"ALTER STABLE {name} ADD COLUMN {new} {kind}")
            self.templates[name].columns[new] = kind

    def drop_column(self, name: str) -> None:
        columns = self.templates[name].columns
        if len(columns) < 2:
            return
        gone = self.pick.choice(list(columns))
        self.ask(f"ALTER STABLE {name} DROP COLUMN {gone}")
        del columns[gone]
        for device in self.of(name).values():
            left = {t: {c: v for c, v in r.items() if c != gone} for t, r in device.rows.items()}
            device.rows = {time: row for time, row in left.items() if row}

    def rename_column(self, name: str) -> None:
        template = self.templates[name]
        old, new = self.pick.choice(list(template.columns)), template.free_name(self.pick)
        if new is not None:
            self.ask(f"ALTER STABLE {name} RENAME COLUMN {old} TO {new}")
            template.columns = renamed(template.columns, old, new)
            for device in self.of(name).values():
                device.rows = {t: renamed(row, old, new) for t, row in device.rows.items()}

    def add_tag(self, name: str) -> None:
        new = self.templates[name].free_name(self.pick)
        if new is not None and len(self.templates[name].tags) < 3:
            kind = self.pick.choice(TAG_TYPES)
            self.ask(f"ALTER STABLE {name} ADD TAG {new} {kind}")
            self.templates[name].tags[new] = kind

    def drop_tag(self, name: str) -> None:
        tags = self.templates[name].tags
        if tags:
            gone = self.pick.choice(list(tags))
            self.ask(f"ALTER STABLE {name} DROP TAG {gone}")
            del tags[gone]
            for device in self.of(name).values():
                device.tags.pop(gone, None)

    def rename_tag(self, name: str) -> None:
        template = self.templates[name]
        new = template.free_name(self.pick)
        if template.tags and new is not None:
            old = self.pick.choice(list(template.tags))
            self.ask(f"ALTER STABLE {name} RENAME TAG {old} TO {new}")
            template.tags = renamed(template.tags, old, new)
            for device in self.of(name).values():
                device.tags = renamed(device.tags, old, new)

    def set_tag(self, name: str) -> None:
        tags, devices = self.templates[name].tags, self.of(name)
        if tags and devices:
            device, tag = self.pick.choice(sorted(devices)), self.pick.choice(list(tags))
            value = self.value(tags[tag])
            self.ask(f"ALTER TABLE {device} SET TAG {tag} = {literal(value)}")
            devices[device].tags.pop(tag, None)
            if value is not None:
                devices[device].tags[tag] = value

    def widen(self, name: str) -> None:
        template = self.templates[name]
        for what, types in (("COLUMN", template.columns), ("TAG", template.tags)):
            for each in [key for key, kind in types.items() if kind == "INT"][:1]:
                self.ask(f"ALTER STABLE {name} MODIFY {what} {each} BIGINT")
                types[each] = "BIGINT"

    def drop_device(self, name: str) -> None:
        if self.of(name):
            device = self.pick.choice(sorted(self.of(name)))
            self.ask(f"DROP TABLE {device}")
            del self.devices[device]

    def drop_template(self, name: str) -> None:
        self.ask(f"DROP STABLE {name}")
        del self.templates[name]
        for device in self.of(name):
            del self.devices[device]

    def delete_by_tag(self, name: str) -> None:
        tags = self.templates[name].tags
        for tag in list(tags)[:1]:
            value = self.value(tags[tag])
            if value is None:
                continue
            meant = [d for d in self.of(name).values() if d.tags.get(tag) == value]
            deleted = self.ask(f"DELETE FROM {name} WHERE {tag} = {literal(value)}")
            assert deleted == [[sum(len(device.rows) for device in meant)]]
            for device in meant:
                device.rows = {}

    def tidy(self, _: str) -> None:
        what = self.pick.choice(["FLUSH", "COMPACT DATABASE main", None])
        if what is None:
            self.reopen()
        else:
            self.ask(what)

    def of(self, template: str) -> dict[str, Device]:
        return {path: d for path, d in self.devices.items() if d.template == template}

    # What is there

    def check(self) -> None:
        for name, template in self.templates.items():
            described = self.ask(f"DESCRIBE {name}")
            for kind, wanted in (("MEASUREMENT", template.columns), ("TAG", template.tags)):
                assert [row[0] for row in described if row[2] == kind] == list(wanted)
            self.check_rows(name, template)
            for tag in template.tags:
                self.check_tag(name, tag)

    def check_rows(self, name: str, template: Template) -> None:
        columns, tags = list(template.columns), list(template.tags)
        rows = [
            [path, time, *(row.get(c) for c in columns), *(device.tags.get(t) for t in tags)]
            for path, device in sorted(self.of(name).items())
            for time, row in sorted(device.rows.items())
        ]
        listed = ", ".join(["tbname", "ts", *columns, *tags])
        self.asked.append(f"SELECT {listed} FROM {name} ORDER BY tbname, ts")
        assert self.session.execute(self.asked[-1]).rows() == rows

    def check_tag(self, name: str, tag: str) -> None:
        devices = self.of(name)
        self.asked.append(f"SELECT TAGS tbname, {tag} FROM {name}")
        listed = self.session.execute(self.asked[-1]).rows()
        assert dict(listed) == {path: device.tags.get(tag) for path, device in devices.items()}
        for value in {device.tags.get(tag) for device in devices.values()}:
            asked = f"{tag} IS NULL" if value is None else f"{tag} = {literal(value)}"
            self.asked.append(f"SHOW DEVICES {name} WHERE {asked}")
            found = {row[0].split(".")[-1] for row in self.session.execute(self.asked[-1]).rows()}
            assert found == {path for path, d in devices.items() if d.tags.get(tag) == value}


def check_sequence(path: Path, executor: InProcessExecutor, seed: int, steps: int) -> None:
    model = Model(path, executor, seed)
    try:
        for number in range(steps):
            model.step()
            if number % 4 == 0:
                model.check()
        model.reopen()
        model.check()
    except Exception as error:
        error.add_note(";\n".join(model.asked[-60:]))
        raise
    finally:
        model.engine.close()


@pytest.mark.parametrize("seed", range(4))
def test_definitions(tmp_path: Path, executor: InProcessExecutor, seed: int) -> None:
    check_sequence(tmp_path / "data", executor, seed, 60)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 130))
def test_definitions_for_long(tmp_path: Path, executor: InProcessExecutor, seed: int) -> None:
    check_sequence(tmp_path / "data", executor, seed, 150)
