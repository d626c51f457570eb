"""The options of `python -m benchmark.report`: their parser, and errors for options without effect. This module imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmark.analysis import figures
from benchmark.analysis.selection import LAST, SELECTIONS, check_selection
from benchmark.metrics import METRICS
from robust_benchmark.errors import UserError
from robust_benchmark.imports import command

OF_FIGURES = ("kind", "x", "width", "ranking", "checkpoint_dir", "data_dir")
OF_TABLES = ("format", "rows", "columns", "reference", "overall")
NOT_OF_PAGES = ("figure", "output", "format", "rows", "columns", "overall")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command. Raises UserError for an unknown selection, a second directory, and options without effect."""
    parser = _parser()
    given = parser.parse_intermixed_args(arguments)
    given.select = list(dict.fromkeys(given.select))
    _check(given, {name for name, value in vars(given).items() if value != parser.get_default(name)})
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command("report"), description="Shows the records under a directory as a table, a figure or an HTML page."
    )
    parser.add_argument("results", type=Path, help="directory of records; the search includes subfolders")
    parser.add_argument("overrides", nargs="*", default=[], help="experiment=NAME and more options, as given to benchmark.run")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="only these methods: names in the table, or choices of `method=`",
    )
    _of_tables(parser)
    _of_figures(parser)
    parser.add_argument("--y", nargs="+", metavar="METRIC", help=f"metrics: {', '.join(METRICS)} (default test_accuracy)")
    parser.add_argument(
        "--select",
        nargs="+",
        default=[LAST],
        metavar="SELECTION",
        help=f"the evaluation of a trial that counts: {', '.join(SELECTIONS)} (default last); several are side by side",
    )
    parser.add_argument("--reference", default="", metavar="METHOD", help="show the paired differences of all other methods to this one")
    parser.add_argument("--overall", action="store_true", help="show aggregates over settings: mean, interquartile mean, average rank")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write an HTML page for a browser to this file")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="OVERRIDES",
        help="with --html: a grid in quotes; the page shows its missing trials",
    )
    parser.add_argument("--cost", type=Path, metavar="FILE", help="measured costs of methods (default results/cost.json, if it exists)")
    return parser


def _of_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        default="text",
        choices=("text", "markdown", "latex", "csv", "parquet"),
        help="format of the table (default text); parquet needs --output",
    )
    parser.add_argument("--output", type=Path, help="write the table to this file instead of printing it")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="table rows: method, sees, setting, selection or an option")
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="table columns, such as noise.rate")


def _of_figures(parser: argparse.ArgumentParser) -> None:
    kinds = "; ".join(f"{name}: {kind.words}" for name, kind in figures.KINDS.items())
    parser.add_argument("--figure", type=Path, help="draw a figure in this .png, .pdf or .svg file; without a suffix, .png and .pdf")
    parser.add_argument(
        "--kind",
        help=f"kind of the figure. {kinds}. Default: the experiment's kind, else against with --x, else training",
    )
    parser.add_argument("--x", help="x axis of the figure: an option such as noise.rate; for kind pareto, the cost")
    parser.add_argument("--width", help=f"width of the figure, {' or '.join(figures.WIDTHS)}, for a two-column paper (default full)")
    rankings = ", ".join(figures.RANKINGS)
    parser.add_argument("--ranking", help=f"for kind detection: {rankings}; default: low weight, or mean loss of methods without weights")
    parser.add_argument("--checkpoint-dir", type=Path, metavar="DIR", help="directory of kept evidence and weights (default .checkpoints)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="directory of published data sets, for kind transition (default data)")


def _check(given: argparse.Namespace, changed: Collection[str]) -> None:
    """Raises UserError for an unknown selection, a second directory, and incompatible options.

    changed: names of the options that are not at their defaults
    """
    for name in given.select:
        check_selection(name, [])
    for override in given.overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is not an option such as experiment=digits; the command reads one directory, {given.results}")
    _check_outputs(given, changed)
    if given.grid and given.html is None:
        raise UserError(f"--grid '{given.grid[0]}' is an option of HTML pages and needs --html FILE")
    if given.format == "parquet" and given.output is None:
        raise UserError("--format parquet needs --output FILE, because a terminal cannot show it")
    if (given.rows or given.columns) and (given.overall or given.format in ("csv", "parquet")):
        other = "--overall" if given.overall else f"--format {given.format}"
        raise UserError(f"--rows and --columns do not apply to {other}, which has fixed rows and columns")


def _check_outputs(given: argparse.Namespace, changed: Collection[str]) -> None:
    """Raises UserError for options of another output than the wanted ones."""
    if given.figure is None and (name := _first(OF_FIGURES, changed)):
        raise UserError(f"{_option(name)} {getattr(given, name)} is an option of figures and needs --figure FILE")
    if given.html is not None and (name := _first(NOT_OF_PAGES, changed)):
        raise UserError(f"--html and {_option(name)} exclude each other; use two commands")
    if given.figure is not None and given.output is None and (name := _first(OF_TABLES, changed)):
        raise UserError(f"{_option(name)} is an option of tables, and --figure makes a table only with --output FILE")


def _first(names: Sequence[str], changed: Collection[str]) -> str:
    return next((name for name in names if name in changed), "")


def _option(name: str) -> str:
    """The option as on the command line."""
    return f"--{name.replace('_', '-')}"
