"""Simulated coverage at the usual numbers of trials: the procedures of the analysis keep their level, and omitted ones would not.

The bounds leave four standard errors of the simulation.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.statistics import difference, estimate, holm, may_be_best

TABLES = 2000
ERRORS = 4 * np.sqrt(0.05 * 0.95 / TABLES)


def tables(rng: np.random.Generator, methods: int, trials: int, spread: str = "equal") -> tuple[np.ndarray, np.ndarray]:
    """Accuracies (TABLES, methods, trials), with the true means (TABLES, methods) close to each other; trials share a random effect."""
    means = 80 + rng.normal(0, 1, (TABLES, methods))
    deviations = np.ones((TABLES, methods, 1)) if spread == "equal" else rng.uniform(0.3, 3, (TABLES, methods, 1))
    shared = rng.normal(0, 1, (TABLES, 1, trials))
    return means[:, :, None] + shared + deviations * rng.normal(0, 1, (TABLES, methods, trials)), means


@pytest.mark.parametrize("trials", [3, 5])
def test_student_t_intervals_cover_95_percent(trials: int) -> None:
    values = np.random.default_rng(trials).normal(80, 2, (TABLES, trials))
    covered = [abs(found.mean - 80) <= found.half_width for found in map(estimate, values.tolist())]
    assert abs(np.mean(covered) - 0.95) < ERRORS


def test_a_percentile_bootstrap_of_five_trials_would_not() -> None:  # the reason that none is offered
    rng = np.random.default_rng(0)
    values = rng.normal(80, 2, (TABLES, 5))
    resampled = np.take_along_axis(values[:, None], rng.integers(0, 5, (TABLES, 400, 5)), axis=2).mean(2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    assert np.mean((low <= 80) & (high >= 80)) < 0.88


def test_a_signed_rank_test_of_five_trials_could_never_reject() -> None:
    assert stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]).pvalue > 0.06


@pytest.mark.parametrize("spread", ["equal", "unequal"])
def test_paired_intervals_cover_95_percent(spread: str) -> None:
    values, means = tables(np.random.default_rng(1), 2, 5, spread)
    found = [difference(first, second) for first, second in values.tolist()]
    covered = [abs(each.mean - (first - second)) <= each.half_width for each, (first, second) in zip(found, means, strict=True)]
    assert abs(np.mean(covered) - 0.95) < ERRORS


def test_holm_keeps_false_alarms_against_one_reference_below_5_percent() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, (TABLES, 1, 5)) + rng.normal(0, 1, (TABLES, 14, 5))  # fourteen equal methods
    alarms = [bool((holm([difference(row, table[0]).p for row in table[1:]]) < 0.05).any()) for table in values.tolist()]
    assert np.mean(alarms) < 0.05 + ERRORS


@pytest.mark.parametrize("trials", [3, 5])
@pytest.mark.parametrize("methods", [3, 14])
@pytest.mark.parametrize("spread", ["equal", "unequal"])
def test_the_marked_set_contains_the_truly_best_method(trials: int, methods: int, spread: str) -> None:
    values, means = tables(np.random.default_rng(methods + trials), methods, trials, spread)
    best = means.argmax(1)
    assert np.mean([may_be_best(table)[winner] for table, winner in zip(values, best, strict=True)]) > 0.95 - ERRORS


def test_it_does_so_where_all_methods_are_equally_good() -> None:  # the hardest case: any of them is the best
    values, means = tables(np.random.default_rng(5), 14, 5, "unequal")
    values -= means[:, :, None]
    assert np.mean([may_be_best(table)[0] for table in values]) > 0.95 - ERRORS


def test_the_naive_rule_against_the_best_observed_mean_would_not() -> None:  # a test at 5 % against whichever came out best
    values, means = tables(np.random.default_rng(6), 14, 5)
    values -= means[:, :, None]  # all equally good: the first is as good a winner as any
    kept = []
    for table in values:
        top = int(table.mean(1).argmax())
        kept.append(top == 0 or stats.ttest_rel(table[top], table[0], alternative="greater").pvalue >= 0.05)
    assert np.mean(kept) < 0.95


def test_the_set_is_small_where_one_method_is_clearly_best() -> None:  # a rule that marked all would be valid and useless
    rng = np.random.default_rng(7)
    values = np.array([90.0, *[70.0] * 13])[:, None] + rng.normal(0, 1, (200, 14, 5))
    assert np.mean([may_be_best(table).sum() for table in values]) < 1.1
