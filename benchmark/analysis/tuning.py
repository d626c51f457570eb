"""The table of tuned methods: each one's default configuration beside the chosen one, on the same fresh seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark.analysis.captions import described, limits, provenance
from benchmark.analysis.cells import Cell, Number, Table
from benchmark.analysis.layout import page
from benchmark.analysis.rows import sees
from benchmark.analysis.settings import settings_of
from benchmark.analysis.statistics import difference, estimate
from benchmark.analysis.tables import measured
from benchmark.metrics import METRICS
from benchmark.records.store import Record

METRIC = METRICS["test_accuracy"]


class Tuned(NamedTuple):
    """A tuned method. default, tuned: records of the same seeds; options: the chosen ones by dotted name, none for the default"""

    method: str
    default: Sequence[Record]
    tuned: Sequence[Record]
    options: Mapping[str, Any]


def render(methods: Sequence[Tuned], budget: int, sampler: str) -> str:
    """The tables, one for each setting, and their caption. budget: configurations of each search; sampler: of Optuna"""
    settings = settings_of([each.default[0] for each in methods])
    by_setting: dict[str, list[Tuned]] = {}
    for setting, each in zip(settings, methods, strict=True):
        by_setting.setdefault(setting, []).append(each)
    tables = [_table(setting if len(by_setting) > 1 else "", rows, budget) for setting, rows in by_setting.items()]
    records = [record for each in methods for record in (*each.default, *each.tuned)]
    seeds = sorted({record["seed"] for record in records})
    searched = (
        f"Each method tried {budget} configurations with one trial each, its default among them (Optuna, {sampler}); the chosen one has the"
        f" highest accuracy on noisy validation labels. All trials of the table have seeds that the search did not use ({_span(seeds)})."
    )
    said = [*described(METRIC, [len(each.default) for each in methods], records), searched, *limits(records)]
    return page(tables, said, provenance(records), "text", "tuned")


def _span(seeds: Sequence[int]) -> str:
    """
    >>> _span([1, 2, 3]), _span([1])
    ('1 to 3', '1')
    """
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _table(heading: str, rows: Sequence[Tuned], budget: int) -> Table:
    steps = rows[0].default[0]["config"]["trainer"]["steps"]
    headers = ["sees", "method", "default", f"tuned ({budget} x {steps:,} steps)", "difference", "chosen"]
    lines = [_line(each) for each in sorted(rows, key=lambda each: sees(each.default[0]))]
    return Table(heading, headers, lines)


def _line(each: Tuned) -> list[Cell]:
    options = {name.removeprefix("method."): value if isinstance(value, str) else json.dumps(value) for name, value in each.options.items()}
    chosen = ", ".join(f"{name}={value}" for name, value in options.items()) or "the default"
    return [sees(each.default[0]), each.method, _accuracy(each.default), _accuracy(each.tuned), _difference(each), chosen]


def _accuracy(records: Sequence[Record]) -> Cell:
    values = [value for record in records if not math.isnan(value := METRIC.of(record["metrics"]))]
    diverged = len(records) - len(values)
    return measured(estimate(values), values, after=f" ({diverged} diverged)" if diverged else "")


def _difference(each: Tuned) -> Cell:
    """The paired difference to the default, over the seeds at which neither diverged."""
    default, tuned = ({record["seed"]: METRIC.of(record["metrics"]) for record in records} for records in (each.default, each.tuned))
    seeds = [seed for seed, value in default.items() if not math.isnan(value + tuned[seed])]
    if not seeds:
        return "-"
    found = difference([tuned[seed] for seed in seeds], [default[seed] for seed in seeds])
    return Number(found.mean, found.half_width, 2, "+")
