"""SMOTE against imbalanced-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.smote import SMOTE, interpolated, nearest
from tests.test_imbalance_training import distance_to_segment, ready, tail_task

pytest.importorskip("imblearn", reason="needs imbalanced-learn: pip install -e '.[test]'")

from imblearn import over_sampling
from imblearn.utils import check_neighbors_object


def members(n: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, width)).astype(np.float32)


def neighbours(x: np.ndarray, k: int) -> np.ndarray:
    """The k nearest other rows of each row by imbalanced-learn, (n, k)."""
    found = check_neighbors_object("k_neighbors", k, additional_neighbor=1).fit(x).kneighbors(x, return_distance=False)
    return np.asarray(found[:, 1:])


def far_from_segments(points: np.ndarray, x: np.ndarray, near: np.ndarray) -> float:
    """The largest distance of a point from the nearest segment between a row of x and one of its neighbours."""
    return max(min(distance_to_segment(p, x[i], x[j]) for i in range(len(x)) for j in near[i]) for p in points)


def test_each_class_has_as_many_examples_as_in_imbalanced_learn() -> None:
    trainer = ready(SMOTE(), tail_task((20, 12, 6)))
    assert isinstance(trainer.method, SMOTE)
    given, made = trainer.task.train, trainer.method.synthetic(trainer.view)
    _, reference = over_sampling.SMOTE(random_state=0).fit_resample(given.images[:].flatten(1).numpy(), given.labels.numpy())
    ours = torch.cat([given.labels, made.labels]).numpy()
    np.testing.assert_array_equal(np.bincount(ours), np.bincount(reference))


@pytest.mark.parametrize(("n", "k"), [(6, 5), (9, 1), (15, 5)])
def test_neighbours_are_those_of_imbalanced_learn(n: int, k: int) -> None:
    x = members(n)
    np.testing.assert_array_equal(nearest(torch.from_numpy(x), k).numpy(), neighbours(x, k))


@pytest.mark.parametrize(("n", "k"), [(6, 5), (9, 1), (15, 5)])
def test_points_of_both_lie_between_an_example_and_a_neighbour_by_imbalanced_learn(n: int, k: int) -> None:
    x, count = members(n), 40
    near = neighbours(x, k)
    largest = members(n + count) + 100
    all_rows, labels = np.concatenate([largest, x]), np.repeat([0, 1], [n + count, n])
    resampled, _ = over_sampling.SMOTE(k_neighbors=k, random_state=0).fit_resample(all_rows, labels)
    reference = resampled[len(all_rows) :]
    ours = interpolated(torch.from_numpy(x), count, k).numpy()
    assert len(reference) == len(ours) == count
    for points in (reference, ours):
        assert far_from_segments(points.astype(np.float64), x.astype(np.float64), near) < 1e-5


def test_imbalanced_learn_rejects_a_class_that_has_too_few_neighbours_and_ours_uses_what_there_is() -> None:
    x = members(5)
    with pytest.raises(ValueError, match="n_neighbors"):
        over_sampling.SMOTE(random_state=0).fit_resample(np.concatenate([members(9) + 100, x]), np.repeat([0, 1], [9, 5]))
    assert nearest(torch.from_numpy(x), min(5, len(x) - 1)).shape == (5, 4)
    assert interpolated(torch.from_numpy(x), 4, 5).shape == (4, 4)
