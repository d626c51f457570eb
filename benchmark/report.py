"""`python -m benchmark.report results/`: the table, or a picture, of the records under a directory; or of one experiment among them.

Does not import torch, except to compose the grid of an experiment, or the commands of an HTML page.
"""

from __future__ import annotations

import argparse
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

if TYPE_CHECKING:  # composing grids takes torch
    import pandas as pd

    from benchmark.analysis.axes import Axes
    from benchmark.analysis.experiment import Found
    from benchmark.config import Cell

MANY = 8  # missing cells told by name
DEFAULT = ["test_accuracy"]
COSTS = (Path("results/cost.json"), ROOT / "results" / "cost.json")  # where `benchmark.speed cost` writes, and what is shipped


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 1 where a record was unreadable, or 2 for the user's mistake."""
    given = _parser().parse_intermixed_args(arguments)
    given.select = list(dict.fromkeys(given.select))
    return _report(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command("report"), description="The table, or a picture, of the records under a directory.")
    parser.add_argument("results", type=Path, help="directory of records, searched with its folders")
    parser.add_argument("overrides", nargs="*", help="experiment=NAME and further options of it, as given to benchmark.run")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="only these: names in the table, or an experiment's `method=`")
    parser.add_argument("--format", default="text", choices=("text", "markdown", "latex", "csv", "parquet"), help="parquet needs --output")
    parser.add_argument("--output", type=Path, help="file to write the table to instead of printing it")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="what rows are: method, sees, setting, selection, any option")
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="what columns are, such as noise.rate")
    _of_figures(parser)
    parser.add_argument("--y", nargs="+", metavar="METRIC", help=f"{', '.join(METRICS)}; test_accuracy unless given")
    parser.add_argument(
        "--select",
        nargs="+",
        default=[LAST],
        metavar="SELECTION",
        help=f"which evaluation of a trial counts: {', '.join(SELECTIONS)}; several stand side by side; last unless given",
    )
    parser.add_argument("--reference", default="", metavar="METHOD", help="show the paired differences of all others to this one")
    parser.add_argument("--overall", action="store_true", help="aggregates over settings: mean, interquartile mean, average rank")
    parser.add_argument("--html", type=Path, metavar="FILE", help="file to write a page to that shows all of it, and opens in a browser")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="OVERRIDES",
        help="with --html: a grid in quotes; the page says what is missing of it",
    )
    parser.add_argument("--cost", type=Path, metavar="FILE", help="what methods cost; results/cost.json unless given, where it exists")
    return parser


def _of_figures(parser: argparse.ArgumentParser) -> None:
    kinds = "; ".join(f"{name}: {kind.words}" for name, kind in figures.KINDS.items())
    parser.add_argument("--figure", type=Path, help="file to draw the figure in, .png, .pdf or .svg, or without any for .png and .pdf")
    parser.add_argument("--kind", help=f"of the figure. {kinds}. training unless given, against with --x; an experiment has its own")
    parser.add_argument("--x", help="the figure's x axis: an option such as noise.rate or split.clean_per_class; of kind pareto, the cost")
    parser.add_argument("--width", help=f"of the figure, {' or '.join(figures.WIDTHS)}, as a two-column paper has them; full unless given")
    parser.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help="of runs that kept evidence or weights; .checkpoints unless given"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="of published data sets, for kind transition; data unless given")


def _report(given: argparse.Namespace) -> int:
    for name in given.select:
        check_selection(name, [])
    for name in ("kind", "x", "width", "checkpoint_dir", "data_dir"):
        value = getattr(given, name)
        if value is not None and given.figure is None:
            raise UserError(f"--{name.replace('_', '-')} {value} is of a figure, and needs --figure FILE")
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
    """Raises UserError for a second directory, and for options of a table or a page that do not go together."""
    for override in given.overrides:
        if "=" not in override:
            raise UserError(f"'{override}' is no option such as experiment=digits, and {given.results} is the one directory that is read")
    if given.grid and given.html is None:
        raise UserError(f"--grid '{given.grid[0]}' is of a page, and needs --html FILE")
    if given.format == "parquet" and given.output is None:
        raise UserError("--format parquet needs --output FILE, as a terminal cannot show it")
    if (given.rows or given.columns) and (given.overall or given.format in ("csv", "parquet")):
        other = "--overall" if given.overall else f"--format {given.format}"
        raise UserError(f"--rows and --columns arrange methods and settings, and {other} has an arrangement of its own")


def _read(given: argparse.Namespace, metrics: Sequence[Metric]) -> tuple[list[Record], list[UserError]]:
    """The records, with no more in them than the tables and figures need, and with their costs where these are asked for."""
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
    """The ordinary table, that of the differences to a reference, or that of the aggregates over settings."""
    from benchmark.analysis import overall, tables  # SciPy takes a sixth of a second to import

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
    """What makes rows and columns, where the user says it."""
    from benchmark.analysis.axes import axes

    return axes(given.rows, given.columns, len(given.select)) if given.rows or given.columns else None


def _parquet(frame: pd.DataFrame) -> bytes:
    from benchmark.analysis.frames import parquet

    return parquet(frame)


def _page(given: argparse.Namespace, records: list[Record], errors: Sequence[UserError]) -> None:
    """The page of the records, or of those of the experiment that is given."""
    from benchmark.analysis import experiment as analysis
    from benchmark.page import missing, render  # which composes configurations, and so takes torch

    for name in ("figure", "output", "rows", "columns", "overall"):
        if getattr(given, name):
            raise UserError(f"--html makes a page alone: give --{name} in another command")
    grids = [missing.grid_of(missing.words_of_grid(overrides), records, given.results) for overrides in given.grid]
    if given.overrides:
        grids = [missing.grid_of(given.overrides, records, given.results), *grids]
        records = analysis.named(grids[0].found, grids[0].rows)
        if not records:
            raise UserError(f"{given.results} has no records of {grids[0].title}; to make them: {grids[0].command}")
    selections = given.select if given.select != [LAST] else []
    title, shown = str(given.results), _of_methods(records, given.methods)
    page = render.render(shown, title, given.y or [], selections, given.reference, grids, _remarks(given, records, errors))
    write(given.html, page)


def _remarks(given: argparse.Namespace, records: Sequence[Record], errors: Sequence[UserError]) -> list[str]:
    """Sentences on files that the page does not show."""
    twice = sum(1 for _ in record_paths(given.results)) - len(records) - len(errors) if not given.overrides else 0
    again = f"{twice} files repeat a trial; the first one by its path is shown." if twice else ""
    more = f" And {len(errors) - MANY} more." if len(errors) > MANY else ""
    unreadable = f"{len(errors)} files are left out: {'; '.join(map(str, errors[:MANY]))}.{more}" if errors else ""
    return [*filter(None, [again, unreadable])]


def _of_methods(records: list[Record], methods: list[str] | None) -> list[Record]:
    """Records of the methods asked for, all for None; raises UserError, with the nearest name, for one that has no record."""
    names = {record["method"] for record in records}
    for method in methods or ():
        if method not in names:
            raise unknown("method in these records", method, names)
    return [record for record in records if methods is None or record["method"] in methods]


def _experiment(given: argparse.Namespace, records: list[Record]) -> None:
    """The experiment's own table and figure, of its own records; what is missing is told with the command that fills it."""
    from benchmark.analysis import experiment as analysis
    from benchmark.config import cells

    grid = cells(given.overrides)
    experiment = grid[0].config.experiment
    if len({cell.config.experiment.name for cell in grid}) > 1 or not experiment.name:
        raise UserError("give experiment=NAME among the options, one alone; see " + command("run") + " --help")
    found = analysis.find([analysis.Wanted(cell.choice, cell.identity, cell.key, cell.config.trials) for cell in grid], records)
    if not any(each.records for each in found):
        raise UserError(f"{given.results} has no records of {experiment.name}; to make them: {_command(given, given.results)}")
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
    """The comparison with the paper and what becomes of the claims; or the ordinary table, where its options are given."""
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
    """What was found of the methods asked for, all for None.

    A method goes by the name of its row, by its choice of `method=` and by its label. Raises UserError with the nearest of these.
    """
    names = [{cell.choice, cell.label, cell.config.experiment.rows.get(cell.choice, {}).get("name", cell.label)} - {""} for cell in grid]
    for method in methods or ():
        if not any(method in known for known in names):
            raise unknown("method in this experiment", method, {name for known in names for name in known})
    return [each for each, known in zip(found, names, strict=True) if methods is None or not known.isdisjoint(methods)]


def _command(given: argparse.Namespace, root: str | Path) -> str:
    """What trains the missing trials, into the results directory `root`."""
    return f"{command('run')} {shlex.join([*given.overrides, f'results_dir={root}'])}"


def _write_table(given: argparse.Namespace, table: str | bytes) -> None:
    if given.output is not None:
        given.output.write_bytes(table if isinstance(table, bytes) else table.encode())
    else:
        print(table, end="")


def _draw(given: argparse.Namespace, shown: list[Record], records: list[Record], figure: Mapping[str, Any]) -> None:
    """The figure of the records `shown`, where one is asked for; `records`, all there are, give methods their looks."""
    if given.figure is None:
        return
    kind = given.kind or ("against" if given.x is not None else figure.get("kind", "training"))
    asked = {name: getattr(given, name) for name in ("x", "y", "width", "checkpoint_dir", "data_dir")} | {"kind": kind}
    if given.select != [LAST]:
        asked["selections"] = given.select
    options = figure if kind == figure.get("kind") else {name: figure[name] for name in ("y",) if name in figure}
    figures.draw(shown, given.figure, of=records, **{**options, **{name: value for name, value in asked.items() if value is not None}})


if __name__ == "__main__":
    gc.disable()  # many records without a cycle among them: looking for one would take a fifth of the time
    sys.exit(main())
