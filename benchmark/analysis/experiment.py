"""The table of an experiment: for each row, the paper's number, ours, the difference and a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.analysis import frames, tables
from benchmark.analysis.captions import limits, provenance, selected
from benchmark.analysis.cells import Cell, Number, Table
from benchmark.analysis.layout import page
from benchmark.analysis.selection import LAST, check_selection, value
from benchmark.analysis.settings import text_of, words_of
from benchmark.analysis.statistics import Estimate, estimate
from benchmark.metrics import METRICS
from benchmark.records.store import Record, digest, results_dir_of
from robust_benchmark.words import number_of

PAPER_DATASET = {"cifar10_jpeg": "cifar10"}  # the data set of the paper for each substitute
COLUMNS = ["setting", "method", "paper", "ours", "trials", "difference", "verdict"]


@dataclass(frozen=True)
class Wanted:
    """One cell of an experiment: its row (a choice of method), its options that determine numbers, its key, and its number of trials."""

    row: str
    config: dict[str, Any]
    key: str
    trials: int


@dataclass(frozen=True)
class Found:
    """A wanted cell and its records. scale: below 1 if only shortened schedules were run"""

    wanted: Wanted
    records: list[Record]
    scale: float

    @property
    def lacks_trials(self) -> bool:
        """Whether trials at full scale are missing."""
        return self.scale < 1 or len(self.records) < self.wanted.trials


def find(wanted: Sequence[Wanted], records: Sequence[Record]) -> list[Found]:
    """The records of each wanted cell. A cell without records gets those of the same cell with the longest shorter schedule."""
    by_key: dict[str, list[Record]] = {}
    for record in records:
        by_key.setdefault(record["key"], []).append(record)
    by_shape: dict[str, list[str]] = {}
    for key, group in by_key.items():
        by_shape.setdefault(_shape(group[0]["config"]), []).append(key)
    return [
        _find(cell, by_key.get(cell.key, []), [by_key[key] for key in sorted(by_shape.get(_shape(cell.config), ()))]) for cell in wanted
    ]


def _find(cell: Wanted, mine: list[Record], same_shape: Sequence[list[Record]]) -> Found:
    shorter = [group for group in same_shape if _steps(group[0]["config"]) < _steps(cell.config)]
    if mine or not shorter:
        return Found(cell, mine, 1.0)
    longest = max(shorter, key=lambda group: (_steps(group[0]["config"]), len(group)))
    return Found(cell, longest, _steps(longest[0]["config"]) / _steps(cell.config))


def _steps(config: Mapping[str, Any]) -> int:
    return int(config["trainer"]["steps"])


def _shape(config: Mapping[str, Any]) -> str:
    """Digest of a cell without the length of its schedule."""
    trainer = {name: value for name, value in config["trainer"].items() if name not in ("steps", "evaluate_every")}
    return digest({**{name: value for name, value in config.items() if name != "scale"}, "trainer": trainer})


def named(found: Sequence[Found], rows: Mapping[str, Any]) -> list[Record]:
    """The experiment's records. `method` is the name of the experiment's row, and `label` the original name."""
    return [
        record | {"method": rows.get(each.wanted.row, {}).get("name", record["method"]), "label": record["method"]}
        for each in found
        for record in each.records
    ]


def comparison(found: Sequence[Found], rows: Mapping[str, Any], selection: str = LAST) -> pd.DataFrame:
    """A row for each cell, by COLUMNS. `paper` and `ours` are Estimates in percent (the paper's with 0 trials, for unknown)."""
    settings = [text_of(words) for words in words_of([each.wanted.config for each in found])]
    table = []
    for each, setting in zip(found, settings, strict=True):
        row = rows.get(each.wanted.row, {})
        dataset = each.wanted.config["dataset"]["name"]
        reported = row.get(PAPER_DATASET.get(dataset, dataset))
        paper = Estimate(reported[0], math.nan if reported[1] is None else reported[1], 0) if reported else None
        ours = estimate(_accuracies(each, selection))
        name = " ".join(filter(None, [row.get("name", each.wanted.row), row.get("note") if paper else None]))
        difference = ours.mean - paper.mean if paper else math.nan
        table.append((setting, name, paper, ours, f"{ours.trials} of {each.wanted.trials}", difference, verdict(each, ours, paper)))
    return pd.DataFrame(table, columns=COLUMNS)


def accuracies_of(found: Found, selection: str) -> dict[int, float]:
    """Test accuracies in percent by seed, in order of the seeds, for the trials that have one."""
    trials = sorted(found.records, key=lambda record: record["seed"])
    accuracies = {record["seed"]: value(record, METRICS["test_accuracy"], selection) for record in trials}
    return {seed: accuracy for seed, accuracy in accuracies.items() if not math.isnan(accuracy)}


def _accuracies(found: Found, selection: str) -> list[float]:
    return list(accuracies_of(found, selection).values())


def verdict(found: Found, ours: Estimate, paper: Estimate | None) -> str:
    """The verdict on a row: not run, reduced scale, or a comparison of our mean and interval with the paper's."""
    if not found.records:
        return "not run"
    diverged = sum(record["status"] == "diverged" for record in found.records)
    lacking = found.wanted.trials - len(found.records)
    remarks = [f"{number_of(lacking, 'trial')} missing" if lacking > 0 else "", f"{diverged} diverged" if diverged else ""]
    finding = f"reduced scale ({found.scale:.2g})" if found.scale < 1 else _agreement(ours, paper)
    return ", ".join(filter(None, [finding, *remarks]))


def _agreement(ours: Estimate, paper: Estimate | None) -> str:
    if paper is None or ours.trials == 0:
        return ""
    difference = ours.mean - paper.mean
    if math.isnan(ours.half_width) or math.isnan(paper.half_width):
        return f"off by {difference:+.2f}, intervals unknown"
    if abs(difference) <= min(ours.half_width, paper.half_width):
        return "within both intervals"
    overlap = abs(difference) <= ours.half_width + paper.half_width
    return f"off by {difference:+.2f}, intervals {'overlap' if overlap else 'apart'}"


def render(
    found: Sequence[Found], rows: Mapping[str, Any], notes: Sequence[str], form: str = "text", selections: Sequence[str] = (LAST,)
) -> str:
    """The table in one of the formats of `benchmark.analysis.tables`. CSV has separate columns for means and half-widths.

    The difference and the verdict are about the first selection; other selections have additional columns. Without numbers of the paper,
    this is the ordinary table of the experiment's records, with the names of its rows.
    Raises UserError for a selection that no record supports.
    """
    if form == "csv":
        return frame(found, rows, selections).to_csv(index=False)
    if has_numbers(found, rows):
        return _against_paper(found, rows, notes, form, selections)
    return tables.render(named(found, rows), form, selections=selections, most=None) + _shortened(found, rows, form)


def _against_paper(found: Sequence[Found], rows: Mapping[str, Any], notes: Sequence[str], form: str, selections: Sequence[str]) -> str:
    table = _beside(found, rows, selections)
    used = [record for each in found for record in each.records]
    laid = _laid(table, found, selections)
    marks = " ".join(table["method"])
    sentences = [
        *selected("Test accuracy in %, mean ± 95 % confidence interval (Student t) over trials", selections),
        *(note for note in notes if not note.startswith("[") or note.partition(" ")[0] in marks),  # notes on rows of this table
        *limits(used),
    ]
    return page([laid], sentences, provenance(used) if used else "", form, "experiment", joint="\n")


def frame(found: Sequence[Found], rows: Mapping[str, Any], selections: Sequence[str] = (LAST,)) -> pd.DataFrame:
    """The content of `render` as a data frame. Raises UserError like `render`."""
    if not has_numbers(found, rows):
        return frames.frame(named(found, rows), ["test_accuracy"], selections)
    return _flat(_beside(found, rows, selections))


def has_numbers(found: Sequence[Found], rows: Mapping[str, Any]) -> bool:
    """Whether the paper has a number for any of these cells."""
    return not comparison(found, rows)["paper"].isna().all()


def _beside(found: Sequence[Found], rows: Mapping[str, Any], selections: Sequence[str]) -> pd.DataFrame:
    """The comparison by the first selection, with additional columns for the other selections."""
    for name in selections:
        check_selection(name, [record for each in found for record in each.records])
    table = comparison(found, rows, selections[0])
    for place, name in enumerate(selections[1:], COLUMNS.index("trials")):
        table.insert(place, f"ours, {name}", [estimate(_accuracies(each, name)) for each in found])
    return table


def _laid(table: pd.DataFrame, found: Sequence[Found], selections: Sequence[str]) -> Table:
    """The comparison as a table. With too few trials for an interval, cells show the accuracies."""
    columns: dict[str, list[Cell]] = {name: list(table[name]) for name in ("setting", "method", "trials", "verdict")}
    columns["paper"] = [Number(paper.mean, paper.half_width) if paper else "" for paper in table["paper"]]
    columns["difference"] = [Number(each, sign="+") if math.isfinite(each) else "" for each in table["difference"]]
    for name, selection in zip((name for name in table.columns if name.startswith("ours")), selections, strict=True):
        columns[name] = [_cell(_accuracies(each, selection)) for each in found]
    headers = [f"ours, {selections[0]}" if name == "ours" and len(selections) > 1 else name for name in table.columns]
    return Table("", headers, [list(line) for line in zip(*(columns[name] for name in table.columns), strict=True)])


def _cell(accuracies: Sequence[float]) -> Cell:
    return tables.measured(estimate(accuracies), accuracies) if accuracies else ""


def _shortened(found: Sequence[Found], rows: Mapping[str, Any], form: str) -> str:
    """A line that names the cells with only shortened schedules; empty if there is none."""
    table = comparison(found, rows)
    cells = zip(table["method"], table["setting"], table["verdict"], found, strict=True)
    names = [f"{method} ({setting}): {finding}" for method, setting, finding, each in cells if each.scale < 1]
    return f"{'% ' if form == 'latex' else ''}Not at full scale: {'; '.join(names)}.\n" if names else ""


def _estimates(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name == "paper" or name.startswith("ours")]


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    flat = table[["setting", "method", "trials", "difference", "verdict"]].copy()
    for name in _estimates(table):
        flat[name] = [estimated.mean if estimated else math.nan for estimated in table[name]]
        flat[f"{name}_half_width"] = [estimated.half_width if estimated else math.nan for estimated in table[name]]
    return flat


def root(found: Sequence[Found]) -> str:
    """The results directory of most of these records. There must be at least one record."""
    roots = Counter(results_dir_of(record) for each in found for record in each.records)
    return roots.most_common(1)[0][0]


def missing(found: Sequence[Found], rows: Mapping[str, Any]) -> list[str]:
    """Names and settings of the cells that lack trials at full scale."""
    table = comparison(found, rows)
    return [f"{row.method} ({row.setting})" for row, each in zip(table.itertuples(), found, strict=True) if each.lacks_trials]
