"""The table of a set of records: methods by settings, grouped by what each method may see."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmark.analysis.statistics import estimate
from benchmark.records.store import Record, canonical
from robust_benchmark.errors import unknown

STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}
FORMATS = (*STYLES, "csv")
SEES = {
    "clean_set": "clean set",
    "noise_rate": "noise rate",
    "transition_matrix": "transition matrix",
    "true_labels": "true labels",
}
FIRST = ("dataset.name", "noise.name", "noise.rate", "noise.ratio", "split.clean_per_class", "split.clean_total", "model.name")


def percents(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every accuracy and measure of example weights in a record's metrics or in one evaluation, in percent; and the test error."""
    shares = {name: value for name, value in metrics.items() if "accuracy" in name or name.startswith("weights_")}
    found = {name: 100 * value for name, value in shares.items() if isinstance(value, float | int)}
    return found | ({"test_error": 100 - found["test_accuracy"]} if "test_accuracy" in found else {})


def words(metric: str) -> str:
    """A metric's name as a caption has it.

    >>> words("test_accuracy"), words("weights_auroc")
    ('Test accuracy', 'Weights AUROC')
    """
    name = metric.replace("_", " ").replace("auroc", "AUROC")
    return name[0].upper() + name[1:]


def check_metric(metric: str, known: set[str]) -> None:
    """Raises UserError, with the nearest name, for a metric that is not `known`."""
    if metric not in known:
        raise unknown("metric of these records", metric, known)


def frame(records: Sequence[Record], metric: str = "test_accuracy") -> pd.DataFrame:
    """One row a trial: method, sees, setting, status, mean (the metric in percent; NaN where diverged), seed, key."""
    settings = settings_of(records)
    return pd.DataFrame(
        {
            "sees": [sees(record) for record in records],
            "method": [record["method"] for record in records],
            "setting": settings,
            "seed": [record["seed"] for record in records],
            "key": [record["key"] for record in records],
            "diverged": [record["status"] == "diverged" for record in records],
            "mean": [percents(record["metrics"]).get(metric, math.nan) for record in records],
        }
    )


def sees(record: Record) -> str:
    """What the record's method saw, in words."""
    return " + ".join(["noisy labels", *(SEES.get(need, need) for need in record["needs"])])


def settings_of(records: Sequence[Record], without: str = "") -> list[str]:
    """For each record the words that tell its setting from the others', as few as will do; neither the method nor `without` counts."""
    configs = {id(record["config"]): record["config"] for record in records}  # the trials of a cell share theirs
    texts = {number: canonical({part: value for part, value in config.items() if part != "method"}) for number, config in configs.items()}
    distinct = list(dict.fromkeys(texts.values()))
    flat = [flatten(json.loads(text)) for text in distinct]
    keys = sorted(
        {key for leaves in flat for key in leaves} - {without}, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key)
    )
    told: list[list[str]] = [[] for _ in flat]
    groups = [0] * len(flat)  # those of the same values so far have the same number; a further key is told only where it parts a group
    for key in keys:
        numbers: dict[tuple[int, str], int] = {}
        finer = [numbers.setdefault((group, str(leaves.get(key))), len(numbers)) for group, leaves in zip(groups, flat, strict=True)]
        if key in ("dataset.name", "noise.name") or len(numbers) > len(set(groups)):
            groups = finer
            for words, leaves in zip(told, flat, strict=True):
                words.append(_word(key, leaves.get(key)))
    settings = dict(zip(distinct, (" ".join(filter(None, words)) for words in told), strict=True))
    return [settings[texts[id(record["config"])]] for record in records]


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name.

    >>> flatten({"noise": {"rate": 0.4}})
    {'noise.rate': 0.4}
    """
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _word(key: str, value: Any) -> str:
    if value is None:
        return ""
    return str(value) if key.endswith(".name") else f"{key.rpartition('.')[2]}={value}"


def summary(records: Sequence[Record], metric: str = "test_accuracy") -> pd.DataFrame:
    """One row a cell: sees, method, setting, mean and half-width of the 95 % interval (percent), trials, diverged, key.

    Rows are grouped by what methods see, fewest first, and within by the method's mean over all its settings.
    """
    cells: dict[Any, list[Any]] = {}
    for trial in frame(records, metric).itertuples():
        cells.setdefault((trial.sees, trial.method, trial.setting, trial.key), []).append(trial)
    rows = []
    for (seen, method, setting, key), trials in cells.items():
        value = estimate([trial.mean for trial in trials if not trial.diverged])
        rows.append((seen, method, setting, value.mean, value.half_width, value.trials, len(trials) - value.trials, key))
    table = pd.DataFrame(rows, columns=["sees", "method", "setting", "mean", "half_width", "trials", "diverged", "key"])
    overall = table.groupby(["sees", "method"])["mean"].transform("mean")
    table = table.assign(needs=table["sees"].str.count(r"\+"), overall=overall, order=table["setting"].map(_natural))
    table = table.sort_values(["needs", "sees", "overall", "method", "order", "key"])
    return table.drop(columns=["needs", "overall", "order"]).reset_index(drop=True)


def render(records: Sequence[Record], form: str = "text", metric: str = "test_accuracy") -> str:
    """The table of `metric` in one of FORMATS. CSV has a row a cell; the others have a row a method and a column a setting.

    Raises UserError, with the nearest name, for a metric that no record has.
    """
    having = [record for record in records if record["status"] == "diverged" or metric in percents(record["metrics"])]
    if len(having) < len(records):
        check_metric(metric, {name for record in records for name in percents(record["metrics"])})
    cells = summary(having, metric)
    if form == "csv":
        return cells.to_csv(index=False)
    headers, rows = _wide(cells)
    lines = tabulate(rows, headers=headers, tablefmt=STYLES[form], disable_numparse=True)
    return f"{lines}\n\n{'% ' if form == 'latex' else ''}{_caption(cells, having, metric)}\n"


def _wide(cells: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, one a method; what methods see stands once a group."""
    texts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for cell in cells.itertuples():
        texts.setdefault((str(cell.sees), str(cell.method)), {}).setdefault(str(cell.setting), []).append(_text(cell))
    settings = sorted({setting for row in texts.values() for setting in row}, key=_natural)
    groups = ["", *(seen for seen, _ in texts)]
    rows = [
        ["" if seen == before else seen, method, *(" / ".join(row.get(setting, [])) for setting in settings)]
        for before, ((seen, method), row) in zip(groups, texts.items(), strict=False)
    ]
    return ["sees", "method", *settings], rows


def _natural(setting: str) -> tuple[tuple[float, str], ...]:
    """Sort key by which rate=0.05 comes before rate=0.4 and 5 before 10."""
    return tuple((float(part), "") if part[:1].isdigit() else (math.inf, part) for part in re.split(r"(\d+\.?\d*)", setting))


def _text(row: Any) -> str:
    diverged = f" ({row.diverged} diverged)" if row.diverged else ""
    if row.trials == 0:
        return f"-{diverged}"
    return f"{plus_minus(row.mean, row.half_width)}{diverged}"


def plus_minus(mean: float, half_width: float) -> str:
    """A mean with its interval, without one where it is NaN.

    >>> plus_minus(61.0, 4.331), plus_minus(61.0, math.nan)
    ('61.00 ± 4.33', '61.00')
    """
    return f"{mean:.2f}" + ("" if math.isnan(half_width) else f" ± {half_width:.2f}")


def _caption(cells: pd.DataFrame, records: Sequence[Record], metric: str) -> str:
    low, high = cells["trials"].min(), cells["trials"].max()
    trials = f"{low} to {high} trials" if low != high else f"{high} {'trial' if high == 1 else 'trials'}"
    return f"{words(metric)} in %, mean ± 95 % confidence interval (Student t) over {trials}, last step. {provenance(records)}"


def provenance(records: Sequence[Record]) -> str:
    """On what, and by which versions, in a sentence; schedules shortened by `scale` are told."""
    devices = sorted({record["environment"]["device"] for record in records})
    torches = sorted({record["environment"].get("versions", {}).get("torch", "?") for record in records})
    scales = sorted({record["config"].get("scale", 1) for record in records})
    shortened = "" if scales == [1] else f" Schedules at {', '.join(map(str, scales))} of their steps."
    mixed = f" Versions differ: torch {', '.join(torches)}." if len(torches) > 1 else ""
    return f"On: {', '.join(devices)}.{mixed}{shortened}"
