"""SQL from a terminal: where statements go, how answers look, and the interactive shell."""

from __future__ import annotations
