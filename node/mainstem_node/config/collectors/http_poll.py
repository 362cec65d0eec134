"""HTTP: pages that are asked for again and again."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.subscription import ReadingConfig
from mainstem_node.config.kinds import (
    DatedText,
    DurationNs,
    HttpUrl,
    PageUrl,
    SecretText,
    SizeBytes,
    Text,
)

MIB = 1 << 20
SECOND_NS = 1_000_000_000


class HttpPollCollectorConfig(ReadingConfig, frozen=True, kw_only=True):
    """Asks for a page every so often. In `url`, `query`, `headers` and `body`: `{now}`,
    `{now-1h}`, `{since}` (of the last answer), in a form such as `{now:date}`."""

    type: Literal["http_poll"]
    url: PageUrl
    method: Literal["GET", "POST"] = "GET"
    query: dict[Text, DatedText] = field(default_factory=dict)
    secret_query: dict[Text, SecretText] = field(default_factory=dict)
    headers: dict[Text, DatedText] = field(default_factory=dict)
    secret_headers: dict[Text, SecretText] = field(default_factory=dict)
    username: Text | None = None
    password: SecretText | None = None
    body: DatedText | None = None
    every: DurationNs
    offset: DurationNs = 0
    """It is asked at multiples of `every` since 1970 (UTC), and so much later."""
    timeout: DurationNs = 30 * SECOND_NS
    message_limit: SizeBytes = 16 * MIB
    """A longer answer is not read, before or after gzip."""
    proxy: HttpUrl | None = None
    """What goes out goes through it; default: straight, whatever the environment says."""
    tls: ClientTlsConfig = ClientTlsConfig()

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        return () if self.template is None else (self.template,)
