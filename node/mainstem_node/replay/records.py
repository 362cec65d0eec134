"""The records of a CSV file: encoding, delimiter and header, whatever wrote it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from mainstem_node.replay.columns import DECIMAL, INTEGER
from mainstem_node.replay.errors import CsvError
from mainstem_node.time_notations import TimeSurvey

DELIMITERS = ",;\t|"
HEAD_LINES = 50
"""Lines looked at to find the delimiter: enough to outvote a decimal comma or a quoted remark."""


def records(path: Path, delimiter: str, skip_first: bool) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every record that is not blank."""
    try:
        # utf-8-sig drops the byte order mark that spreadsheets write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                if not any(cells):
                    continue
                if not skip_first:
                    yield reader.line_num, cells
                skip_first = False
    except UnicodeDecodeError as error:
        raise CsvError(
            path, 0, None, f"not UTF-8 at byte {error.start}", "convert it: iconv -f LATIN1 -t UTF8"
        ) from None
    except csv.Error as error:
        raise CsvError(path, 0, None, str(error), "check the quoting") from None
    except OSError as error:
        problem = error.strerror or str(error)
        raise CsvError(path, 0, None, problem, "check the path and its permissions") from None


def first_record(path: Path, delimiter: str) -> list[str]:
    for _, cells in records(path, delimiter, skip_first=False):
        return [cell.strip() for cell in cells]
    raise CsvError(path, 0, None, "the file is empty", "give a file with rows")


def find_delimiter(path: Path, wanted: str) -> str:
    """The character that splits all lines of the head into equally many cells; most cells win."""
    if wanted != "auto":
        named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}.get(wanted, wanted)
        if len(named) != 1:
            raise CsvError(path, 0, None, f"delimiter {wanted!r} is not one character",
                           "use --delimiter auto, ',', ';', '|' or tab")  # fmt: skip
        return named
    best, best_cells = ",", 1
    for candidate in DELIMITERS:
        widths = set()
        for count, (_, cells) in enumerate(records(path, candidate, skip_first=False)):
            if count >= HEAD_LINES:
                break
            widths.add(len(cells))
        if len(widths) == 1 and (cells_each := widths.pop()) > best_cells:
            best, best_cells = candidate, cells_each
    return best


def is_header(first: Sequence[str]) -> bool:
    """A header names columns: none of its cells is a number or a time."""
    return not any(INTEGER.fullmatch(c) or DECIMAL.fullmatch(c) or _is_time(c) for c in first)


def _is_time(cell: str) -> bool:
    survey = TimeSurvey()
    if cell:
        survey.see(cell)
    return bool(survey.iso or survey.year_last)


def header_names(path: Path, first: Sequence[str]) -> list[str]:
    names = [name or f"column_{index + 1}" for index, name in enumerate(first)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CsvError(path, 1, twice[0], "two columns have this name", "rename one in the file")
    return names
