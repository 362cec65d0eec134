"""SQL reads the tables of the engine and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mainstem_engine.errors import MainstemError, SqlError, SqlUnsupportedError
from mainstem_engine.sql.result import Result
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.running.sandbox import Program

Run = Callable[..., Result]

ESCAPES = [
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM read_json_auto('{file}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "FROM '{file}'",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_version()",
    "SELECT * FROM pg_settings",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('x')",
    "SELECT * FROM system.main.read_csv('{file}')",
    "SELECT getenv('HOME')",
    "SELECT current_setting('memory_limit')",
    "SELECT getvariable('x')",
    "SELECT json_execute_serialized_sql('x')",
    "SELECT (SELECT max(content) FROM read_text('{file}'))",
    "WITH x AS (SELECT * FROM read_csv('{file}')) SELECT * FROM x",
    "SELECT 1 UNION ALL SELECT * FROM read_csv('{file}')",
    "COPY (SELECT 1) TO '{file}'",
    "COPY t FROM '{file}'",
    "EXPORT DATABASE '{folder}'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{file}' AS x",
    "DETACH x",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "SET memory_limit = '10GB'",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "CALL pragma_version()",
    "CREATE TABLE x AS SELECT * FROM read_csv('{file}')",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO f(x) AS x",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "VACUUM",
    "CHECKPOINT",
    "UPDATE meters SET voltage = 1",
    "SELECT 1 INTO x",
    "SUMMARIZE meters",
    "PIVOT meters ON location USING sum(voltage)",
    "SELECT * FROM (PIVOT meters ON location USING sum(voltage))",
    "SELECT * FROM meters FOR UPDATE",
    "SELECT * FROM (DESCRIBE meters)",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_every_way_out_is_refused(plant: Run, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hidden\n1\n", encoding="utf-8")
    with pytest.raises(MainstemError) as caught:
        plant(sql.format(file=secret, folder=tmp_path))
    assert "hidden" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/x.db' AS x",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '10GB'",
        "SET enable_external_access = true",
        "SELECT * FROM program",
    ],
)
def test_the_executing_database_is_closed_without_the_check_too(
    executor: InProcessExecutor, tmp_path: Path, sql: str
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hidden\n1\n", encoding="utf-8")
    text = sql.format(file=secret, folder=tmp_path)
    program = Program(text, (), "UTC", (), False, executor.limits)
    with pytest.raises(SqlError) as caught:
        executor.execute(program, lambda name: None)
    assert "hidden" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [secret]


def test_a_refusal_says_where_sql_ends(plant: Run) -> None:
    with pytest.raises(SqlUnsupportedError, match=r"read_csv.*no files"):
        plant("SELECT * FROM read_csv('x')")


def test_functions_that_only_compute_are_fine(plant: Run) -> None:
    rows = plant("SELECT regexp_extract('a1', '[0-9]'), list_sum([1, 2]), md5('x') IS NOT NULL")
    assert rows.rows() == [["1", 3, True]]
