"""The example takes the kinds of files that real recordings come in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "embedded.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embedded_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(*cells: str, rows: int = 30) -> list[str]:
    """Rows of a pattern; ``{d}`` is a day from 1 on, ``{i}`` counts."""
    return ["".join(cells).format(i=i, d=i + 1, m=i % 60) for i in range(rows)]


FILES = {
    "semicolons": ["datetime;Volume Flow RateRMS;anomaly",
                   *lines("2020-02-08 13:30:{m:02d};{i}.5;0.0")],
    "day first, byte order mark": ["﻿date,Usage_kWh,CO2(tCO2),Load_Type",
                                   *lines("{d:02d}/01/2018 00:15,{i}.25,0,Light")],
    "zoned": ["time_utc,heat_kwh", *lines("2023-09-03 00:{m:02d}:00+00:00,29.{i}")],
    "no header": lines("2018-01-01T00:{m:02d}:00+00:00,4.{i}"),
    "days with slashes": ["date,rain,weather", *lines("2012/01/{d:02d},{i}.1,drizzle")],
    "decimal commas": ["Zeit;Druck", *lines("{d:02d}.01.2024 06:00;3,{i}")],
    "epoch seconds": ["timestamp,value", *lines("17{i:08d},{i}.5")],
    "tabs and empty cells": ["time\torder\tselect", *lines("2024-05-01 10:{m:02d}:00\t{i}\t")],
    "month first": ["when,x", *lines("01/{d:02d}/2024 08:00:00,{i}")],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file(
    example: ModuleType, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.csv"
    file.write_text("\n".join(FILES[name]) + "\n", encoding="utf-8")
    example.main([str(file), "--data", str(tmp_path / "data")])
    printed = capsys.readouterr().out
    assert "stored   30 rows of 30" in printed
    assert "pandas   (30," in printed
    assert "polars   (30," in printed


def test_times_types_and_names(example: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("\n".join(FILES["day first, byte order mark"]), encoding="utf-8")
    rows, types = example.read_csv(file)
    assert types == {"usage_kwh": "DOUBLE", "co2_tco2": "BIGINT", "load_type": "TEXT"}
    assert rows["time"][:2].to_pylist() == [1_514_765_700_000, 1_514_852_100_000]


def test_decimal_commas_are_numbers(example: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("\n".join(FILES["decimal commas"]), encoding="utf-8")
    rows, types = example.read_csv(file)
    assert types == {"druck": "DOUBLE"}
    assert rows["druck"][1].as_py() == 3.1


def test_a_file_without_times_is_refused(example: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match="no column holds times"):
        example.read_csv(file)


def test_without_a_file_one_is_made(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main([])
    assert "stored   3,600 rows" in capsys.readouterr().out
