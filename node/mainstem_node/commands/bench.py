"""``mainstem bench``: runs the benchmark programme of a checkout.

Benchmarks need the checkout's ``benchmarks/`` folder, which does not travel in the wheel: figures
are only worth something together with the sources that they measured.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mainstem_node.commands.terminal import USAGE, fail, result


def bench(
    name: Annotated[
        str | None, typer.Argument(help="Which one; without it they are listed.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings to measure with (size).")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short run that only shows it works.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    points: Annotated[
        int | None,
        typer.Option("--points", min=1, help="Size of the data set (engine, memory, scale, sql)."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", min=1, help="Devices (catalog, edge, seed), edges (fleet)."),
    ] = None,
    peers: Annotated[
        str | None, typer.Option("--peers", help="What to compare with: duckdb,tsfile (engine).")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Rounds of each line (engine, sql).")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", help="One part of it (fleet, memory, sql).")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="File to write the chart to (engine, scale).")
    ] = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the tables for the documentation."),
    ] = False,
) -> None:
    """Run a benchmark (needs a checkout)."""
    folder = benchmarks_folder()
    if folder is None:
        fail("benchmarks need a checkout of the sources",
             "clone the repository and run `make bench` there", USAGE)  # fmt: skip
    # A name of Python's own (encodings) ends in an underscore: it would be found in its place.
    programs = sorted(folder.glob("*.py"))
    known = {path.stem.rstrip("_"): path for path in programs if is_benchmark(path)}
    if name is None:
        for stem, path in known.items():
            result(f"{stem:<10} {headline(path)}")
        return
    if name not in known:
        fail(f"there is no benchmark {name!r}", f"there are {', '.join(known)}", USAGE)
    options = [*(["--quick"] if quick else []), *(["--json"] if as_json else [])]
    options += ["--markdown"] if markdown else []
    given = {"--points": points, "--devices": devices, "--peers": peers, "--rounds": rounds,
             "--only": only, "--svg": svg}  # fmt: skip
    for option, value in given.items():
        if value is not None:
            options += [option, str(value)]
    options += [str(path) for path in files or ()]
    # A process of its own: the memory of this one would be part of the figures.
    ended = subprocess.run([sys.executable, str(known[name]), *options], check=False)
    raise typer.Exit(ended.returncode)


def benchmarks_folder() -> Path | None:
    """``benchmarks/`` of the checkout that this package, or the working directory, belongs to."""
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        folder = root / "benchmarks"
        if (folder / "mqtt.py").is_file():
            return folder
    return None


def is_benchmark(path: Path) -> bool:
    """A benchmark has an entry point; the files beside it are what benchmarks share."""
    return "\ndef main(" in path.read_text(encoding="utf-8")


def headline(path: Path) -> str:
    """The first line of the file's docstring."""
    return path.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0]
