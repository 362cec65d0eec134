"""What a node keeps in its data directory beside the engine's files: a backup has it, too."""

from __future__ import annotations

NODE_FILES = ("tokens.json", "nodes.json", "declared.json", "quarantine")
"""Hashes of credentials, children, what was declared, rejected rows."""
