"""`python -m benchmark.report results/`: the table, or a picture, of the records under a directory. Does not import torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.store import Record, read_all
from datasets.errors import UserError, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 where a record was unreadable, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.report", description="The table, or a picture, of the records under a directory."
    )
    parser.add_argument("results", type=Path, help="directory of records, searched with its folders")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="only these methods, by their names in the table")
    parser.add_argument("--format", default="text", choices=("text", "markdown", "latex", "csv"))
    parser.add_argument("--output", type=Path, help="file to write the table to instead of printing it")
    parser.add_argument("--figure", type=Path, help="file (.png or .pdf) to draw test accuracy in")
    parser.add_argument("--x", default="step", help="the figure's x axis: step, or an option such as noise.rate or split.clean_per_class")
    given = parser.parse_args(arguments)
    try:
        return _report(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _report(given: argparse.Namespace) -> int:
    records, errors = read_all(given.results)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not records:
        raise UserError(f"no records under {given.results}")
    records = _of_methods(records, given.methods)
    from benchmark.analysis import figures, tables  # pandas and SciPy take a second to import

    try:
        if given.figure is not None:
            figures.draw(records, given.x, given.figure)
        if given.output is not None:
            given.output.write_text(tables.render(records, given.format), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
    if given.figure is None and given.output is None:
        print(tables.render(records, given.format), end="")
    return 1 if errors else 0


def _of_methods(records: list[Record], methods: list[str] | None) -> list[Record]:
    """Records of the methods asked for, all for None; raises UserError, with the nearest name, for one that has no record."""
    names = {record["method"] for record in records}
    for method in methods or ():
        if method not in names:
            raise unknown("method in these records", method, names)
    return [record for record in records if methods is None or record["method"] in methods]


if __name__ == "__main__":
    sys.exit(main())
