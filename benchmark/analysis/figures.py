"""Pictures of a set of records: lines along training or against an option, confusion matrices, distributions of example weights."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.cost import COST
from benchmark.analysis.rows import absent
from benchmark.analysis.selection import LAST, check_selection, value
from benchmark.analysis.settings import flatten, settings_of
from benchmark.analysis.statistics import estimate
from benchmark.metrics import METRICS, Metric, metric
from benchmark.records.history import rows
from benchmark.records.store import Record
from robust_benchmark.errors import UserError, unknown

COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9")  # seaborn's "colorblind"
DASHES = ((1, 0), (4, 1.5), (1, 1))  # one more for each time the colours are used up
LINES = ["method", "setting", "metric", "x", "value"]


def training(records: Sequence[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """By LINES, one row an evaluation and metric; x: step, counted over all phases; value: in the metric's unit.

    Raises UserError for an unknown metric, with the nearest name, or for one that no evaluation has.
    """
    measured = [metric(name) for name in metrics]
    for name in set(metrics).intersection(COST):
        raise UserError(f"{name} does not change along training; draw it against an option (--x)")
    lines = []
    for record, setting in zip(records, settings_of(records), strict=True):
        before, last, phase = 0, 0, None
        for entry in rows(record["history"]):
            if phase not in (None, entry["phase"]) or entry["step"] <= last:  # two phases may have one name
                before += last
            phase, last = entry["phase"], entry["step"]
            lines += [(record["method"], setting, each.name, before + last, each.of(entry)) for each in measured if each.kept in entry]
    return _checked(lines, measured, records)


def against(records: Sequence[Record], option: str, metrics: Sequence[str], selections: Sequence[str] = (LAST,)) -> pd.DataFrame:
    """By LINES, one row a finished trial that has the option, metric and selection; x: the option's value; value: in the metric's unit.

    setting: without the option, and with the selection unless that is the last step
    Raises UserError, with the nearest name, for an option that no record has as a number, or a metric or selection that is unknown or
    that no record can give.
    """
    measured = [metric(name) for name in metrics]
    having = [record for record in records if option in _numbers(record)]
    if not having:
        raise unknown("numeric option of these records", option, {name for record in records for name in _numbers(record)})
    for name in selections:
        check_selection(name, having)
    lines = []
    for record, setting in zip(having, settings_of(having, without=option), strict=True):
        for name in selections:
            panel, x = setting if name == LAST else f"{setting}, {name}", _numbers(record)[option]
            lines += [(record["method"], panel, each.name, x, value(record, each, name)) for each in measured]
    return _checked([line for line in lines if not math.isnan(line[-1])], measured, having)


def _checked(lines: Sequence[tuple[Any, ...]], metrics: Sequence[Metric], records: Sequence[Record]) -> pd.DataFrame:
    """By LINES. Raises UserError for a metric that no line has though trials finished."""
    data = pd.DataFrame(lines, columns=LINES)
    for each in metrics:
        if each.name not in set(data["metric"]) and any(record["status"] != "diverged" for record in records):
            raise absent(each)
    return data


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
    selections: Sequence[str] = (LAST,),
) -> None:
    """Draw the picture and write it as PNG or PDF by the path's ending, or as both where it has none.

    kind: 'training', lines along the steps; 'against', lines against the option `x`; 'confusion', matrices of the test set;
        'weights', the distribution of example weights
    y: metric or metrics of the lines, such as test_accuracy, test_error or weights_auroc; a panel for each setting, a line for
        each method with its 95 % confidence band over the trials
    logarithmic: the x axis
    selections: of kind 'against', which evaluations count (benchmark.analysis.selection), a panel each
    """
    if path.suffix not in (".png", ".pdf", ""):
        raise UserError(f"{path} must end in .png or .pdf, or in neither for both")
    metrics = [y] if isinstance(y, str) else list(y)
    kinds: dict[str, Callable[[], Any]] = {
        "training": lambda: _lines(training(records, metrics), "step", logarithmic),
        "against": lambda: _lines(against(records, x, metrics, selections), x, logarithmic),
        "confusion": lambda: _confusions(records),
        "weights": lambda: _weights(records),
    }
    if kind not in kinds:
        raise unknown("kind of figure", kind, kinds)
    if list(selections) != [LAST] and kind != "against":
        raise UserError(f"--select is for tables and for figures of kind against, not for one of kind {kind}")
    figure = kinds[kind]()
    for file in [path] if path.suffix else [path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.pdf")]:
        figure.savefig(file, dpi=150, bbox_inches="tight", metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
    _close(figure)


def _close(figure: Any) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)


def _seaborn() -> Any:
    os.environ["MPLBACKEND"] = "Agg"  # before matplotlib reads it: one that it does not know would end the import
    import matplotlib as mpl

    mpl.use("Agg")
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="notebook")
    return sns


def _lines(data: pd.DataFrame, x: str, logarithmic: bool) -> Any:
    """Panels of lines. Metrics of one unit share theirs; else each metric has a row of its own."""
    if data.empty:
        raise UserError("no finished trial to draw")
    metrics = [METRICS[name] for name in data["metric"].unique()]
    units = {each.unit for each in metrics}
    rows = {"row": "metric", "facet_kws": {"sharey": "row"}} if len(units) > 1 else {"col_wrap": min(3, data["setting"].nunique())}
    grid: Any = _seaborn().relplot(
        data=data,
        kind="line",
        x="x",
        y="value",
        col="setting",
        markers=x != "step",
        errorbar=_percent_interval if units == {"%"} else _interval,
        height=4.2,
        aspect=1.35,
        **_look(_best_last_value_first(data), metrics if len(units) == 1 else []),
        **rows,
    )
    grid.set_axis_labels(x, metrics[0].label if len(metrics) == 1 else metrics[0].unit or "value").set_titles("{col_name}")
    for each, axis in zip(metrics, grid.axes[:, 0] if len(units) > 1 else (), strict=False):
        axis.set_ylabel(textwrap.fill(each.label, 32))
    if logarithmic:
        grid.set(xscale="log")
    return grid.figure


def _look(methods: Sequence[str], metrics: Sequence[Metric]) -> dict[str, Any]:
    """A colour for each method; dashes tell apart several metrics of one panel, else methods once the colours are used up."""
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(methods))]
    dashes = {method: DASHES[number // len(COLOURS) % len(DASHES)] for number, method in enumerate(methods)}
    by_metric = {"style": "metric", "style_order": [each.name for each in metrics], "dashes": True}
    style = by_metric if len(metrics) > 1 else {"style": "method", "style_order": methods, "dashes": dashes}
    return {"hue": "method", "hue_order": methods, "palette": colours, **style}


def _best_last_value_first(data: pd.DataFrame) -> list[str]:
    """Methods in the order in which their lines end, from the top, so that the legend reads like the picture."""
    ends = data[data["x"] == data.groupby(["method", "setting"])["x"].transform("max")]
    return ends.groupby("method")["value"].mean().sort_values(ascending=False, kind="stable").index.tolist()


def _percent_interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of percentages, as far as they go."""
    low, high = _interval(values)
    return low, min(100.0, high)


def _interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of a metric; none is below 0."""
    found = estimate(values.tolist())
    half_width = 0.0 if math.isnan(found.half_width) else found.half_width
    return max(0.0, found.mean - half_width), found.mean + half_width


def confusion(records: Sequence[Record]) -> np.ndarray:
    """The mean over trials of the test set's confusion matrix in percent, rows (the true class) summing to 100."""
    counts = np.array([record["per_class"]["confusion_matrix"] for record in records], dtype=float)
    return (100 * counts / np.maximum(1, counts.sum(axis=2, keepdims=True))).mean(axis=0)  # a class may have no test images


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
    shares = []
    for (setting, method), trials in _panels(records).items():
        for panel in ("mixed", "one_class"):
            for kind in ("right", "wrong"):
                histograms = [trial["weight_histograms"] for trial in trials if trial["weight_histograms"]]
                counts = sum((np.array(histogram[panel][kind]) for histogram in histograms), np.zeros(1))
                edges = histograms[0]["edges"] if histograms else []
                share = 100 * counts / max(1, counts.sum())
                shares += [(setting, method, panel, kind, edge, each) for edge, each in zip(edges, share, strict=False)]
    if not shares:
        raise UserError("no record has example weights on a hyper-validation set (split.hyper_validation)")
    return pd.DataFrame(shares, columns=["setting", "method", "panel", "label", "edge", "share"])


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
