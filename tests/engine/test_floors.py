"""Floors against a plain map of instants."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mainstem_engine.floors import Floors, decode_floors, encode_floors

raises = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(1, 8), st.integers(1, 9)),
    max_size=12,
)


@given(raises, st.integers(0, 9))
def test_floors_are_the_greatest_of_all_images(
    images: list[tuple[int, int, int, int]], through: int
) -> None:
    floors = Floors()
    model: dict[tuple[int, int], int] = {}
    for origin, start, length, as_of in images:
        floors.raise_to(origin, start, start + length, as_of)
        for time in range(start, start + length):
            model[origin, time] = max(model.get((origin, time), 0), as_of)
    floors.drop(1, through)
    model = {key: as_of for key, as_of in model.items() if key[0] != 1 or as_of > through}
    again = decode_floors(encode_floors({"t": floors, "empty": Floors()})).get("t", Floors())
    for held in (floors, again):
        for origin in (0, 1, 2):
            keys = [(t, n) for t in range(-1, 30) for n in range(11)]
            time, lsn = np.array(keys, np.int64).T
            mask = held.below(origin, time, lsn.astype(np.uint64))
            expected = [n <= model.get((origin, t), -1) for t, n in keys]
            assert (mask.tolist() if mask is not None else [False] * len(keys)) == expected
            inside = [as_of for (o, t), as_of in model.items() if o == origin and 5 <= t < 9]
            assert held.of(origin, 5, 9) == max(inside, default=0)
            assert held.least(origin, 5, 9) == min(model.get((origin, t), 0) for t in range(5, 9))
    assert len(floors) <= len({(o, t) for o, t in model})
    assert floors.origins == {origin for origin, _ in model}
    floors.drop_settled(lambda origin: 9)
    assert len(floors) == 0
