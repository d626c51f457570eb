"""`python -m benchmark.report results/`: the table of the records under a directory. Does not import torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.store import read_all
from datasets.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 where a record was unreadable, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.report", description="The table of the records under a directory.")
    parser.add_argument("results", type=Path, help="directory of records, searched with its folders")
    parser.add_argument("--format", default="text", choices=("text", "markdown", "latex", "csv"))
    parser.add_argument("--output", type=Path, help="file to write instead of printing")
    given = parser.parse_args(arguments)
    try:
        return _report(given.results, given.format, given.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _report(results: Path, form: str, output: Path | None) -> int:
    records, errors = read_all(results)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not records:
        raise UserError(f"no records under {results}")
    from benchmark.analysis.tables import render  # pandas and SciPy take a second to import

    table = render(records, form)
    if output is None:
        print(table, end="")
    else:
        output.write_text(table, encoding="utf-8")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
