"""An order as the API shows it: the same fields, whatever its kind."""

from __future__ import annotations

from typing import Any

from mainstem_sync.down.orders import Standing


def order_view(standing: Standing, **more: object) -> dict[str, Any]:
    """``at`` and ``changed`` in ms; ``result`` and ``error`` null before there is one. ``more``:
    what the kind has besides."""
    order, word = standing.order, standing.word
    return {
        "id": order.id,
        "kind": order.kind,
        "node": order.to,
        "state": str(standing.state),
        "at": order.at_ms,
        "issued_by": {"node": order.issuer, "user": order.by},
        "changed": order.at_ms if word is None else word.at_ms,
        "result": None if word is None or not word.result else dict(word.result),
        "error": None if word is None or not word.error else word.error,
        **more,
    }
