"""Pictures of a set of records: accuracy along training, or against any option that the records sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.statistics import estimate
from benchmark.analysis.tables import flatten, settings_of
from benchmark.store import Record
from datasets.errors import UserError, unknown

COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")  # seaborn's "colorblind"
DASHES = ((1, 0), (4, 1.5), (1, 1))  # one more for each time the colours are used up


def along_training(records: Sequence[Record]) -> pd.DataFrame:
    """One row an evaluation: method, setting, x (step, counted over all phases), accuracy on test in percent."""
    rows = []
    for record, setting in zip(records, settings_of(records), strict=True):
        before, last, phase = 0, 0, None
        for entry in record["metrics"]["history"]:
            if phase not in (None, entry["phase"]):
                before += last
            phase, last = entry["phase"], entry["step"]
            if "test_accuracy" in entry:
                rows.append((record["method"], setting, before + last, 100 * entry["test_accuracy"]))
    return pd.DataFrame(rows, columns=["method", "setting", "x", "accuracy"])


def against(records: Sequence[Record], option: str) -> pd.DataFrame:
    """One row a finished trial that has the option: method, setting (without the option), x (its value), accuracy on test in percent.

    Raises UserError, with the nearest name, for an option that no record has as a number.
    """
    having = [record for record in records if option in _numbers(record)]
    if not having:
        raise unknown("numeric option of these records", option, {name for record in records for name in _numbers(record)})
    rows = [
        (record["method"], setting, _numbers(record)[option], 100 * record["metrics"]["test_accuracy"])
        for record, setting in zip(having, settings_of(having, without=option), strict=True)
        if record["status"] == "done"
    ]
    return pd.DataFrame(rows, columns=["method", "setting", "x", "accuracy"])


def _numbers(record: Record) -> dict[str, float]:
    leaves = flatten(record["config"])
    return {name: value for name, value in leaves.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def _best_last_value_first(data: pd.DataFrame) -> list[str]:
    """Methods in the order in which their lines end, so that the legend reads like the picture."""
    ends = data[data["x"] == data.groupby(["method", "setting"])["x"].transform("max")]
    return ends.groupby("method")["accuracy"].mean().sort_values(ascending=False, kind="stable").index.tolist()


def draw(records: Sequence[Record], x: str, path: Path) -> None:
    """A line for each method, a panel for each setting, bands of 95 % confidence; written as PNG or PDF by the path's ending.

    x: 'step', or an option such as noise.rate or split.clean_per_class
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import seaborn as sns

    if path.suffix not in (".png", ".pdf"):
        raise UserError(f"{path} must end in .png or .pdf")
    data = along_training(records) if x == "step" else against(records, x)
    if data.empty:
        raise UserError("no finished trial to draw")
    methods = _best_last_value_first(data)
    sns.set_theme(style="whitegrid", context="notebook")
    grid: Any = sns.relplot(
        data=data,
        kind="line",
        x="x",
        y="accuracy",
        hue="method",
        style="method",
        hue_order=methods,
        style_order=methods,
        palette=[COLOURS[number % len(COLOURS)] for number in range(len(methods))],
        col="setting",
        col_wrap=min(3, data["setting"].nunique()),
        errorbar=_interval,
        markers=x != "step",
        dashes=[DASHES[number // len(COLOURS) % len(DASHES)] for number in range(len(methods))],
        height=4.2,
        aspect=1.35,
    )
    grid.set_axis_labels(x, "test accuracy (%)").set_titles("{col_name}")
    grid.savefig(path, dpi=150)


def _interval(values: pd.Series) -> tuple[float, float]:
    value = estimate(values.tolist())
    half_width = 0.0 if math.isnan(value.half_width) else value.half_width
    return value.mean - half_width, value.mean + half_width
