"""`python -m benchmark.report results/`: a table, a figure or an HTML page of the records under a directory, or of one experiment.

This module imports torch only to compose the grid of an experiment or the commands of an HTML page.
"""

from __future__ import annotations

import argparse
import functools
import gc
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import ROOT
from benchmark.analysis import figures
from benchmark.analysis.cost import COST, join, read_costs
from benchmark.analysis.selection import EQUAL_COMPUTE, LAST, SELECTIONS, check_selection
from benchmark.metrics import METRICS, Metric, metric
from benchmark.records.store import Record, read_all, record_paths
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError, unknown
from robust_benchmark.files import write
from robust_benchmark.imports import command
from robust_benchmark.words import number_of

if TYPE_CHECKING:  # composing grids imports torch
    import pandas as pd

    from benchmark.analysis.axes import Axes
    from benchmark.analysis.experiment import Found
    from benchmark.config import Cell

MANY = 8  # the largest number of missing cells or files in a message
DEFAULT = ["test_accuracy"]
COSTS = (Path("results/cost.json"), ROOT / "results" / "cost.json")  # the output of `benchmark.speed cost`, and the shipped file


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 for unreadable records, or 2 for a user's mistake."""
    given = _parser().parse_intermixed_args(arguments)
    given.select = list(dict.fromkeys(given.select))
    return _report(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command("report"), description="Shows the records under a directory as a table, a figure or an HTML page."
    )
    parser.add_argument("results", type=Path, help="directory of records; the search includes subfolders")
    parser.add_argument("overrides", nargs="*", help="experiment=NAME and more options, as given to benchmark.run")
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


def _report(given: argparse.Namespace) -> int:
    for name in given.select:
        check_selection(name, [])
    for name in ("kind", "x", "width", "ranking", "checkpoint_dir", "data_dir"):
        value = getattr(given, name)
        if value is not None and given.figure is None:
            raise UserError(f"--{name.replace('_', '-')} {value} is an option of figures and needs --figure FILE")
    _check_options(given)
    records, errors = _read(given, [metric(name) for name in given.y or DEFAULT])
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not records:
        raise UserError(f"no records under {given.results}")
    try:
        if given.html is not None:
            _page(given, records, errors)
        elif given.overrides:
            _experiment(given, records)
        else:
            _all(given, records)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
    return 1 if errors else 0


def _check_options(given: argparse.Namespace) -> None:
    """Raises UserError for a second directory, and for incompatible options of a table or a page."""
    for override in given.overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is not an option such as experiment=digits; the command reads one directory, {given.results}")
    if given.grid and given.html is None:
        raise UserError(f"--grid '{given.grid[0]}' is an option of HTML pages and needs --html FILE")
    if given.format == "parquet" and given.output is None:
        raise UserError("--format parquet needs --output FILE, because a terminal cannot show it")
    if (given.rows or given.columns) and (given.overall or given.format in ("csv", "parquet")):
        other = "--overall" if given.overall else f"--format {given.format}"
        raise UserError(f"--rows and --columns do not apply to {other}, which has fixed rows and columns")


def _read(given: argparse.Namespace, metrics: Sequence[Metric]) -> tuple[list[Record], list[UserError]]:
    """The records with the fields that the output needs, and with their costs if it needs them."""
    whole = given.figure is not None or given.html is not None or given.select != [LAST]
    records, errors = read_all(given.results, whole, None if whole else tuple({each.kept for each in metrics}))
    costs = given.cost or next(filter(Path.exists, COSTS), None)
    costly = given.kind == "pareto" or EQUAL_COMPUTE in given.select or any(each.name in COST for each in metrics)
    if costs and costly:
        records = join(records, read_costs(costs))
    return records, errors


def _all(given: argparse.Namespace, records: list[Record]) -> None:
    shown = _of_methods(records, given.methods)
    _draw(given, shown, records, {})
    if given.output is not None or given.figure is None:
        _write_table(given, _table(given, shown))


def _table(given: argparse.Namespace, records: list[Record]) -> str | bytes:
    """The ordinary table, the table of differences to a reference, or the table of aggregates over settings."""
    from benchmark.analysis import overall, tables  # importing SciPy takes a sixth of a second

    metrics = given.y or DEFAULT
    if given.overall:
        if given.reference or len(metrics) > 1 or len(given.select) > 1:
            raise UserError("--overall takes one metric (--y), one selection (--select) and no --reference")
        if given.format == "parquet":
            return _parquet(overall.frame(records, metrics[0], given.select[0]))
        return overall.render(records, given.format, metrics[0], given.select[0])
    if given.format == "parquet":
        from benchmark.analysis.frames import frame

        return _parquet(frame(records, metrics, given.select, given.reference))
    most = None if given.overrides else tables.MOST
    return tables.render(records, given.format, metrics, given.select, most, given.reference, _axes(given))


def _axes(given: argparse.Namespace) -> Axes | None:
    """The user's rows and columns; None if there are none."""
    from benchmark.analysis.axes import axes

    return axes(given.rows, given.columns, len(given.select)) if given.rows or given.columns else None


def _parquet(frame: pd.DataFrame) -> bytes:
    from benchmark.analysis.frames import parquet

    return parquet(frame)


def _page(given: argparse.Namespace, records: list[Record], errors: Sequence[UserError]) -> None:
    """Write the page of the records, or of the given experiment."""
    from benchmark.analysis import experiment as analysis
    from benchmark.page import missing, render  # composes configurations, which imports torch

    for name in ("figure", "output", "rows", "columns", "overall"):
        if getattr(given, name):
            raise UserError(f"--html and --{name} exclude each other; use two commands")
    grids = [missing.grid_of(missing.words_of_grid(overrides), records, given.results) for overrides in given.grid]
    if given.overrides:
        grids = [missing.grid_of(given.overrides, records, given.results), *grids]
        records = analysis.named(grids[0].found, grids[0].rows)
        if not records:
            raise UserError(f"{given.results} has no records of {grids[0].title}; this command makes them: {grids[0].command}")
    selections = given.select if given.select != [LAST] else []
    title, shown = str(given.results), _of_methods(records, given.methods)
    page = render.render(shown, title, given.y or [], selections, given.reference, grids, _remarks(given, records, errors))
    write(given.html, page)


def _remarks(given: argparse.Namespace, records: Sequence[Record], errors: Sequence[UserError]) -> list[str]:
    """Sentences on files that the page omits."""
    twice = sum(1 for _ in record_paths(given.results)) - len(records) - len(errors) if not given.overrides else 0
    again = f"The page shows the first file of each trial by path, and omits {number_of(twice, 'other')}." if twice else ""
    more = f"; and {len(errors) - MANY} more" if len(errors) > MANY else ""
    unreadable = f"The page omits {number_of(len(errors), 'file')}: {'; '.join(map(str, errors[:MANY]))}{more}." if errors else ""
    return [*filter(None, [again, unreadable])]


def _of_methods(records: list[Record], methods: list[str] | None) -> list[Record]:
    """The records of these methods; all records for None. Raises UserError, with the nearest name, for a method without records."""
    names = {record["method"] for record in records}
    for method in methods or ():
        if method not in names:
            raise unknown("method in these records", method, names)
    return [record for record in records if methods is None or record["method"] in methods]


def _experiment(given: argparse.Namespace, records: list[Record]) -> None:
    """Show the table and the figure of an experiment. A message names the missing trials and the command that makes them."""
    from benchmark.analysis import experiment as analysis
    from benchmark.config import cells

    grid = cells(given.overrides)
    experiment = grid[0].config.experiment
    if len({cell.config.experiment.name for cell in grid}) > 1 or not experiment.name:
        raise UserError("give exactly one experiment=NAME among the options; see " + command("run") + " --help")
    found = analysis.find([analysis.Wanted(cell.choice, cell.identity, cell.key, cell.config.trials) for cell in grid], records)
    if not any(each.records for each in found):
        raise UserError(f"{given.results} has no records of {experiment.name}; this command makes them: {_command(given, given.results)}")
    to_fill = _command(given, analysis.root(found))
    found = _of_rows(grid, found, given.methods)
    shown = analysis.named(found, experiment.rows)
    table = _experiments_table(given, grid, found)
    _draw(given, shown, records, experiment.figure)
    if given.output is not None or given.figure is None:
        _write_table(given, table)
    missing = analysis.missing(found, experiment.rows)
    if missing:
        names = ", ".join(missing[:MANY]) + (f" and {len(missing) - MANY} more" if len(missing) > MANY else "")
        print(f"{len(missing)} of {len(found)} cells lack trials: {names}\nto fill them: {to_fill}", file=sys.stderr)


def _experiments_table(given: argparse.Namespace, grid: Sequence[Cell], found: Sequence[Found]) -> str | bytes:
    """The comparison with the paper and the verdicts on claims, or the ordinary table if the user gives its options."""
    from benchmark.analysis import experiment as analysis
    from benchmark.analysis import paper_claims

    experiment = grid[0].config.experiment
    methods = {*experiment.rows, *experiment.sweep.get("method", ()), *(cell.choice for cell in grid)}
    claims = paper_claims.claims_of(experiment.claims, sorted(methods))
    if given.y or given.reference or given.overall or given.rows or given.columns:
        return _table(given, analysis.named(found, experiment.rows))
    if given.format == "parquet":
        return _parquet(analysis.frame(found, experiment.rows, given.select))
    table = analysis.render(found, experiment.rows, experiment.notes, given.format, given.select)
    judged = paper_claims.judge(claims, found, experiment.rows, given.select[0])
    return f"{table}\n{paper_claims.render(judged, given.format)}" if judged and given.format != "csv" else table


def _of_rows(grid: Sequence[Cell], found: Sequence[Found], methods: list[str] | None) -> list[Found]:
    """The cells of these methods; all cells for None.

    A name may be the name of a row, a choice of `method=` or a label. Raises UserError, with the nearest name, for an unknown name.
    """
    names = [{cell.choice, cell.label, cell.config.experiment.rows.get(cell.choice, {}).get("name", cell.label)} - {""} for cell in grid]
    for method in methods or ():
        if not any(method in known for known in names):
            raise unknown("method in this experiment", method, {name for known in names for name in known})
    return [each for each, known in zip(found, names, strict=True) if methods is None or not known.isdisjoint(methods)]


def _command(given: argparse.Namespace, root: str | Path) -> str:
    """The command that trains the missing trials into the results directory `root`."""
    return f"{command('run')} {shlex.join([*given.overrides, f'results_dir={root}'])}"


def _write_table(given: argparse.Namespace, table: str | bytes) -> None:
    if given.output is not None:
        given.output.write_bytes(table if isinstance(table, bytes) else table.encode())
    else:
        print(table, end="")


def _draw(given: argparse.Namespace, shown: list[Record], records: list[Record], figure: Mapping[str, Any]) -> None:
    """Draw the figure of the records `shown` if the user wants one. `records` are all records and determine the looks of methods."""
    if given.figure is None:
        return
    kind = given.kind or ("against" if given.x is not None else figure.get("kind", "training"))
    asked = {name: getattr(given, name) for name in ("x", "y", "width", "ranking", "checkpoint_dir")} | {"kind": kind}
    if given.select != [LAST]:
        asked["selections"] = given.select
    if kind == "transition":
        from benchmark.estimates import estimate_of  # imports torch, which no other figure needs
        from benchmark.redrawn import labels_of

        asked["estimate_of"] = estimate_of
        asked["labels_of"] = functools.partial(labels_of, data_dir=given.data_dir or "data")
    options = figure if kind == figure.get("kind") else {name: figure[name] for name in ("y",) if name in figure}
    figures.draw(shown, given.figure, of=records, **{**options, **{name: value for name, value in asked.items() if value is not None}})


if __name__ == "__main__":
    gc.disable()  # records contain no cycles, and the search for cycles takes a fifth of the time
    sys.exit(main())
