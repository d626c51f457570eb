"""Statistics against SciPy, brute force and their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.statistics import (
    average_rank,
    difference,
    estimate,
    holm,
    interquartile_mean,
    may_be_best,
    mean_of_settings,
    performance_profile,
    probability_of_improvement,
)


@pytest.mark.parametrize("n", [3, 5, 30])
def test_the_interval_is_student_t(n: int) -> None:
    values = np.random.default_rng(n).normal(80, 3, n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = estimate(values.tolist())
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert found.trials == n


def test_five_trials_have_the_quantile_2_776() -> None:  # the paper's number of trials
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert estimate(values).half_width == pytest.approx(2.776 * math.sqrt(2.5 / 5), abs=1e-3)


@pytest.mark.parametrize("values", [[3.5], [3.0, 4.0]])
def test_below_three_trials_there_is_a_mean_and_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert (found.mean, found.trials) == (3.5, len(values))
    assert math.isnan(found.half_width)


def test_no_trial_has_neither() -> None:
    found = estimate([])
    assert math.isnan(found.mean)
    assert math.isnan(found.half_width)
    assert found.trials == 0


def test_equal_trials_have_an_interval_of_zero() -> None:
    assert estimate([0.25, 0.25, 0.25]).half_width == 0


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_paired_difference_is_that_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    values, reference = rng.normal(80, 3, n), rng.normal(79, 2, n)
    expected = stats.ttest_rel(values, reference)
    low, high = expected.confidence_interval()
    found = difference(values.tolist(), reference.tolist())
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert (found.wins, found.trials) == ((values > reference).sum(), n)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_differences_without_spread_are_not_tested(shift: float) -> None:
    found = difference([1.0 + shift, 2.0 + shift, 4.0 + shift], [1.0, 2.0, 4.0])
    assert (found.mean, found.wins, found.trials) == (shift, 3 * (shift > 0), 3)
    assert math.isnan(found.p)
    assert math.isnan(found.half_width)


def test_two_pairs_are_not_tested() -> None:
    found = difference([1.0, 3.0], [0.0, 1.0])
    assert (found.mean, found.wins, found.trials) == (1.5, 2, 2)
    assert math.isnan(found.p)


def test_pairs_must_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        difference([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed: int) -> None:
    p = np.random.default_rng(seed).uniform(size=7) ** 3
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for place, each in enumerate(np.argsort(p)):  # Holm (1979): from the smallest on, until the first that is not rejected
            if p[each] > level / (len(p) - place):
                break
            rejected.add(int(each))
        assert set(np.flatnonzero(holm(p) <= level)) == rejected


def test_holm_leaves_out_what_cannot_be_tested() -> None:
    adjusted = holm([0.02, math.nan, 0.01])
    assert math.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx(holm([0.02, 0.01]))
    assert holm([]).shape == (0,)


def test_the_set_of_the_best_is_that_of_one_sided_t_tests() -> None:
    values = np.random.default_rng(3).normal([[80.0], [79.0], [70.0], [80.5]], 1.5, (4, 5))
    worse = {
        int(method)
        for method, other in itertools.permutations(range(4), 2)
        if stats.ttest_rel(values[other], values[method], alternative="greater").pvalue < 0.05 / 3
    }
    assert worse
    assert may_be_best(values).tolist() == [method not in worse for method in range(4)]


def test_nobody_is_worse_in_two_trials_or_alone() -> None:
    assert may_be_best([[1.0, 1.1], [50.0, 50.1]]).tolist() == [True, True]
    assert may_be_best([[1.0, 1.1, 1.2]]).tolist() == [True]


def test_equal_methods_share_the_mark() -> None:
    same = [90.0, 91.0, 92.5]
    assert may_be_best([same, same, [10.0, 11.2, 12.1]]).tolist() == [True, True, False]


def test_a_difference_that_is_constant_apart_from_rounding_has_no_test() -> None:
    ours = [0.962, 0.944, 0.98]
    theirs = [0.942, 0.924, 0.96]
    assert len({value - other for value, other in zip(ours, theirs, strict=True)}) > 1  # by rounding
    assert may_be_best([ours, theirs]).tolist() == [True, True]
    found = difference(ours, theirs)
    assert found.wins == 3
    assert math.isnan(found.p)
    assert difference([0.1 + 0.2, 0.6, 0.9], [0.3, 0.6, 0.9]).wins == 0


def test_aggregates_are_within_trials() -> None:
    values = np.random.default_rng(0).normal(80, 5, (3, 5, 8))
    assert mean_of_settings(values) == pytest.approx(values.mean(2))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=2))
    ranks = stats.rankdata(-values, axis=0)
    assert average_rank(values) == pytest.approx(ranks.mean(2))


def test_equal_values_share_their_ranks() -> None:
    assert average_rank([[[80.0]], [[80.0]], [[70.0]]]).ravel().tolist() == [1.5, 1.5, 3.0]


def test_fewer_than_four_settings_have_no_quarter_to_leave_out() -> None:
    assert interquartile_mean([[[1.0, 2.0, 9.0]]]) == pytest.approx(4.0)


def test_the_probability_of_improvement_counts_ties_half() -> None:
    assert probability_of_improvement([[1.0, 2.0], [3.0, 4.0]], [[0.0, 2.0], [4.0, 3.0]]) == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert probability_of_improvement([[0.1 + 0.2]], [[0.3]]) == 0.5  # equal apart from rounding


def test_a_profile_is_the_share_above() -> None:
    assert performance_profile([[1.0, 2.0], [2.0, 3.0]], [0.0, 1.0, 2.0, 3.0]).tolist() == [1.0, 0.75, 0.25, 0.0]
