"""DivideMix, only through its public interface, against the slow reference.

Image j of view v is pixel v N + j alone, so that a mixed image shows which images it was mixed of, and with which shares; and a linear
classifier can give each image any loss.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import Batch, Phase
from tests.by_hand import CLASSES, Bench, Stepping, at, bench, gradient_of, some_images, some_labels
from tests.references import cross_entropies, dividemix, numerical_gradient, one_hot, softmax

CLOSE = {"rtol": 1e-6, "atol": 1e-9}
N, SIZE = 24, 8
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()


class Pixels(nn.Module):
    """Linear in the pixels of 2 N x 1 x 1."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = nn.Flatten(), nn.Linear(2 * N, CLASSES, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))


def view(number: int) -> torch.Tensor:
    return torch.eye(2 * N, dtype=torch.float64)[number * N : (number + 1) * N].view(N, 2 * N, 1, 1)


def logits_with(losses: np.ndarray, seed: int) -> np.ndarray:
    """Logits, (N, K), with these cross-entropies."""
    tilt = np.exp(0.3 * np.random.default_rng(seed).standard_normal((N, CLASSES)))
    tilt[np.arange(N), Y] = 0
    logits = np.log(np.maximum(tilt, 1e-300) * ((np.exp(losses) - 1) / tilt.sum(axis=1))[:, None])
    logits[np.arange(N), Y] = 0
    return logits


def losses_of(suspects: slice, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    losses = rng.uniform(0.05, 1.6, N)
    losses[suspects] = rng.uniform(2.2, 4.5, len(range(*suspects.indices(N))))
    return losses


LOSSES = [losses_of(slice(0, 9), seed=1), losses_of(slice(5, 14), seed=2)]  # the networks suspect different examples


def pixel_bench(**options: object) -> tuple[Bench, Phase]:
    """Both networks with the losses above, and the phase after the warm-up."""
    b = bench({"name": "dividemix", "warm_up": 0.3, **options}, LABELS, view(0), lambda _: Pixels(), wrong=8)
    for number, (model, losses) in enumerate(zip(b.models, LOSSES, strict=True)):
        z = logits_with(losses, number)
        other = z + 0.4 * np.random.default_rng(7 + number).standard_normal(z.shape)
        model.output.weight.data = torch.from_numpy(np.concatenate([z, other]).T.copy())
    return b, b.phases()[1]


def batch_of(b: Bench, phase: Phase, row: torch.Tensor, epoch: float) -> Batch:
    views = len(phase.views)
    return b.batch(row, other_views=tuple(view(v)[row] for v in range(1, views)), clock=at(epoch=epoch, steps=7))


@contextmanager
def mixed_images(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What goes through the model with a gradient."""
    seen: list[torch.Tensor] = []

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(inputs[0].detach().clone())

    handle = model.output.register_forward_pre_hook(note)
    yield seen
    handle.remove()


def posteriors(b: Bench) -> list[np.ndarray]:
    """The method's own w of both networks, found among its buffers by their likeness to the reference's."""
    rows = [row for buffer in b.method.buffers() if buffer.is_floating_point() and buffer.numel() % N == 0 for row in buffer.reshape(-1, N)]
    found = []
    for losses in LOSSES:
        expected = dividemix.clean_probabilities(losses)
        found.append(min((row.double().numpy() for row in rows), key=lambda row, e=expected: float(np.abs(row - e).max())))
    return found


@dataclass
class Expected:
    """The training data of one network in a step: rows of mixed images and their targets, the labelled ones first."""

    inputs: np.ndarray
    targets: np.ndarray
    labelled: int
    bases: np.ndarray
    partners: np.ndarray

    def loss(self, weight: np.ndarray, weight_u: float) -> float:
        return dividemix.semi_loss(self.inputs @ weight.T, self.targets, self.labelled, weight_u)


def targets_of(weights: list[np.ndarray], me: int, w: np.ndarray, temperature: float, views: int, threshold: float) -> np.ndarray:
    """Of each example, (N, K). weights: of both networks; w: the peer's posteriors."""
    each = [[softmax(weight.T[v * N : (v + 1) * N]) for v in range(views)] for weight in weights]
    refined = dividemix.refined(w, one_hot(Y, CLASSES), each[me], temperature)
    guessed = dividemix.guessed(each[0] + each[1], temperature)
    return np.where((w > threshold)[:, None], refined, guessed)


def expected_of(inputs: np.ndarray, targets: np.ndarray, labelled: np.ndarray) -> Expected:
    bases, ratio = inputs.argmax(axis=1), inputs.max(axis=1)
    rest = inputs.copy()
    rest[np.arange(len(inputs)), bases] = 0
    partners = np.where(ratio < 1 - 1e-12, rest.argmax(axis=1), bases)
    np.testing.assert_allclose(inputs.sum(axis=1), 1)
    r = ratio[:, None]
    mixed = r * targets[bases % N] + (1 - r) * targets[partners % N]
    order = np.argsort(~labelled[bases % N], kind="stable")
    return Expected(inputs[order], mixed[order], int(labelled[bases % N].sum()), bases, partners)


def begun(**options: object) -> tuple[Bench, Phase, torch.Tensor]:
    """A bench whose first epoch after the warm-up has begun, and that epoch's rows."""
    b, phase = pixel_bench(**options)
    assert phase.every_epoch is not None
    phase.every_epoch(b.view, at(steps=7))
    b.method.train()
    return b, phase, phase.sample(LABELS, SIZE, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("penalty", [False, True])
def test_dividemix_warms_both_networks_up_by_cross_entropy(penalty: bool) -> None:
    images = some_images(N)
    b = bench({"name": "dividemix", "warm_up": 0.3, "penalty": penalty}, LABELS, images, wrong=8)
    first, second = b.phases()
    assert (first.schedule.steps, second.schedule.steps) == (3, 7)
    index, before = torch.arange(8), [copy.deepcopy(model).train() for model in b.models]
    seen = Stepping(b.method, first).step(b.batch(index, other_views=(some_images(8, 1),) * (len(first.views) - 1)))
    for model, mine in zip(before, b.models, strict=True):
        z = model(images[index])
        gradient = torch.from_numpy(dividemix.warm_up_gradient(z.detach().numpy(), Y[:8], penalty))
        expected = torch.autograd.grad(z, list(model.parameters()), gradient)
        torch.testing.assert_close(gradient_of(seen, b.method, mine), list(expected), **CLOSE)


def test_dividemix_s_posteriors_are_those_of_scikit_learn() -> None:
    b, _, _ = begun()
    for model, losses, found in zip(b.models, LOSSES, posteriors(b), strict=True):
        np.testing.assert_allclose(cross_entropies(model.output.weight.detach().numpy().T[:N], Y), losses, rtol=1e-9)
        np.testing.assert_allclose(found, dividemix.clean_probabilities(losses), atol=0.02)


@pytest.mark.parametrize(("options", "epoch"), [
    ({}, 0.0), ({}, 4.0), ({}, 40.0), ({"ramp": 8.0, "lambda_u": 50.0}, 2.0), ({"lambda_u": 0.0}, 16.0), ({"temperature": 1.0}, 16.0),
    ({"alpha": 0.5}, 16.0), ({"threshold": 0.9}, 16.0),
])  # fmt: skip
def test_dividemix_s_networks_learn_from_each_other_s_division(options: dict[str, float], epoch: float) -> None:
    b, phase, rows = begun(**options)
    assert len(phase.updates) == 2
    assert len(phase.views) == 2
    stepping, w = Stepping(b.method, phase), posteriors(b)
    batch = batch_of(b, phase, rows[0], epoch)
    weight_u = dividemix.unlabelled_weight(options.get("lambda_u", 25.0), epoch, 0, options.get("ramp", 16.0))
    temperature, threshold = options.get("temperature", 0.5), options.get("threshold", 0.5)
    for me in (0, 1):
        weights = [model.output.weight.detach().numpy().copy() for model in b.models]
        with mixed_images(b.models[me]) as seen:
            found = stepping.update(me, batch)
        targets = targets_of(weights, me, w[1 - me], temperature, 2, threshold)
        expected = expected_of(torch.cat(seen).flatten(1).numpy(), targets, w[1 - me] > threshold)
        assert sorted(expected.bases) == sorted(expected.partners)
        assert expected.labelled * 2 == len(expected.inputs)
        assert found.loss.item() == pytest.approx(expected.loss(weights[me], weight_u), rel=1e-6)
        gradient = numerical_gradient(lambda weight, e=expected: e.loss(weight, weight_u), weights[me])
        (mine,) = gradient_of([found], b.method, b.models[me])
        np.testing.assert_allclose(mine.numpy(), gradient, rtol=1e-5, atol=1e-7)
        (other,) = gradient_of([found], b.method, b.models[1 - me])
        assert (other == 0).all()


def test_dividemix_mixes_by_beta_shares_folded_to_a_half_and_above() -> None:
    b, phase, rows = begun(alpha=4.0)
    shares = []
    for seed in range(200):
        torch.manual_seed(seed)
        with mixed_images(b.models[0]) as seen:
            phase.updates[0].objective(batch_of(b, phase, rows[0], 16.0))
        inputs = torch.cat(seen).flatten(1)
        shares.append(inputs.max(dim=1).values[inputs.max(dim=1).values < 1].mean().item())
    draws = np.random.default_rng(0).beta(4, 4, 100_000)
    folded = np.maximum(draws, 1 - draws)
    assert min(shares) >= 0.5
    assert np.mean(shares) == pytest.approx(folded.mean(), abs=0.025)
    assert np.std(shares) == pytest.approx(folded.std(), abs=0.02)
