"""What may be asked of an engine's options."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_engine import EngineOptions, SchemaError


def test_the_defaults_and_the_extremes_are_taken() -> None:
    EngineOptions()
    EngineOptions(memory_limit_bytes=1 << 20, flush_every_ns=0, flush_bytes=1, vnodes=64)
    EngineOptions(metadata_bytes_max=None, log_bytes_max=None, block_rows=1, log_segment_bytes=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_limit_bytes", -1),
        ("memory_limit_bytes", (1 << 20) - 1),
        ("memory_limit_bytes", "256MiB"),
        ("memory_limit_bytes", None),
        ("metadata_bytes_max", 0),
        ("flush_every_ns", -1),
        ("flush_every_ns", 0.5),
        ("flush_bytes", 0),
        ("log_segment_bytes", 0),
        ("log_bytes_max", 0),
        ("vnodes", 0),
        ("vnodes", 65),
        ("vnodes", 1.5),
        ("vnodes", True),
        ("block_rows", 0),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        EngineOptions(**{name: value})
    assert caught.value.field == name
    assert caught.value.hint
