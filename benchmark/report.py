"""`python -m benchmark.report results/`: a table, a figure or an HTML page of the records under a directory, or of one experiment.

This module imports torch only to compose the grid of an experiment or the commands of an HTML page.
"""

from __future__ import annotations

import argparse
import functools
import gc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import ROOT
from benchmark.analysis import figures
from benchmark.analysis.cost import COST, join, read_costs
from benchmark.analysis.selection import EQUAL_COMPUTE, LAST
from benchmark.metrics import Metric, metric
from benchmark.records.store import Record, read_all, record_paths
from benchmark.report_options import parsed
from robust_benchmark.commands import guarded
from robust_benchmark.errors import UserError, unknown
from robust_benchmark.files import write
from robust_benchmark.imports import command
from robust_benchmark.words import number_of

if TYPE_CHECKING:  # composing grids imports torch
    import pandas as pd

    from benchmark.analysis.axes import Axes
    from benchmark.analysis.experiment import Found
    from benchmark.grid import Compose, Grid

MANY = 8  # the largest number of missing cells or files in a message
DEFAULT = ["test_accuracy"]
COSTS = (Path("results/cost.json"), ROOT / "results" / "cost.json")  # the output of `benchmark.speed cost`, and the shipped file


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 for unreadable records, or 2 for a user's mistake."""
    return show(arguments)


def show(arguments: Sequence[str] | None = None, compose: Compose | None = None) -> int:
    """Like `main`, but raises errors. compose: composes grids, as benchmark.config.cells (default)"""
    given = parsed(arguments)
    records, errors = _read(given, [metric(name) for name in given.y or DEFAULT])
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not records:
        raise UserError(f"no records under {given.results}")
    try:
        if given.html is not None:
            _page(given, records, errors, compose)
        elif given.overrides:
            _experiment(given, records, compose)
        else:
            _all(given, records)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
    return 1 if errors else 0


def _read(given: argparse.Namespace, metrics: Sequence[Metric]) -> tuple[list[Record], list[UserError]]:
    """The records with the fields that the output needs, and with their costs if it needs them."""
    whole = given.figure is not None or given.html is not None or given.select != [LAST]
    records, errors = read_all(given.results, whole, None if whole else tuple({each.kept for each in metrics}))
    costs = given.cost or next(filter(Path.exists, COSTS), None)
    costly = given.kind == "pareto" or EQUAL_COMPUTE in given.select or any(each.name in COST for each in metrics)
    if given.cost and not costly:
        raise UserError(
            f"--cost {given.cost} needs --y {' or '.join(COST)}, --kind pareto or --select {EQUAL_COMPUTE}; nothing else uses it"
        )
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


def _page(given: argparse.Namespace, records: list[Record], errors: Sequence[UserError], compose: Compose | None) -> None:
    """Write the page of the records, or of the given experiment."""
    from benchmark.grid import grid_of
    from benchmark.page import missing, render  # composes configurations, which imports torch

    grids = [grid_of(missing.words_of_grid(overrides), records, given.results, compose) for overrides in given.grid]
    if given.overrides:
        grids = [_own_grid(given, records, compose), *grids]
        records = grids[0].records
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


def _own_grid(given: argparse.Namespace, records: Sequence[Record], compose: Compose | None) -> Grid:
    """The grid of the command's overrides. Raises UserError if it has no records, and without an experiment, which only a page can show."""
    from benchmark.grid import grid_of

    grid = grid_of(given.overrides, records, given.results, compose)
    if given.html is None and not grid.experiment.name:
        raise UserError("give exactly one experiment=NAME among the options; see " + command("run") + " --help")
    if not grid.records:
        raise UserError(f"{given.results} has no records of {grid.title}; this command makes them: {grid.command}")
    return grid


def _experiment(given: argparse.Namespace, records: list[Record], compose: Compose | None) -> None:
    """Show the table and the figure of an experiment. A message names the missing trials and the command that makes them."""
    from benchmark.analysis import experiment as analysis

    grid = _own_grid(given, records, compose)
    experiment = grid.experiment
    found = _of_rows(grid, given.methods)
    table = _experiments_table(given, grid, found)
    _draw(given, analysis.named(found, experiment.rows), records, experiment.figure)
    if given.output is not None or given.figure is None:
        _write_table(given, table)
    missing = analysis.missing(found, experiment.rows)
    if missing:
        names = ", ".join(missing[:MANY]) + (f" and {len(missing) - MANY} more" if len(missing) > MANY else "")
        lack = f"{len(missing)} of {number_of(len(found), 'cell')} {'lacks' if len(missing) == 1 else 'lack'} trials"
        print(f"{lack}: {names}\nto fill them: {grid.command}", file=sys.stderr)


def _experiments_table(given: argparse.Namespace, grid: Grid, found: Sequence[Found]) -> str | bytes:
    """The comparison with the paper and the verdicts on claims, or the ordinary table if the user gives its options."""
    from benchmark.analysis import experiment as analysis
    from benchmark.analysis import paper_claims

    experiment = grid.experiment
    methods = {*experiment.rows, *experiment.sweep.get("method", ()), *(cell.choice for cell in grid.cells)}
    claims = paper_claims.claims_of(experiment.claims, sorted(methods))
    if given.y or given.reference or given.overall or given.rows or given.columns:
        return _table(given, analysis.named(found, experiment.rows))
    if given.format == "parquet":
        return _parquet(analysis.frame(found, experiment.rows, given.select))
    table = analysis.render(found, experiment.rows, experiment.notes, given.format, given.select)
    judged = paper_claims.judge(claims, found, experiment.rows, given.select[0])
    return f"{table}\n{paper_claims.render(judged, given.format)}" if judged and given.format != "csv" else table


def _of_rows(grid: Grid, methods: list[str] | None) -> list[Found]:
    """The cells of these methods; all cells for None.

    A name may be the name of a row, a choice of `method=` or a label. Raises UserError, with the nearest name, for an unknown name.
    """
    rows = grid.experiment.rows
    names = [{cell.choice, cell.label, rows.get(cell.choice, {}).get("name", cell.label)} - {""} for cell in grid.cells]
    for method in methods or ():
        if not any(method in known for known in names):
            raise unknown("method in this experiment", method, {name for known in names for name in known})
    return [each for each, known in zip(grid.found, names, strict=True) if methods is None or not known.isdisjoint(methods)]


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
