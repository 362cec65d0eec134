"""From statement to part: what a template names is in the file, and comes back bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, SchemaError, Template
from mainstem_engine.encoding.interface import EncodingNumber
from mainstem_engine.part.layout import unpack_footer

COUNT = 2000
NAMES = ("PLAIN", "RLE", "TS_2DIFF", "GORILLA", "DICTIONARY", "PCO")
COMPRESSIONS = ("UNCOMPRESSED", "SNAPPY", "LZ4", "ZSTD", "AUTO", "ZSTD")
COLUMNS = ", ".join(
    f"s{number} DOUBLE encoding={name} compression={compression}"
    for number, (name, compression) in enumerate(zip(NAMES, COMPRESSIONS, strict=True))
)


def encodings_in_parts(directory: Path) -> list[dict[int, set[str]]]:
    """Of every part in use: by measurement, the names of its blocks' encodings."""
    found = []
    for path in sorted(directory.glob("parts/*.part")):
        footer = unpack_footer(path, memoryview(path.read_bytes()))
        found.append(
            {
                key: {EncodingNumber(number).name for number in index.encoding.tolist()}
                for key, index in footer.columns.items()
                if key >= 0
            }
        )
    return found


def test_flush_and_compaction_write_as_named(open_engine: Any, tmp_path: Path) -> None:
    engine: Engine = open_engine()
    engine.sql(f"CREATE SCHEMA TEMPLATE cars ({COLUMNS})")
    (device,) = engine.device_ids("cars", ["root.cars.a"], create=True).tolist()
    rng = np.random.default_rng(1)
    values = np.repeat(np.round(rng.normal(size=COUNT // 8), 1), 8)
    values[[3, 700]] = [np.nan, -0.0]
    expected = {number: {name} for number, name in enumerate(NAMES)}
    for part in range(2):
        time = 1_700_000_000_000 + np.arange(COUNT) * 10 + part * 5
        columns = {f"s{number}": values for number in range(len(NAMES))}
        engine.write("cars", np.full(COUNT, device, np.uint32), time, columns).wait()
        engine.flush()
    assert encodings_in_parts(tmp_path / "data") == [expected, expected]
    engine.compact()
    assert encodings_in_parts(tmp_path / "data") == [expected]
    table = engine.scan("cars").read_all()
    for number in range(len(NAMES)):
        found = table.column(f"s{number}").to_numpy()
        assert found.tobytes() == np.repeat(values, 2).tobytes()


@pytest.mark.parametrize("name", ["ZIGZAG", "CHIMP", "SPRINTZ", "RLBE"])
@pytest.mark.parametrize("compression", ["GZIP", "LZMA2"])
def test_other_names_of_the_peers(open_engine: Any, name: str, compression: str) -> None:
    engine: Engine = open_engine()
    result = engine.sql(
        f"CREATE SCHEMA TEMPLATE t (s INT64 encoding={name} compression={compression})"
    )
    assert [text for text in result.warnings if "stored as PCO" in text]
    assert [text for text in result.warnings if "stored as ZSTD" in text]
    (measurement,) = engine.catalog.table("t").template.measurements
    assert (measurement.encoding, measurement.compression) == ("PCO", "ZSTD")


@pytest.mark.parametrize("kind", ["TEXT", "BLOB"])
@pytest.mark.parametrize("name", ["RLE", "TS_2DIFF", "GORILLA", "PCO", "CHIMP"])
def test_a_numeric_encoding_cannot_hold_text(
    open_engine: Any, tmp_path: Path, kind: str, name: str
) -> None:
    with pytest.raises(SchemaError, match=f"cannot hold {kind}"):
        open_engine().sql(f"CREATE SCHEMA TEMPLATE t (s {kind} encoding={name})")
    if name in NAMES:
        template = Template("u", (Measurement(0, "s", ColumnType[kind], name),))
        with pytest.raises(SchemaError, match=f"cannot hold {kind}"):
            open_engine(tmp_path / "python").create_template(template)
