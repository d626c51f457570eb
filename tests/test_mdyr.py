"""M-DYR: its beta mixture and its loss against plain loops, known mixtures and limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.beta_mixture import BetaMixture, fitted
from methods.mdyr import imbalance
from tests.by_hand import CLASSES, Bench, at, bench, some_images, some_labels
from tests.references import cross_entropies, numerical_gradient, softmax
from tests.references import mdyr as reference

N = 30
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()


def two_modes(n: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.gamma(2, 0.2, n), rng.normal(3, 0.6, n // 2)])


@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_is_the_reference_s(seed: int) -> None:
    losses = two_modes(seed=seed)
    mixture = BetaMixture().double()
    mixture.fit(torch.from_numpy(losses))
    expected = reference.fit(losses)
    np.testing.assert_allclose(mixture.bounds.numpy(), [expected.low, expected.high])
    np.testing.assert_allclose(mixture(torch.from_numpy(losses)).numpy(), reference.probability_wrong(losses, expected), rtol=1e-6)


def test_em_recovers_the_means_of_a_known_mixture() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.beta(4, 16, 3000), rng.beta(16, 4, 1500)])
    alphas, betas, shares = fitted(torch.from_numpy(x))
    np.testing.assert_allclose((alphas / (alphas + betas)).numpy(), [0.2, 0.8], atol=0.02)
    np.testing.assert_allclose(shares.numpy(), [2 / 3, 1 / 3], atol=0.03)


def test_higher_losses_are_likelier_wrong() -> None:
    mixture = BetaMixture()
    mixture.fit(torch.from_numpy(two_modes()))
    wrong = mixture(torch.linspace(0, 6, 200))
    assert (wrong.diff() >= -1e-6).all()
    assert wrong[0] < 0.05
    assert wrong[-1] > 0.95


@pytest.mark.parametrize("losses", [torch.zeros(20), torch.full((20,), 2.3), torch.tensor([0.1]), torch.tensor([0.0, torch.nan, 5.0])])
def test_losses_without_two_modes_give_finite_probabilities(losses: torch.Tensor) -> None:
    mixture = BetaMixture()
    mixture.fit(losses)
    found = mixture(losses.nan_to_num())
    assert ((found >= 1e-4) & (found <= 1 - 1e-4)).all()


class Table(torch.nn.Module):
    """Its images are one-hot, so its weights are the logits of each example, and a mixed image shows of what it is mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = torch.nn.Flatten(), torch.nn.Linear(N, CLASSES, bias=False)
        self.output.weight.data = some_images(N, 1, (CLASSES,), scale=2.0).T.clone()
        self.mixed = torch.empty(0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.mixed = images.flatten(1)
        return self.output(self.features(images))


def a_bench(**options: object) -> Bench:
    images = torch.eye(N, dtype=torch.float64).view(N, N, 1, 1)
    return bench({"name": "mdyr", "warm_up": 0.3, **options}, LABELS, images, lambda _: Table())


def shares_of(mixed: np.ndarray) -> tuple[float, list[int]]:
    """The share of the first image, and each one's partner."""
    w = mixed.diagonal().min()
    rest = mixed - w * np.eye(N)
    return float(w), [int(row.argmax()) for row in rest]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_loss_gradient_and_weights_are_those_of_the_reference(soft: bool, balance: float) -> None:
    b = a_bench(soft=soft, balance=balance)
    main = b.phases()[1]
    main.every_epoch(b.view, at())
    weight = b.models[0].output.weight
    z = weight.detach().T.numpy().copy()
    losses = cross_entropies(z, Y)
    wrong = reference.probability_wrong(losses, reference.fit(losses))
    found = main.loss(b.batch(torch.arange(N)))
    (gradient,) = torch.autograd.grad(found.loss, weight)
    mixed = b.models[0].mixed.numpy()
    w, partners = shares_of(mixed)
    t = reference.targets(Y, wrong, softmax(z), soft)

    def slow(table: np.ndarray) -> float:
        h = mixed @ table
        return reference.loss(h, t, t[partners], w) + (balance - 1) * reference.balance(h)

    assert found.loss.item() == pytest.approx(slow(z), rel=1e-6)
    np.testing.assert_allclose(gradient.T.numpy(), numerical_gradient(slow, z), atol=1e-7)
    np.testing.assert_allclose(found.example_weights.numpy(), (1 - wrong) / N, rtol=1e-6)
    assert b.method.training


def test_the_warm_up_is_plain_mixup() -> None:
    b = a_bench()
    assert [phase.schedule.steps for phase in b.phases()] == [3, 7]
    loss = b.phases()[0].loss(b.batch(torch.arange(N)))
    mixed = b.models[0].mixed.numpy()
    w, partners = shares_of(mixed)
    h = mixed @ b.models[0].output.weight.detach().T.numpy()
    expected = w * cross_entropies(h, Y).mean() + (1 - w) * cross_entropies(h, Y[partners]).mean()
    assert loss.item() == pytest.approx(expected)


def test_images_are_mixed_by_beta_shares() -> None:
    b = a_bench()
    shares = []
    for seed in range(300):
        torch.manual_seed(seed)
        b.phases()[0].loss(b.batch(torch.arange(N)))
        shares.append(shares_of(b.models[0].mixed.numpy())[0])
    draws = np.random.default_rng(0).beta(32, 32, 100_000)
    assert np.mean(shares) == pytest.approx(np.maximum(draws, 1 - draws).mean(), abs=0.01)  # which of the two is first is of no account


def test_predictions_that_are_uniform_in_the_mean_cost_nothing() -> None:
    p = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert imbalance(p.log()).item() == pytest.approx(0, abs=1e-6)
    assert imbalance(p[:1].log()).item() == pytest.approx(reference.balance(p[:1].log().numpy()), rel=1e-5)
