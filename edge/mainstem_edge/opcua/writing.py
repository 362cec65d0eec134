"""One value written to one node, in the type that the server has for it, and read back.

Before the request leaves, whatever is wrong means that nothing was done. Once it has left and no
answer comes, nobody knows.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from asyncua import Client, ua

from mainstem_edge.opcua.values import plain, quality_of
from mainstem_node.commanding.action import ActionError, UncertainActionError

INTEGERS = {
    ua.VariantType.SByte: (-(1 << 7), (1 << 7) - 1),
    ua.VariantType.Byte: (0, (1 << 8) - 1),
    ua.VariantType.Int16: (-(1 << 15), (1 << 15) - 1),
    ua.VariantType.UInt16: (0, (1 << 16) - 1),
    ua.VariantType.Int32: (-(1 << 31), (1 << 31) - 1),
    ua.VariantType.UInt32: (0, (1 << 32) - 1),
    ua.VariantType.Int64: (-(1 << 63), (1 << 63) - 1),
    ua.VariantType.UInt64: (0, (1 << 64) - 1),
}
FLOAT_MAX = 3.4028235677973366e38
"""What rounds to infinity in single precision."""


async def write(client: Client, node: ua.NodeId, value: Any) -> dict[str, Any]:
    """``written``: as the server got it; ``status``: what it said; ``read_back``: what it has then,
    None when it cannot be read. Raises ActionError, UncertainActionError."""
    try:
        kind = await _kind(client, node)
    except (OSError, TimeoutError, ua.UaError) as error:
        raise ActionError(f"the node cannot be read: {_words(error)}") from error
    try:
        fitted = fit(value, kind)
    except ValueError as error:
        raise ActionError(f"{value!r} is no value for this node: {error}") from error
    # Without times and status: many servers take nothing but a value.
    told = ua.DataValue(ua.Variant(fitted, kind))
    told.StatusCode = None
    try:
        (status,) = await client.uaclient.write_attributes([node], [told])
    except ua.UaStatusCodeError as error:
        raise ActionError(f"the server refuses: {_words(error)}") from error
    except (OSError, TimeoutError, asyncio.CancelledError, ua.UaError) as error:
        raise UncertainActionError(f"no answer to the write: {_words(error)}") from error
    if status.is_bad():
        raise ActionError(f"the server refuses: {status.name}")
    return {"written": plain(fitted), "status": status.name, "read_back": await _read(client, node)}


async def _kind(client: Client, node: ua.NodeId) -> ua.VariantType:
    """The type of the node's value; where it has none, of its data type."""
    (found,) = await client.uaclient.read_attributes([node], ua.AttributeIds.Value)
    if found.StatusCode is not None and found.StatusCode.is_bad():
        code = ua.StatusCode(found.StatusCode.value)
        if code.name in ("BadNodeIdUnknown", "BadNodeIdInvalid", "BadAttributeIdInvalid"):
            code.check()
    value = found.Value
    if value is None or value.VariantType == ua.VariantType.Null or value.Value is None:
        return await client.get_node(node).read_data_type_as_variant_type()
    if value.is_array:
        raise ActionError("the node has an array: only single values are written")
    return value.VariantType


async def _read(client: Client, node: ua.NodeId) -> Any:
    try:
        (found,) = await client.uaclient.read_attributes([node], ua.AttributeIds.Value)
    except (OSError, TimeoutError, ua.UaError):
        return None  # it was written all the same
    status = 0 if found.StatusCode is None else int(found.StatusCode.value)
    return None if quality_of(status) == "bad" or found.Value is None else plain(found.Value.Value)


def fit(value: Any, kind: ua.VariantType) -> Any:
    """The value as this type holds it, nothing bent. Raises ValueError."""
    if kind == ua.VariantType.Boolean:
        if isinstance(value, bool):
            return value
        raise ValueError("it takes true or false")
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise ValueError(f"it takes whole numbers from {low} to {high}")
        return number
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("it takes numbers")
        double = float(value)
        single = kind == ua.VariantType.Float
        if not math.isfinite(double) or (single and abs(double) >= FLOAT_MAX):
            raise ValueError("it is beyond its type")
        return double
    if kind in (ua.VariantType.String, ua.VariantType.LocalizedText):
        if not isinstance(value, str):
            raise ValueError("it takes text")
        return value if kind == ua.VariantType.String else ua.LocalizedText(value)
    raise ValueError(f"values of type {kind.name} are not written")


def _words(error: BaseException) -> str:
    if isinstance(error, ua.UaStatusCodeError):
        return str(ua.StatusCode(error.code).name)
    return str(error) or type(error).__name__
