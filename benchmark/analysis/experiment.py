"""An experiment's table: for each row the paper's number, ours, the difference and an honest verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.analysis import tables
from benchmark.analysis.statistics import Estimate, estimate
from benchmark.records.store import Record, digest

PAPER_DATASET = {"cifar10_jpeg": "cifar10"}  # whose numbers a stand-in is held against
COLUMNS = ["setting", "method", "paper", "ours", "trials", "difference", "verdict"]


@dataclass(frozen=True)
class Wanted:
    """One cell of an experiment: its row (the choice of method), what determines its numbers, its key, and how many trials."""

    row: str
    config: dict[str, Any]
    key: str
    trials: int


@dataclass(frozen=True)
class Found:
    """A wanted cell and the finished records that fill it; scale is below 1 where only shortened schedules were run."""

    wanted: Wanted
    records: list[Record]
    scale: float


def find(wanted: Sequence[Wanted], records: Sequence[Record]) -> list[Found]:
    """The records of each wanted cell: its own; where there is none, those of the same cell on the longest other schedule."""
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
    """Digest of what a cell is apart from the length of its schedule."""
    trainer = {name: value for name, value in config["trainer"].items() if name not in ("steps", "evaluate_every")}
    return digest({**{name: value for name, value in config.items() if name != "scale"}, "trainer": trainer})


def named(found: Sequence[Found], rows: Mapping[str, Any]) -> list[Record]:
    """The experiment's records, with the methods named as in its rows."""
    return [record | {"method": rows.get(each.wanted.row, {}).get("name", record["method"])} for each in found for record in each.records]


def comparison(found: Sequence[Found], rows: Mapping[str, Any]) -> pd.DataFrame:
    """One row a cell, by COLUMNS; accuracies in percent, `paper` and `ours` being Estimates (the paper's of unknown trials)."""
    settings = tables.settings_of([{"config": each.wanted.config} for each in found])
    table = []
    for each, setting in zip(found, settings, strict=True):
        row = rows.get(each.wanted.row, {})
        dataset = each.wanted.config["dataset"]["name"]
        reported = row.get(PAPER_DATASET.get(dataset, dataset))
        paper = Estimate(reported[0], math.nan if reported[1] is None else reported[1], 0) if reported else None
        accuracies = [100 * record["metrics"]["test_accuracy"] for record in each.records if record["status"] == "done"]
        ours = estimate(accuracies)
        name = " ".join(filter(None, [row.get("name", each.wanted.row), row.get("note") if paper else None]))
        difference = ours.mean - paper.mean if paper else math.nan
        table.append((setting, name, paper, ours, f"{ours.trials} of {each.wanted.trials}", difference, verdict(each, ours, paper)))
    return pd.DataFrame(table, columns=COLUMNS)


def verdict(found: Found, ours: Estimate, paper: Estimate | None) -> str:
    """What may be said of a row: not run, at reduced scale, or how our mean and the paper's stand to each other's intervals."""
    if not found.records:
        return "not run"
    diverged = sum(record["status"] == "diverged" for record in found.records)
    lacking = found.wanted.trials - len(found.records)
    remarks = [f"{lacking} trial{'s' if lacking > 1 else ''} missing" if lacking > 0 else "", f"{diverged} diverged" if diverged else ""]
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


def render(found: Sequence[Found], rows: Mapping[str, Any], notes: Sequence[str], form: str = "text") -> str:
    """The table in one of the formats of `benchmark.analysis.tables`; CSV has means and half-widths in columns of their own.

    Where the paper has no numbers, it is the ordinary table of the experiment's records, under their names in it.
    """
    table = comparison(found, rows)
    if table["paper"].isna().all():
        return tables.render(named(found, rows), form) + ("" if form == "csv" else _shortened(found, table, form))
    if form == "csv":
        return _flat(table).to_csv(index=False)
    table["difference"] = [f"{value:+.2f}" if math.isfinite(value) else "" for value in table["difference"]]
    table["paper"] = [_text(value) for value in table["paper"]]
    table["ours"] = [_text(value) for value in table["ours"]]
    table["setting"] = table["setting"].where(~table["setting"].duplicated(), "")
    lines = tabulate(table.values.tolist(), headers=list(table.columns), tablefmt=tables.STYLES[form], disable_numparse=True)
    used = [record for each in found for record in each.records]
    below = ["Test accuracy in %, mean ± 95 % confidence interval (Student t) over trials, last step."]
    below += [note for note in notes if not note.startswith("[") or note.partition(" ")[0] in lines]  # of the rows that are there
    below += [tables.provenance(used)] if used else []
    return "\n".join([lines, "", *(f"% {line}" if form == "latex" else line for line in below)]) + "\n"


def _shortened(found: Sequence[Found], table: pd.DataFrame, form: str) -> str:
    """A line that names the cells of which only shortened schedules were run; empty where there is none."""
    cells = zip(table["method"], table["setting"], table["verdict"], found, strict=True)
    names = [f"{method} ({setting}): {finding}" for method, setting, finding, each in cells if each.scale < 1]
    return f"{'% ' if form == 'latex' else ''}Not at full scale: {'; '.join(names)}.\n" if names else ""


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    flat = table[["setting", "method", "trials", "difference", "verdict"]].copy()
    for name in ("paper", "ours"):
        flat[name] = [value.mean if value else math.nan for value in table[name]]
        flat[f"{name}_half_width"] = [value.half_width if value else math.nan for value in table[name]]
    return flat


def _text(value: Estimate | None) -> str:
    return "" if value is None or math.isnan(value.mean) else tables.plus_minus(value.mean, value.half_width)


def missing(found: Sequence[Found], rows: Mapping[str, Any]) -> list[str]:
    """Names of the cells that lack trials at full scale, each with its setting."""
    table = comparison(found, rows)
    lacking = [each.scale < 1 or len(each.records) < each.wanted.trials for each in found]
    return [f"{row.method} ({row.setting})" for row, lacks in zip(table.itertuples(), lacking, strict=True) if lacks]
