"""Descriptions of methods over several settings: performance profiles, probabilities of improvement (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.analysis.captions import trials_of
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.forest import selected_words
from benchmark.analysis.figures.heatmap import names_at, shade
from benchmark.analysis.figures.request import Request
from benchmark.analysis.overall import Common, common
from benchmark.analysis.rows import ordered, rows_of
from benchmark.analysis.statistics import performance_profile, probability_of_improvement
from benchmark.metrics import Metric
from robust_benchmark.words import number_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _common(request: Request, metric: Metric) -> Common:
    request.finished()
    return common(ordered(rows_of(request.records, metric, request.selections), metric))  # which rejects methods with diverged trials


def _over(found: Common) -> str:
    settings = number_of(len(found.settings), "setting")
    return f"Shares are over {settings} and {trials_of([len(found.seeds)])}. They are a description and not a test."


def profile_figure(request: Request) -> Figure:
    """For each method, the share of trials and settings above each value."""
    metric, looks = request.one_metric("profile"), request.shown_looks()
    found = _common(request, metric)
    thresholds = np.unique(found.values)
    shares = {method: 100 * performance_profile(found.values[place], thresholds) for place, method in enumerate(found.methods)}
    best_first = sorted(shares, key=lambda method: (-shares[method].mean(), method))
    sheet = canvas.sheet(request, 1, 2.9)
    (axis,) = sheet.panels
    every = max(1, len(thresholds) // 5)
    for rank, method in enumerate(best_first):
        marks: Any = {
            "markersize": 4.2,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "markevery": (rank * every // 5 % every, every),
        }
        axis.step(thresholds, shares[method], where="post", linewidth=1.4, **canvas.style_of(looks[method]), **marks)
    axis.set_xlabel(metric.label)
    axis.set_ylabel("Trials and settings above it (%)")
    canvas.legend(sheet.figure, {method: looks[method] for method in best_first})
    canvas.note(sheet.figure, request, [_over(found), selected_words(request)])
    return sheet.figure


def improvement_figure(request: Request) -> Figure:
    """For each pair, how often the method of the row is better than that of the column in the same trial. Ties count half."""
    metric = request.one_metric("improvement")
    found = _common(request, metric)
    values = found.values if metric.larger_is_better else -found.values
    chances = np.array([[100 * probability_of_improvement(mine, other) for other in values] for mine in values])
    order = np.argsort(-chances.mean(axis=1), kind="stable")
    chances = chances[np.ix_(order, order)]
    np.fill_diagonal(chances, np.nan)
    names = [canvas.shown(found.methods[place]) for place in order]
    sheet = canvas.sheet(request, 1, 1.2 + 0.21 * len(names))
    (axis,) = sheet.panels
    shade(axis, chances, 0, request.width - 1.2)
    axis.set_xticks(names_at(names), names, rotation=90)
    axis.set_yticks(names_at(names), names)
    canvas.title(axis, f"{metric.caption}: the row's method is better than the column's (%)", request.width - 1)
    canvas.note(sheet.figure, request, [_over(found), "Equal values count half.", selected_words(request)])
    return sheet.figure
