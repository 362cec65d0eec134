"""What the header Authorization carries, in the forms that programs send it in."""

from __future__ import annotations

import base64
import binascii


def token_of(header: str) -> str:
    """The token of Bearer or Token, or the password of Basic, whatever the user is called; empty
    when there is none. Clients of InfluxDB 1.8 write user:token after Token."""
    scheme, _, rest = header.partition(" ")
    if scheme.casefold() == "basic":
        found = basic_of(header)
        return "" if found is None else found[1]
    if scheme.casefold() not in ("bearer", "token"):
        return ""
    return rest.strip().rpartition(":")[2]


def basic_of(header: str) -> tuple[str, str] | None:
    """(user, password) of Basic; None for anything else."""
    scheme, _, rest = header.partition(" ")
    if scheme.casefold() != "basic":
        return None
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, _, password = text.partition(":")
    return user, password
