"""The example factory on one machine: broker, nodes, devices, and links that can be cut."""

from __future__ import annotations
