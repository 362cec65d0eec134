"""``mainstem init``: a commented topology for one node, its unit, and the next three commands."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.terminal import USAGE, fail, note, result


class Tier(enum.StrEnum):
    """What a node can be."""

    EDGE = "edge"
    PLATFORM = "platform"
    GROUP = "group"


UNIT = "mainstem.service"

EDGE_URL = "http://127.0.0.1:8411"
"""As it stands in configs/."""

ENROLMENT = {
    # tier: (node id, its path, the parent's address) as they stand in configs/
    Tier.PLATFORM: ("plant_a", "root.plant_a", "http://127.0.0.1:8400"),
}


def init(
    tier: Annotated[Tier, typer.Argument(help="What the node is.")],
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.")] = Path(),
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Write mainstem.service beside it, too.")
    ] = False,
) -> None:
    """Write a commented configuration, and say what to type next."""
    source = configs_directory() / f"{tier}.yaml"
    target = directory / source.name
    if target.exists():
        if systemd and not target.with_name(UNIT).exists():
            note(f"{target} is there already and stays; wrote {write_unit(target)} for it")
            return
        fail(f"{target} exists already", "name another directory, or remove the file", USAGE)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        fail(f"{target}: {error.strerror}", "name a directory that you may write to", USAGE)
    if systemd:
        note(f"wrote {write_unit(target)}; it says how to install it")
    note(f"wrote {target}; look through it, then:")
    for command in next_commands(tier, target):
        result(f"  {command}")


def write_unit(config: Path) -> Path:
    """The systemd unit for that file, for the user who asks and the program that answers."""
    import getpass
    import shutil
    import sys

    program = shutil.which("mainstem") or f"{sys.executable} -m mainstem_node"
    place = config.resolve()
    text = (configs_directory() / UNIT).read_text(encoding="utf-8")
    for name, value in (
        ("@MAINSTEM@", program),
        ("@CONFIG@", str(place)),
        ("@DIRECTORY@", str(place.parent)),
        ("@USER@", getpass.getuser()),
    ):
        # A percent sign begins one of systemd's own placeholders.
        text = text.replace(name, value.replace("%", "%%"))
    unit = config.with_name(UNIT)
    unit.write_text(text, encoding="utf-8")
    return unit


def next_commands(tier: Tier, target: Path) -> list[str]:
    """The three commands that follow."""
    if tier is Tier.GROUP:
        return [
            f"mainstem run -c {target}",
            "mainstem node add plant_a --path root.plant_a",
            "mainstem status --watch",
        ]
    if tier is Tier.EDGE:  # it works alone; its file says how it is enrolled
        return [
            f"mainstem doctor -c {target}",
            f"mainstem run -c {target}",
            f'mainstem sql --url {EDGE_URL} "SELECT * FROM machine ORDER BY time DESC LIMIT 10"',
        ]
    node, path, parent = ENROLMENT[tier]
    token = target.with_name("join.token")
    return [
        f"mainstem node add {node} --path {path} --url {parent} > {token}",
        f"mainstem join -c {target} --token-file {token}",
        f"mainstem run -c {target}",
    ]


def configs_directory() -> Path:
    """``configs/``: beside this package in an installation, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "_examples" / "configs", package.parents[1] / "configs")
    found = next((place for place in places if (place / "edge.yaml").is_file()), None)
    if found is None:
        fail("this installation has no example configurations", "install the wheel again")
    return found
