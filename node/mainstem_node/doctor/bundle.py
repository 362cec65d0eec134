"""A support bundle: what a person who helps needs, without secrets.

Versions, the topology as the file has it (``${NAME}`` is not put in, and credentials never stand in
it), what doctor found, and of a running node its status, metrics and alarms.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mainstem_node.config.kinds import redact_url
from mainstem_node.doctor.finding import Finding

TEXT_BYTES_MAX = 4 << 20
"""Of one file."""


def write(
    target: Path, topology: Path | None, findings: Sequence[Finding], answers: Mapping[str, str]
) -> None:
    """``answers``: what the node said, by the name of the file in the bundle. Raises OSError."""
    contents = {
        "versions.json": json.dumps(versions(), indent=2),
        "findings.json": json.dumps([asdict(each) for each in findings], indent=2),
        **answers,
    }
    if topology is not None:
        contents["topology.yaml"] = topology.read_text(encoding="utf-8")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in contents.items():
            bundle.writestr(name, redact_url(text)[:TEXT_BYTES_MAX])


def versions() -> dict[str, object]:
    """Of this program, what it stands on, and the machine."""
    packages = sorted(
        (found.metadata["Name"], found.version) for found in importlib.metadata.distributions()
    )
    return {
        "mainstem": importlib.metadata.version("mainstem"),
        "python": sys.version,
        "system": platform.platform(),
        "processor": platform.machine(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "packages": dict(packages),
    }
