"""ELR: its memory, its gradient and its limits against closed forms, and that an interruption changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.training.trainer import Settings, Trainer
from datasets.noise import UniformFlip
from methods.base import Batch, HeldOut, Knowledge
from methods.elr import ELR
from methods.schedules import Schedules
from tests.by_hand import CLASSES, Bare, bench, some_images, some_labels
from tests.conftest import PixelsAreLogits, toy_task
from tests.references import elr as reference
from tests.resuming import CPU, trainer_of

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


@pytest.mark.parametrize("scale", [1.0, 15.0])  # the latter reaches the clamp
def test_loss_gradient_and_weights_are_those_of_the_reference_over_several_visits(scale: float) -> None:
    labels, images = some_labels(20, seed=3), some_images(20, shape=(1, 1, CLASSES), scale=scale)
    b = bench({"name": "elr", "beta": 0.6, "lam": 2.0}, labels, images, lambda _: Bare())
    (phase,) = b.phases()
    (update,) = phase.updates
    memory = np.zeros((20, CLASSES))
    for visit in range(3):
        index = torch.randperm(20, generator=torch.Generator().manual_seed(visit))[:8]
        seen = (images[index] + some_images(8, 50 + visit, (1, 1, CLASSES))).requires_grad_()
        found = update.objective(b.batch(index, images=seen))
        (gradient,) = torch.autograd.grad(found.loss, seen)
        logits, y = seen.detach().numpy().reshape(8, CLASSES), labels[index].numpy()
        memory = reference.after_visit(memory, index.numpy(), logits, 0.6)
        t = memory[index.numpy()]
        assert found.loss.item() == pytest.approx(reference.loss(logits, y, t, 2.0), rel=1e-6)
        np.testing.assert_allclose(gradient.numpy().reshape(8, CLASSES), reference.gradient(logits, y, t, 2.0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(8 * found.example_weights.numpy(), t[np.arange(8), y], rtol=1e-6, atol=1e-9)
        assert not found.example_weights.requires_grad


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


def test_images_without_positions_are_refused_before_the_memory_moves() -> None:
    method, batch = elr(), a_batch()
    with pytest.raises(HeldOut):
        method.loss(Batch(batch.images, batch.labels))
    assert not method.memory.any()


def test_it_sees_nothing_but_noisy_labels() -> None:
    assert ELR().needs == Knowledge.NONE
    trainer = Trainer(ELR(), lambda *_: PixelsAreLogits(), toy_task(), Settings(Schedules()), 0, CPU)
    assert trainer.method.memory.shape == (len(trainer.task.train), 3)


def test_its_weights_find_wrong_labels() -> None:
    progress = trainer_of(ELR(), steps=60, task=toy_task(UniformFlip(0.4))).run()
    assert progress.history[-1]["weights_auroc"] > 0.9
