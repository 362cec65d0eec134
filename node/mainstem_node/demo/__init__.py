"""The example factory on one machine: broker, six nodes, sixty devices, and links that can be cut."""

from __future__ import annotations
