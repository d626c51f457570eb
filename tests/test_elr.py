"""ELR: its memory, its gradient and its limits against closed forms, and that an interruption leaves no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from benchmark.training.trainer import Settings, Trainer
from datasets.noise import UniformFlip
from methods.base import Batch, HeldOut, Knowledge
from methods.elr import ELR
from methods.schedules import Schedules
from robust_benchmark.errors import UserError
from tests.conftest import PixelsAreLogits, toy_task
from tests.interruptions import CPU, assert_killed_at_random_ends_the_same, trainer_of

N, K = 6, 4


def elr(lam: float = 3.0, beta: float = 0.7) -> ELR:
    """Set up for N examples of K classes, with pixels as logits."""
    method = ELR(beta, lam)
    method.model = PixelsAreLogits()
    method.register_buffer("memory", torch.zeros(N, K))
    return method


def a_batch(seed: int = 0, scale: float = 1.0) -> Batch:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(scale * rng.standard_normal((N, 1, 1, K)), dtype=torch.float32, requires_grad=True)
    return Batch(logits, torch.from_numpy(rng.integers(0, K, N)), torch.from_numpy(rng.permutation(N)))


def probabilities(batch: Batch) -> np.ndarray:
    return scipy.special.softmax(batch.images.detach().double().numpy().reshape(N, K), axis=1)


def gradient(loss: torch.Tensor, batch: Batch) -> np.ndarray:
    return torch.autograd.grad(loss, batch.images)[0].double().numpy().reshape(N, K)


def test_without_the_regulariser_the_loss_is_cross_entropy() -> None:
    batch = a_batch()
    torch.testing.assert_close(elr(lam=0).loss(batch).loss, F.cross_entropy(batch.images.flatten(1), batch.labels))


def test_the_memory_of_constant_predictions_is_a_geometric_series_at_the_examples_own_positions() -> None:
    method, batch = elr(beta=0.7), a_batch()
    for visits in (1, 2, 3):
        method.loss(batch)
        np.testing.assert_allclose(method.memory[batch.index].numpy(), (1 - 0.7**visits) * probabilities(batch), rtol=1e-5)


def test_a_visit_leaves_the_memory_of_other_examples_alone() -> None:
    method, batch = elr(), a_batch()
    method.loss(Batch(batch.images[:2], batch.labels[:2], torch.tensor([4, 1])))
    assert method.memory.any(dim=1).tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_the_memory_sums_to_at_most_one_and_the_regulariser_is_never_positive(scale: float) -> None:
    method = elr()
    for seed in range(20):
        batch = a_batch(seed, scale)
        excess = method.loss(batch).loss - F.cross_entropy(batch.images.flatten(1), batch.labels)
        assert torch.isfinite(excess)
        assert excess <= 0
    assert method.memory.sum(dim=1).max() <= 1 + 1e-6


def test_the_gradient_of_the_regulariser_is_its_closed_form() -> None:
    method, batch = elr(lam=2.0), a_batch(1)
    method.memory.copy_(torch.softmax(torch.randn(N, K, generator=torch.Generator().manual_seed(0)), dim=1))
    loss = method.loss(batch).loss
    p, t = probabilities(batch), method.memory[batch.index].double().numpy()  # as the loss of this visit met it
    agreement = (t * p).sum(axis=1, keepdims=True)
    expected = (p - np.eye(K)[batch.labels.numpy()]) / N - 2.0 / N * p * (t - agreement) / (1 - agreement)
    np.testing.assert_allclose(gradient(loss, batch), expected, atol=1e-6)


def test_a_descent_step_on_the_regulariser_raises_the_logit_that_the_memory_is_for() -> None:
    method, batch = elr(lam=1.0), a_batch(2)
    loss = method.loss(batch).loss - F.cross_entropy(batch.images.flatten(1), batch.labels)
    best = method.memory[batch.index].argmax(dim=1).numpy()
    assert (gradient(loss, batch)[np.arange(N), best] < 0).all()


def test_an_example_is_weighed_by_what_the_memory_makes_of_its_label() -> None:
    method, batch = elr(), a_batch(3)
    weights = method.loss(batch).example_weights
    torch.testing.assert_close(weights * N, method.memory[batch.index, batch.labels])
    assert not weights.requires_grad


def test_images_without_positions_are_refused_before_the_memory_moves() -> None:
    method, batch = elr(), a_batch()
    with pytest.raises(HeldOut):
        method.loss(Batch(batch.images, batch.labels))
    assert not method.memory.any()


def test_it_sees_nothing_but_noisy_labels() -> None:
    assert ELR().needs == Knowledge.NONE
    trainer = Trainer(ELR(), lambda *_: PixelsAreLogits(), toy_task(), Settings(Schedules()), 0, CPU)
    assert trainer.method.memory.shape == (len(trainer.task.train), 3)


@pytest.mark.parametrize("options", [{"beta": 1.5}, {"beta": -0.1}, {"lam": -1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        ELR(**options)


def test_its_weights_find_wrong_labels() -> None:
    progress = trainer_of(ELR(), steps=60, task=toy_task(UniformFlip(0.4))).run()
    assert progress.history[-1]["weights_auroc"] > 0.9


def test_a_trial_killed_at_random_steps_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    assert_killed_at_random_ends_the_same(ELR, tmp_path, kills=5)
