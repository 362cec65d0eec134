"""Times in the texts that a source is asked with."""

from __future__ import annotations

import pytest

from mainstem_node.moments import parse_moments

NOW_NS = 1_792_540_805_250_000_000  # 2026-10-21T00:00:05.25Z
SINCE_NS = NOW_NS - 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"), ("", ""), ('{"a": {}}', '{"a": {}}'), ("{nowhere}", "{nowhere}"),
        ("{now}", "2026-10-21T00:00:05Z"), ("{now:date}", "2026-10-21"),
        ("from={since:s}&to={now:ms}", "from=1792537205&to=1792540805250"),
        ("{now-1h:minute}", "2026-10-20T23:00"), ("{since+1d:date}", "2026-10-21"),
        ('{"since": "{since}"}', '{"since": "2026-10-20T23:00:05Z"}'),
    ],
)  # fmt: skip
def test_what_is_sent(text: str, written: str) -> None:
    assert parse_moments(text).at(NOW_NS, SINCE_NS) == written


@pytest.mark.parametrize(
    "text", ["{now-}", "{now-1}", "{now-1x}", "{now:year}", "{now-1h:}", "{since 1h}", "{now-200y}"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_moments(text)
    assert len(caught.value.args) == 2
