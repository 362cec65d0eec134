"""`mainstem sql --data`: a data directory without a node."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mainstem_engine import Engine
from mainstem_engine.errors import LockedError
from mainstem_node import cli

NOW = 1_792_540_800_000


def sql(directory: Path, statement: str, *options: str) -> Result:
    answer = CliRunner().invoke(cli.app, ["sql", "--data", str(directory), *options, statement])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    sql(place, "CREATE STABLE meters (ts TIMESTAMP, current DOUBLE, n BIGINT) TAGS (location TEXT)")
    sql(
        place,
        "INSERT INTO d1 USING meters TAGS ('hall') VALUES"
        f" ({NOW}, 0.1, 1), ({NOW + 1}, NULL, 9007199254740993)",
    )
    return place


def test_rows_are_exact_in_every_format(directory: Path) -> None:
    query = "SELECT time, current, n FROM meters ORDER BY time"
    assert sql(directory, query, "--format", "csv").stdout == (
        f"time,current,n\n{NOW},0.1,1\n{NOW + 1},,9007199254740993\n"
    )
    answer = json.loads(sql(directory, query, "--json").stdout)
    assert answer["rows"] == [[NOW, 0.1, 1], [NOW + 1, None, 9007199254740993]]
    assert answer["columns"][0] == {"name": "time", "type": "TIMESTAMP", "unit": "ms",
                                    "zone": "UTC"}  # fmt: skip
    table = sql(directory, query).stdout
    assert "2026-10-21T00:00:00" in table
    assert table.endswith("(2 rows)\n")


def test_parquet_goes_to_a_file(directory: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file = tmp_path / "out.parquet"
    sql(directory, "SELECT n FROM meters ORDER BY n", "--format", "parquet", "--output", str(file))
    assert pq.read_table(file).column("n").to_pylist() == [1, 9007199254740993]


def test_a_directory_that_a_process_owns_is_refused(directory: Path) -> None:
    with (
        Engine.open(directory, owner_url="http://127.0.0.1:8400"),
        pytest.raises(LockedError) as refused,
    ):
        sql(directory, "SELECT 1")
    assert str(os.getpid()) in str(refused.value)
    assert "http://127.0.0.1:8400" in str(refused.value)


def test_stats_say_what_is_there(directory: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["db", "stats", str(directory)])
    assert answer.exit_code == 0, answer.exception
    assert "meters" in answer.stdout
    assert "damaged" not in answer.stdout
    found = json.loads(
        CliRunner().invoke(cli.app, ["db", "stats", str(directory), "--json"]).stdout
    )
    assert found["templates"] == ["meters"]
    assert found["devices"] == 1


def test_a_new_directory_is_announced(tmp_path: Path) -> None:
    answer = sql(tmp_path / "fresh", "SHOW DATABASES")
    assert "is a new data directory" in answer.stderr
