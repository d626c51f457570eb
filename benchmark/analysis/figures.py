"""Pictures of a set of records: lines along training or against an option, confusion matrices, distributions of example weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.statistics import estimate
from benchmark.analysis.tables import check_metric, flatten, percents, settings_of, words
from benchmark.records.store import Record
from robust_benchmark.errors import UserError, unknown

COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")  # seaborn's "colorblind"
DASHES = ((1, 0), (4, 1.5), (1, 1))  # one more for each time the colours are used up
LINES = ["method", "setting", "metric", "x", "value"]


def training(records: Sequence[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """By LINES, one row an evaluation and metric; x: step, counted over all phases; value: percent.

    Raises UserError, with the nearest name, for a metric that no record has.
    """
    known = {name for record in records for entry in record["metrics"]["history"] for name in percents(entry)}
    for metric in metrics:
        check_metric(metric, known)
    rows = []
    for record, setting in zip(records, settings_of(records), strict=True):
        before, last, phase = 0, 0, None
        for entry in record["metrics"]["history"]:
            if phase not in (None, entry["phase"]):
                before += last
            phase, last = entry["phase"], entry["step"]
            values = percents(entry)
            rows += [(record["method"], setting, name, before + last, values[name]) for name in metrics if name in values]
    return pd.DataFrame(rows, columns=LINES)


def against(records: Sequence[Record], option: str, metrics: Sequence[str]) -> pd.DataFrame:
    """By LINES, one row a finished trial that has the option, and metric; setting: without the option; x: its value; value: percent.

    Raises UserError, with the nearest name, for an option that no record has as a number, or a metric that no record has.
    """
    having = [record for record in records if option in _numbers(record)]
    if not having:
        raise unknown("numeric option of these records", option, {name for record in records for name in _numbers(record)})
    for metric in metrics:
        check_metric(metric, {name for record in having for name in percents(record["metrics"])})
    rows = []
    for record, setting in zip(having, settings_of(having, without=option), strict=True):
        values = percents(record["metrics"]) if record["status"] == "done" else {}
        rows += [(record["method"], setting, name, _numbers(record)[option], values[name]) for name in metrics if name in values]
    return pd.DataFrame(rows, columns=LINES)


def _numbers(record: Record) -> dict[str, float]:
    leaves = flatten(record["config"])
    return {name: value for name, value in leaves.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def draw(
    records: Sequence[Record],
    path: Path,
    kind: str = "training",
    x: str = "step",
    y: str | Sequence[str] = "test_accuracy",
    logarithmic: bool = False,
) -> None:
    """Draw the picture and write it as PNG or PDF by the path's ending, or as both where it has none.

    kind: 'training', lines along the steps; 'against', lines against the option `x`; 'confusion', matrices of the test set;
        'weights', the distribution of example weights
    y: metric or metrics of the lines, such as test_accuracy, test_error or weights_auroc; a panel for each setting, a line for
        each method with its 95 % confidence band over the trials
    logarithmic: the x axis
    """
    if path.suffix not in (".png", ".pdf", ""):
        raise UserError(f"{path} must end in .png or .pdf, or in neither for both")
    metrics = [y] if isinstance(y, str) else list(y)
    kinds: dict[str, Callable[[], Any]] = {
        "training": lambda: _lines(training(records, metrics), "step", logarithmic),
        "against": lambda: _lines(against(records, x, metrics), x, logarithmic),
        "confusion": lambda: _confusions(records),
        "weights": lambda: _weights(records),
    }
    if kind not in kinds:
        raise unknown("kind of figure", kind, kinds)
    figure = kinds[kind]()
    for file in [path] if path.suffix else [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.pdf")]:
        figure.savefig(file, dpi=150, bbox_inches="tight", metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
    _close(figure)


def _close(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)


def _seaborn() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="notebook")
    return sns


def _lines(data: pd.DataFrame, x: str, logarithmic: bool) -> Any:
    if data.empty:
        raise UserError("no finished trial to draw")
    methods, metrics = _best_last_value_first(data), data["metric"].unique()
    dashes = {method: DASHES[number // len(COLOURS) % len(DASHES)] for number, method in enumerate(methods)}
    several = len(metrics) > 1
    grid: Any = _seaborn().relplot(
        data=data,
        kind="line",
        x="x",
        y="value",
        hue="method",
        hue_order=methods,
        palette=[COLOURS[number % len(COLOURS)] for number in range(len(methods))],
        style="metric" if several else "method",
        style_order=list(metrics) if several else methods,
        dashes=True if several else dashes,
        markers=x != "step",
        col="setting",
        col_wrap=min(3, data["setting"].nunique()),
        errorbar=_interval,
        height=4.2,
        aspect=1.35,
    )
    grid.set_axis_labels(x, "%" if several else f"{words(metrics[0])} (%)").set_titles("{col_name}")
    if logarithmic:
        grid.set(xscale="log")
    return grid.figure


def _best_last_value_first(data: pd.DataFrame) -> list[str]:
    """Methods in the order in which their lines end, from the top, so that the legend reads like the picture."""
    ends = data[data["x"] == data.groupby(["method", "setting"])["x"].transform("max")]
    return ends.groupby("method")["value"].mean().sort_values(ascending=False, kind="stable").index.tolist()


def _interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of percentages, as far as they go."""
    value = estimate(values.tolist())
    half_width = 0.0 if math.isnan(value.half_width) else value.half_width
    return max(0.0, value.mean - half_width), min(100.0, value.mean + half_width)


def confusion(records: Sequence[Record]) -> np.ndarray:
    """The mean over trials of the test set's confusion matrix in percent, rows (the true class) summing to 100."""
    counts = np.array([record["metrics"]["confusion_matrix"] for record in records], dtype=float)
    return (100 * counts / counts.sum(axis=2, keepdims=True)).mean(axis=0)


def _panels(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Finished records by setting and method. Raises UserError where there is none."""
    panels: dict[tuple[str, str], list[Record]] = {}
    for record, setting in zip(records, settings_of(records), strict=True):
        if record["status"] == "done":
            panels.setdefault((setting, record["method"]), []).append(record)
    if not panels:
        raise UserError("no finished trial to draw")
    return panels


def _confusions(records: Sequence[Record]) -> Any:
    sns, panels = _seaborn(), _panels(records)
    import matplotlib.pyplot as plt

    settings, methods = (list(dict.fromkeys(key[axis] for key in panels)) for axis in (0, 1))
    figure, axes = plt.subplots(len(settings), len(methods), figsize=(5.2 * len(methods), 4.6 * len(settings)), squeeze=False)
    for (setting, method), trials in panels.items():
        axis = axes[settings.index(setting), methods.index(method)]
        matrix = confusion(trials)
        sns.heatmap(matrix, ax=axis, vmin=0, vmax=100, cmap="Blues", annot=len(matrix) <= 10, fmt=".0f", cbar=False, square=True)
        axis.set(title=f"{method}\n{setting}", xlabel="predicted class", ylabel="true class (% of its images)")
    figure.tight_layout()
    return figure


def weight_shares(records: Sequence[Record]) -> pd.DataFrame:
    """One row a setting, method, panel, kind of label and bin: edge (n w from here on), share (percent of the kind's examples)."""
    rows = []
    for (setting, method), trials in _panels(records).items():
        for panel in ("mixed", "one_class"):
            for kind in ("right", "wrong"):
                histograms = [trial["metrics"]["weight_histograms"] for trial in trials if "weight_histograms" in trial["metrics"]]
                counts = sum((np.array(histogram[panel][kind]) for histogram in histograms), np.zeros(1))
                edges = histograms[0]["edges"] if histograms else []
                share = 100 * counts / max(1, counts.sum())
                rows += [(setting, method, panel, kind, edge, value) for edge, value in zip(edges, share, strict=False)]
    if not rows:
        raise UserError("no record has example weights on a hyper-validation set (split.hyper_validation)")
    return pd.DataFrame(rows, columns=["setting", "method", "panel", "label", "edge", "share"])


def _weights(records: Sequence[Record]) -> Any:
    sns, data = _seaborn(), weight_shares(records)
    titles = {"mixed": "one batch of all classes", "one_class": "batches of one class"}
    data = data.assign(panel=data["panel"].map(titles), row=data["method"] + ", " + data["setting"])
    grid = sns.FacetGrid(data, row="row", col="panel", height=3.4, aspect=1.5, hue="label", hue_order=["right", "wrong"], sharey=False)
    grid.map(_bars, "edge", "share")
    grid.add_legend(title="label").set_axis_labels("example weight times batch size", "examples (%)").set_titles("{row_name}\n{col_name}")
    return grid.figure


def _bars(edge: pd.Series, share: pd.Series, color: Any, label: str) -> None:
    import matplotlib.pyplot as plt

    plt.gca().bar(edge, share, width=0.1, align="edge", alpha=0.6, color=color, label=label)
