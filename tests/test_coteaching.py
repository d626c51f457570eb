"""Co-teaching: the selected examples, against a plain loop; its ramp; and that an interruption changes nothing."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from datasets.noise import UniformFlip
from methods.base import Batch, Clock, Knowledge, Weighted
from methods.coteaching import Coteaching, smallest
from tests.by_hand import Bench, Stepping, at, bench, gradient_of, some_images, some_labels
from tests.conftest import toy_task
from tests.references import coteaching as reference
from tests.resuming import trainer_of

N, K = 20, 3
LABELS = some_labels(N, seed=3)


def a_clock(epoch: float) -> Clock:
    return Clock(100, epoch=torch.tensor(epoch))


def coteaching(rate: float = 0.4, **options: float) -> Coteaching:
    """Set up with two linear classifiers of ten pixels."""
    method = Coteaching(**options)
    torch.manual_seed(0)
    method.model, method.peer = (nn.Sequential(nn.Flatten(), nn.Linear(10, K)) for _ in range(2))
    method.noise_rate = rate
    return method


def a_batch(epoch: float = 50.0, seed: int = 0, n: int = N) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (n,), generator=generator)
    return Batch(torch.randn(n, 1, 2, 5, generator=generator), labels, torch.arange(n), clock=a_clock(epoch))


def pulled_back(model: nn.Module, images: torch.Tensor, gradient: np.ndarray) -> list[torch.Tensor]:
    """Return the gradient in the model's parameters for a gradient in the logits, (n, K)."""
    model = copy.deepcopy(model).train()
    return list(torch.autograd.grad(model(images), list(model.parameters()), torch.from_numpy(gradient)))


def logits_of(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    return copy.deepcopy(model).train()(images).detach().numpy()


def coteaching_step(b: Bench, epoch: float, index: torch.Tensor) -> tuple[list[list[torch.Tensor]], torch.Tensor | None]:
    """Gradients of both networks in one step, and the weights."""
    phase = b.phases()[0]
    seen = Stepping(b.method, phase).step(b.batch(index, clock=at(epoch=epoch)))
    return [gradient_of(seen, b.method, model) for model in b.models], seen[0].weights


@pytest.mark.parametrize("epoch", [0, 1, 5, 10, 30])
@pytest.mark.parametrize("wrong", [2, 4, 6, 8, 10])
def test_it_trains_each_network_on_the_other_s_small_losses(epoch: int, wrong: int) -> None:
    b = bench({"name": "coteaching"}, LABELS, some_images(N), wrong=wrong)
    assert len(b.models) == 2
    index = torch.arange(5, 15)
    logits = [logits_of(model, b.images[index]) for model in b.models]
    before = [copy.deepcopy(model) for model in b.models]
    k = reference.kept(reference.kept_share(epoch, wrong / N), 10)
    chosen = reference.selections(*logits, LABELS[index].numpy(), k)
    found, weights = coteaching_step(b, epoch, index)
    for model, z, selection, gradient in zip(before, logits, chosen, found, strict=True):
        _, expected = reference.loss_and_gradient(z, LABELS[index].numpy(), selection)
        torch.testing.assert_close(gradient, pulled_back(model, b.images[index], expected), rtol=1e-6, atol=1e-9)
    expected_weights = [sum(i in selection for selection in chosen) / (2 * k) for i in range(10)]
    torch.testing.assert_close(weights, torch.tensor(expected_weights, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "epoch"), [({"ramp_epochs": 4.0}, 2), ({"ramp_epochs": 4.0}, 4), ({"exponent": 2.0}, 5), ({"exponent": 2.0}, 10)]
)
def test_the_ramp_has_a_length_and_an_exponent(options: dict[str, float], epoch: int) -> None:
    b = bench({"name": "coteaching", **options}, LABELS, some_images(N), wrong=10)
    index = torch.arange(10)
    logits = [logits_of(model, b.images[index]) for model in b.models]
    before = copy.deepcopy(b.models[0])
    k = reference.kept(reference.kept_share(epoch, 0.5, **options), 10)
    selection, _ = reference.selections(*logits, LABELS[index].numpy(), k)
    _, expected = reference.loss_and_gradient(logits[0], LABELS[index].numpy(), selection)
    (gradient, _), _ = coteaching_step(b, epoch, index)
    torch.testing.assert_close(gradient, pulled_back(before, b.images[index], expected), rtol=1e-6, atol=1e-9)


def test_of_equal_losses_the_first_are_chosen() -> None:
    assert smallest(torch.tensor([2.0, 1.0, 1.0, 1.0, 0.0]), torch.tensor(3.0)).tolist() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 0.45, 0.9, 1.0])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("epoch", [0.0, 0.5, 2.0, 9.75, 10.0, 11.0, 300.0])
def test_the_number_kept_falls_along_the_ramp_to_the_share_of_right_labels(rate: float, exponent: float, epoch: float) -> None:
    method = coteaching(rate, exponent=exponent)
    for n in (1, 7, 100, 128):
        expected = max(1, math.floor(n - n * rate * min(epoch / 10, 1) ** exponent))
        assert method.kept(n, torch.tensor(epoch)).item() == expected


def test_the_loss_stays_finite_where_everything_is_wrong() -> None:
    found = coteaching(1.0).loss(a_batch())
    assert torch.isfinite(found.loss)
    assert sorted({round(weight, 6) for weight in found.example_weights.tolist()}) in ([0.0, 0.5], [0.0, 1.0])


def test_it_sees_the_realised_noise_rate_and_nothing_else() -> None:
    assert Coteaching().needs == Knowledge.NOISE_RATE
    task = toy_task(UniformFlip(0.4))
    trainer = trainer_of(Coteaching(), steps=3, task=task)
    assert trainer.method.noise_rate == task.train.wrong() / len(task.train)


def test_the_classifiers_start_from_different_weights_and_the_first_one_predicts() -> None:
    method = trainer_of(Coteaching(), steps=3).method
    one, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in (method.model, method.peer))
    assert not torch.equal(one, other)
    images = torch.randn(5, 1, 8, 8)
    method.eval()
    assert torch.equal(method.predict(images), method.model(images))


def test_training_follows_the_phases_clock() -> None:
    kept = []

    class Spy(Coteaching):
        def loss(self, batch: Batch) -> Weighted:
            kept.append(int(self.kept(len(batch.labels), batch.clock.epoch)))
            return super().loss(batch)

    trainer = trainer_of(Spy(ramp_epochs=2.0), steps=16, task=toy_task(hyper_validation=25))  # 80 are left: 4 batches of 20
    trainer.run()
    rate = trainer.method.noise_rate
    assert kept[:16] == [
        math.floor(20 - 20 * rate * min(step / 8, 1)) for step in range(16)
    ]  # the rest: held-out images, weighed at the end


def test_its_weights_find_wrong_labels() -> None:
    progress = trainer_of(Coteaching(ramp_epochs=2.0), steps=60, task=toy_task(UniformFlip(0.4))).run()
    assert progress.history[-1]["weights_auroc"] > 0.85
