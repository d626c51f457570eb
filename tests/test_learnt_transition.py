"""VolMinNet and T-Revision: losses, gradients and limits against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.base import Knowledge
from methods.volminnet import matrix_of
from tests.by_hand import CLASSES, Bare, Bench, bench, some_images, some_labels
from tests.references import cross_entropies, numerical_gradient, softmax
from tests.references import transition as reference

N = 24
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()
IMAGES = some_images(N, shape=(1, 1, CLASSES), scale=2.0)
Z = IMAGES.numpy().reshape(N, CLASSES)
T = np.array([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
W = np.random.default_rng(0).standard_normal((3, 3))


def a_bench(name: str, **options: float) -> Bench:
    return bench({"name": name, **options}, LABELS, IMAGES, lambda _: Bare())


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_volminnet_s_loss_and_both_gradients_are_those_of_the_reference(rate: float) -> None:
    b = a_bench("volminnet", lam=0.3, rate=rate)
    b.method.w.data = torch.from_numpy(W.copy())
    images = IMAGES.clone().requires_grad_()
    loss = b.method.loss(b.batch(torch.arange(N), images=images))
    by_images, by_w = torch.autograd.grad(loss, [images, b.method.w])
    assert loss.item() == pytest.approx(reference.volminnet_loss(Z, Y, W, 0.3), rel=1e-9)
    slow = numerical_gradient(lambda z: reference.volminnet_loss(z, Y, W, 0.3), Z)
    np.testing.assert_allclose(by_images.numpy().reshape(N, CLASSES), slow, atol=1e-8)
    np.testing.assert_allclose(by_w.numpy(), rate * numerical_gradient(lambda w: reference.volminnet_loss(Z, Y, w, 0.3), W), atol=1e-8)


def test_volminnet_s_matrix_is_the_reference_s_and_dominated_by_its_diagonal() -> None:
    for scale in (1.0, 30.0):
        found = matrix_of(torch.from_numpy(scale * W)).numpy()
        np.testing.assert_allclose(found, reference.volminnet_matrix(scale * W), rtol=1e-12)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert all(found[i, i] >= found[i, j] for i in range(3) for j in range(3))


@pytest.mark.parametrize(("classes", "init", "diagonal"), [(10, -2.0, 0.482), (100, -4.5, 0.479)])
def test_volminnet_s_initial_diagonals_are_those_of_its_docstring(classes: int, init: float, diagonal: float) -> None:
    found = matrix_of(torch.full((classes, classes), init))
    np.testing.assert_allclose(found.diagonal().numpy(), diagonal, atol=6e-4)


def test_volminnet_without_off_diagonal_mass_is_cross_entropy() -> None:
    b = a_bench("volminnet", init=-40.0)
    assert b.method.loss(b.batch(torch.arange(N))).item() == pytest.approx(cross_entropies(Z, Y).mean())


def revision(T: np.ndarray, delta: np.ndarray | None = None) -> Bench:
    b = a_bench("t_revision")
    b.method.use(torch.from_numpy(T))
    if delta is not None:
        b.method.delta.data = torch.from_numpy(delta.copy())
    return b


def test_t_revision_s_loss_gradient_and_weights_are_those_of_the_reference() -> None:
    b = revision(T)
    images = IMAGES.clone().requires_grad_()
    found = b.method.loss(b.batch(torch.arange(N), images=images))
    (gradient,) = torch.autograd.grad(found.loss, images)
    weights = reference.importance_weights(Z, Y, T)
    assert found.loss.item() == pytest.approx(reference.revision_loss(Z, Y, T), rel=1e-9)
    expected = weights[:, None] * (softmax(Z) - np.eye(CLASSES)[Y]) / N
    np.testing.assert_allclose(gradient.numpy().reshape(N, CLASSES), expected, rtol=1e-9)
    np.testing.assert_allclose(found.example_weights.numpy(), weights / N, rtol=1e-9)


def test_t_revision_s_correction_learns_through_the_weights() -> None:
    delta = 0.02 * W
    b = revision(T, delta)
    found = b.method.revised_loss(b.batch(torch.arange(N)))
    (by_delta,) = torch.autograd.grad(found.loss, b.method.delta)
    assert found.loss.item() == pytest.approx(reference.revision_loss(Z, Y, T + delta), rel=1e-9)
    slow = numerical_gradient(lambda d: reference.revision_loss(Z, Y, T + d), delta)
    np.testing.assert_allclose(by_delta.numpy(), slow, atol=1e-8)
    assert np.abs(slow).max() > 1e-3


def test_t_revision_without_noise_is_cross_entropy() -> None:
    b = revision(np.eye(CLASSES))
    assert b.method.loss(b.batch(torch.arange(N))).loss.item() == pytest.approx(cross_entropies(Z, Y).mean())


def test_importance_weights_make_the_noisy_expectation_the_clean_one() -> None:
    p = softmax(Z[:1])[0]
    each = np.array([reference.importance_weights(Z[:1], np.array([j]), T)[0] for j in range(CLASSES)])
    b = revision(T)
    found = [b.method.loss(b.batch(torch.tensor([0]), labels=torch.tensor([j]))).example_weights.item() for j in range(CLASSES)]
    np.testing.assert_allclose(found, each, rtol=1e-9)
    f = np.array([3.0, -1.0, 2.0])
    assert (p @ T * found) @ f == pytest.approx(p @ f)


def test_t_revision_goes_on_from_the_weights_that_estimate_t() -> None:
    b = a_bench("t_revision")
    estimation, main, revise = b.phases()
    weight = b.method.model.output.weight
    b.method.validate(b.view)
    best = weight.detach().clone()
    b.method.lowest.zero_()  # nothing is better
    weight.data *= -5
    main.before(b.view)
    torch.testing.assert_close(weight.detach(), best)
    np.testing.assert_allclose(b.method.transition.numpy(), reference.anchor_matrix(softmax(Z)), rtol=1e-9)
    (update,) = revise.updates
    assert (update.parts, update.optimiser.kind, update.optimiser.lr) == (("model", "delta"), "adam", 5e-7)
    assert [phase.schedule.steps for phase in (estimation, main, revise)] == [10, 10, 10]


def test_they_see_nothing_but_noisy_labels() -> None:
    assert a_bench("volminnet").method.needs == a_bench("t_revision").method.needs == Knowledge.NONE
