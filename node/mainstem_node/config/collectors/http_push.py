"""HTTP: senders that post to this node."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.collectors.subscription import ReadingConfig
from mainstem_node.config.kinds import Name, SecretText, SizeBytes, Text

MIB = 1 << 20


class SignatureConfig(Struct, frozen=True, kw_only=True):
    """A header with the HMAC of the body."""

    secret: SecretText
    header: Text = "X-Signature"
    hash: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Text = ""
    """What stands before it in the header, such as `sha256=`."""


class SenderConfig(Struct, frozen=True, kw_only=True):
    """How senders prove who they are: one of these."""

    token: SecretText | None = None
    """As Bearer, Token, or the password of Basic; or alone in `header`."""
    header: Text | None = None
    """Such as X-Api-Key."""
    username: Text | None = None
    password: SecretText | None = None
    """Basic, with that user."""
    signature: SignatureConfig | None = None


class HttpPushCollectorConfig(ReadingConfig, frozen=True, kw_only=True):
    """Takes what is posted to /collect/v1/<name>; answered when it is durable. In `device`, `tags`
    and `measurement`: `{path[n]}` of what follows the name, `{query.NAME}`, `{header.NAME}`."""

    type: Literal["http_push"]
    name: Name
    sender: SenderConfig | None = None
    """Default: a credential of this node that may write."""
    message_limit: SizeBytes = 1 * MIB
    """A longer body is refused (413)."""
    per_minute: int = 6000
    """Requests; what goes beyond is refused for a moment (429)."""
    in_flight: int = 500
    """Requests not answered yet; then the next ones are told to come again (503)."""
    queue_bytes: SizeBytes = 32 * MIB
    """Of bodies that wait for the decoder, and again of bodies that are being read."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings, as far as they are named."""
        return () if self.template is None else (self.template,)
