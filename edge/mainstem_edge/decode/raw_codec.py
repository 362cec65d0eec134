"""One value a message, as text: ``23.4``, ``true``, ``off``, ``running``. What it is called is said
by the subscription (``measurement``), what it stands for by the template's type.

White space around it is dropped. A message that is empty, no UTF-8, or longer than VALUE_BYTES_MAX
is no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_edge.decode.interface import VALUE_KEY, Decoded, Failure, KnownNames

VALUE_BYTES_MAX = 64 << 10
"""A text of a machine; what is longer is a document or a picture."""


class RawCodec:
    """Reads values for one subscription."""

    def __init__(self, known: KnownNames, time_fields: Sequence[str] = ()) -> None: ...

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """A row for each message that is a value."""
        decoded = Decoded([], {}, textual=True)
        source: list[int] = []
        values: list[str | None] = []
        for message, payload in enumerate(payloads):
            problem = "longer than a value may be" if len(payload) > VALUE_BYTES_MAX else ""
            try:
                text = "" if problem else payload.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                text, problem = "", f"not UTF-8: {error}"
            if text:
                source.append(message)
                values.append(text)
            else:
                decoded.failures.append(Failure(message, problem or "empty"))
        decoded.add(source, {VALUE_KEY: values})
        return decoded
