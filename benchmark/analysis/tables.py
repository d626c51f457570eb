"""The table of a set of records: methods by settings, grouped by what each method may see."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.analysis.statistics import estimate
from benchmark.store import Record

FORMATS = ("text", "markdown", "latex", "csv")
SEES = {
    "clean_set": "clean set",
    "noise_rate": "noise rate",
    "transition_matrix": "transition matrix",
    "true_labels": "true labels",
}
FIRST = ("dataset.name", "noise.name", "noise.rate", "noise.ratio", "split.clean_per_class", "split.clean_total", "model.name")


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a trial: method, sees, setting, status, accuracy (percent; NaN where diverged), seed, key, order of its needs."""
    settings = settings_of(records)
    return pd.DataFrame(
        {
            "sees": [sees(record) for record in records],
            "method": [record["method"] for record in records],
            "setting": settings,
            "seed": [record["seed"] for record in records],
            "key": [record["key"] for record in records],
            "diverged": [record["status"] == "diverged" for record in records],
            "accuracy": [100 * record["metrics"].get("test_accuracy", math.nan) for record in records],
        }
    )


def sees(record: Record) -> str:
    """What the record's method saw, in words."""
    return " + ".join(["noisy labels", *(SEES.get(need, need) for need in record["needs"])])


def settings_of(records: Sequence[Record], without: str = "") -> list[str]:
    """For each record the words that tell its setting from the others', as few as will do; neither the method nor `without` counts."""
    flat = [flatten({part: value for part, value in record["config"].items() if part != "method"}) for record in records]
    keys = sorted(
        {key for leaves in flat for key in leaves} - {without}, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key)
    )
    told: list[list[str]] = [[] for _ in flat]
    groups: list[tuple[str, ...]] = [()] * len(flat)  # values told so far; a further key is told only where it parts a group
    for key in keys:
        finer = [(*group, str(leaves.get(key))) for group, leaves in zip(groups, flat, strict=True)]
        if key in ("dataset.name", "noise.name") or len(set(finer)) > len(set(groups)):
            groups = finer
            for words, leaves in zip(told, flat, strict=True):
                words.append(_word(key, leaves.get(key)))
    return [" ".join(filter(None, words)) for words in told]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name.

    >>> flatten({"noise": {"rate": 0.4}})
    {'noise.rate': 0.4}
    """
    if not isinstance(node, dict):
        return {prefix: node}
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return leaves


def _word(key: str, value: Any) -> str:
    if value is None:
        return ""
    return str(value) if key.endswith(".name") else f"{key.rpartition('.')[2]}={value}"


def summary(records: Sequence[Record]) -> pd.DataFrame:
    """One row a cell: sees, method, setting, mean and half-width of the 95 % interval (percent), trials, diverged, key.

    Rows are grouped by what methods see, fewest first, and within by the method's mean over all its settings.
    """
    trials = frame(records)
    rows = []
    for (seen, method, setting, key), group in trials.groupby(["sees", "method", "setting", "key"], sort=False):
        value = estimate(group.loc[~group["diverged"], "accuracy"].tolist())
        rows.append((seen, method, setting, value.mean, value.half_width, value.trials, int(group["diverged"].sum()), key))
    table = pd.DataFrame(rows, columns=["sees", "method", "setting", "accuracy", "half_width", "trials", "diverged", "key"])
    overall = table.groupby(["sees", "method"])["accuracy"].transform("mean")
    table = table.assign(needs=table["sees"].str.count(r"\+"), overall=overall, order=table["setting"].map(_natural))
    table = table.sort_values(["needs", "sees", "overall", "method", "order", "key"])
    return table.drop(columns=["needs", "overall", "order"]).reset_index(drop=True)


def render(records: Sequence[Record], form: str = "text") -> str:
    """The table in one of FORMATS. CSV has a row a cell; the others have a row a method and a column a setting."""
    cells = summary(records)
    if form == "csv":
        return cells.to_csv(index=False)
    wide = _wide(cells)
    style = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}[form]
    lines = tabulate(wide.values.tolist(), headers=list(wide.columns), tablefmt=style, disable_numparse=True)
    return f"{lines}\n\n{'% ' if form == 'latex' else ''}{_caption(cells, records)}\n"


def _wide(cells: pd.DataFrame) -> pd.DataFrame:
    cells = cells.assign(text=[_text(row) for row in cells.itertuples()])
    settings = sorted(cells["setting"].unique(), key=_natural)
    rows = []
    for (seen, method), group in cells.groupby(["sees", "method"], sort=False):
        texts = group.groupby("setting")["text"].agg(" / ".join)
        rows.append([seen, method, *(texts.get(setting, "") for setting in settings)])
    wide = pd.DataFrame(rows, columns=["sees", "method", *settings])
    wide["sees"] = wide["sees"].where(~wide["sees"].duplicated(), "")  # once a group
    return wide


def _natural(setting: str) -> tuple[tuple[float, str], ...]:
    """Sort key by which rate=0.05 comes before rate=0.4 and 5 before 10."""
    return tuple((float(part), "") if part[:1].isdigit() else (math.inf, part) for part in re.split(r"(\d+\.?\d*)", setting))


def _text(row: Any) -> str:
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    if row.trials == 0:
        return f"-{diverged}"
    interval = "" if math.isnan(row.half_width) else f" ± {row.half_width:.2f}"
    return f"{row.accuracy:.2f}{interval}{diverged}"


def _caption(cells: pd.DataFrame, records: Sequence[Record]) -> str:
    low, high = cells["trials"].min(), cells["trials"].max()
    trials = f"{low} to {high} trials" if low != high else f"{high} {'trial' if high == 1 else 'trials'}"
    devices = sorted({record["environment"]["device"] for record in records})
    return f"Test accuracy in %, mean ± 95 % confidence interval (Student t) over {trials}, last step. On: {', '.join(devices)}."
