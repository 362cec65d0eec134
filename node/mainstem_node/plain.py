"""Values as JSON can carry them, without loss: what answers and events have in common.

NaN and infinities are the texts "NaN", "Infinity" and "-Infinity"; integers are exact; bytes are
base64.
"""

from __future__ import annotations

import base64
import re
from typing import Any

_EXACT_TYPES = re.compile(r"(BOOLEAN|U?INT\d*|TEXT|TIMESTAMP|DATE|TIME|INTERVAL|NULL)")
"""Types whose values JSON carries as they are."""


def plain_value(value: Any) -> Any:
    """A Python value that JSON can carry."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    return value


def is_exact(type_name: str) -> bool:
    """True for the type of a column whose values need no ``plain_value``."""
    return _EXACT_TYPES.fullmatch(type_name) is not None
