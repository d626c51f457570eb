"""JoCoR, Decoupling and Co-teaching+: who trains on what, against plain loops and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from methods.base import Knowledge, Weighted, scalar
from methods.peers import kept
from methods.registry import build
from tests.by_hand import CLASSES, Bench, at, bench, some_images, some_labels
from tests.references import cross_entropies, numerical_gradient
from tests.references import two_networks as reference
from tests.references.coteaching import selections

N, WRONG = 20, 8
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()
RATE = WRONG / N
NAMES = ["jocor", "decoupling", "coteaching_plus"]


class Table(torch.nn.Module):
    """Its images are one-hot, so its weights are the logits of each example."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = torch.nn.Flatten(), torch.nn.Linear(N, CLASSES, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))


def a_bench(name: str, seed: int = 0, **options: object) -> tuple[Bench, np.ndarray, np.ndarray]:
    """The method and both classifiers' logits, (N, K)."""
    images = torch.eye(N, dtype=torch.float64).view(N, N, 1, 1)
    b = bench({"name": name, **options}, LABELS, images, lambda _: Table(), wrong=WRONG)
    logits = [some_images(N, seed + number, (CLASSES,), scale=2.0) for number in (0, 1)]
    for model, z in zip(b.models, logits, strict=True):
        model.output.weight.data = z.T.clone()
    return b, logits[0].numpy(), logits[1].numpy()


def step_of(b: Bench, share: float, phase: int = -1) -> tuple[float, np.ndarray, np.ndarray, torch.Tensor | None]:
    """Loss, both gradients in the logits, and the weights."""
    (update,) = b.phases()[phase].updates
    found = update.objective(b.batch(torch.arange(N), clock=at(step=round(1000 * share), steps=1000)))
    gradients = torch.autograd.grad(scalar(found), [model.output.weight for model in b.models])
    weights = found.example_weights if isinstance(found, Weighted) else None
    return scalar(found).item(), gradients[0].T.numpy(), gradients[1].T.numpy(), weights


def count(share: float, n: int, ramp: float = 0.05) -> int:
    return max(1, math.floor(n - n * RATE * min(share / ramp, 1) + 1e-9))


def mean_over(selection: list[int]) -> np.ndarray:
    weights = np.zeros(N)
    weights[selection] = 1 / len(selection)
    return weights


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.9])
@pytest.mark.parametrize("lam", [0.0, 0.65, 0.9])
def test_jocor_s_loss_gradients_and_weights_are_those_of_the_reference(share: float, lam: float) -> None:
    b, z1, z2 = a_bench("jocor", lam=lam)
    k = count(share, N)
    selection = reference.smallest(reference.joint_losses(z1, z2, Y, lam), k)
    loss, g1, g2, weights = step_of(b, share)
    assert loss == pytest.approx(reference.jocor_loss(z1, z2, Y, lam, selection))
    expected_1 = numerical_gradient(lambda z: reference.jocor_loss(z, z2, Y, lam, selection), z1)
    expected_2 = numerical_gradient(lambda z: reference.jocor_loss(z1, z, Y, lam, selection), z2)
    np.testing.assert_allclose(g1, expected_1, atol=1e-7)
    np.testing.assert_allclose(g2, expected_2, atol=1e-7)
    np.testing.assert_allclose(weights, mean_over(selection))


def test_jocor_of_equal_classifiers_has_no_gradient_of_agreement_and_no_preference() -> None:
    b, z1, _ = a_bench("jocor")
    b.models[1].output.weight.data.copy_(b.models[0].output.weight.data)
    loss, g1, g2, _ = step_of(b, 0.0)
    assert loss == pytest.approx(0.2 * cross_entropies(z1, Y).mean())
    np.testing.assert_allclose(g1, numerical_gradient(lambda z: 0.1 * float(cross_entropies(z, Y).mean()), z1), atol=1e-8)
    np.testing.assert_allclose(g2, g1)


def test_decoupling_trains_both_on_the_disagreements() -> None:
    b, z1, z2 = a_bench("decoupling", warm_up=0.1)
    selection = reference.disagreements(z1, z2)
    assert 0 < len(selection) < N
    loss, g1, g2, weights = step_of(b, 0.5)
    assert loss == pytest.approx(sum(reference.decoupling_loss(z, Y, selection) for z in (z1, z2)))
    for z, g in ((z1, g1), (z2, g2)):
        np.testing.assert_allclose(g, numerical_gradient(lambda v: reference.decoupling_loss(v, Y, selection), z), atol=1e-8)
    np.testing.assert_allclose(weights, mean_over(selection))


def test_decoupling_of_equal_classifiers_does_nothing() -> None:
    b, _, _ = a_bench("decoupling")
    b.models[1].output.weight.data.copy_(b.models[0].output.weight.data)
    loss, g1, g2, weights = step_of(b, 0.5)
    assert loss == 0
    assert not g1.any()
    assert not g2.any()
    assert not weights.any()


def test_decoupling_warms_up_on_everything() -> None:
    b, z1, z2 = a_bench("decoupling", warm_up=0.3)
    assert [phase.schedule.steps for phase in b.phases()] == [3, 7]
    loss, g1, _, weights = step_of(b, 0.0, phase=0)
    assert loss == pytest.approx(cross_entropies(z1, Y).mean() + cross_entropies(z2, Y).mean())
    np.testing.assert_allclose(g1, numerical_gradient(lambda z: float(cross_entropies(z, Y).mean()), z1), atol=1e-8)
    assert weights is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_coteaching_plus_exchanges_small_losses_within_the_disagreements(share: float, seed: int) -> None:
    b, z1, z2 = a_bench("coteaching_plus", seed=10 * seed)
    for_1, for_2 = reference.plus_selections(z1, z2, Y, 1 - RATE)
    loss, g1, g2, weights = step_of(b, share)
    assert loss == pytest.approx(reference.decoupling_loss(z1, Y, for_1) + reference.decoupling_loss(z2, Y, for_2))
    np.testing.assert_allclose(g1, numerical_gradient(lambda z: reference.decoupling_loss(z, Y, for_1), z1), atol=1e-8)
    np.testing.assert_allclose(g2, numerical_gradient(lambda z: reference.decoupling_loss(z, Y, for_2), z2), atol=1e-8)
    np.testing.assert_allclose(weights, (mean_over(for_1) + mean_over(for_2)) / 2)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.09])
def test_coteaching_plus_warms_up_as_coteaching(share: float) -> None:
    b, z1, z2 = a_bench("coteaching_plus")
    for_1, for_2 = selections(z1, z2, Y, count(share, N))
    loss, _, _, weights = step_of(b, share)
    assert loss == pytest.approx(cross_entropies(z1, Y)[for_1].mean() + cross_entropies(z2, Y)[for_2].mean())
    np.testing.assert_allclose(weights, (mean_over(for_1) + mean_over(for_2)) / 2)


@pytest.mark.parametrize(("n", "rate"), [(50, 0.54), (75, 0.68), (100, 0.54), (150, 0.68), (100, 0.4)])
def test_a_count_of_disagreements_keeps_as_many_as_a_batch_of_that_size(n: int, rate: float) -> None:
    ramp = torch.tensor(1.0)
    assert kept(torch.tensor(n), rate, ramp) == kept(n, rate, ramp) == math.floor(n - n * rate)


def test_coteaching_plus_without_disagreement_takes_the_whole_batch() -> None:
    b, z1, _ = a_bench("coteaching_plus")
    b.models[1].output.weight.data.copy_(b.models[0].output.weight.data)
    loss, _, _, _ = step_of(b, 0.5)
    chosen, _ = selections(z1, z1, Y, count(0.5, N))
    assert loss == pytest.approx(2 * cross_entropies(z1, Y)[chosen].mean())


@pytest.mark.parametrize("name", NAMES)
def test_swapping_the_classifiers_swaps_their_gradients(name: str) -> None:
    b, _, _ = a_bench(name)
    _, g1, g2, _ = step_of(b, 0.5)
    first, second = (model.output.weight for model in b.models)
    first.data, second.data = second.data.clone(), first.data.clone()
    _, h1, h2, _ = step_of(b, 0.5)
    np.testing.assert_allclose((h1, h2), (g2, g1), rtol=1e-12)


def test_what_they_see() -> None:
    assert [build({"name": name}).needs for name in NAMES] == [Knowledge.NOISE_RATE, Knowledge.NONE, Knowledge.NOISE_RATE]
