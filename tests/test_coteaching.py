"""Co-teaching: who trains on what, against a plain loop; its ramp; and that an interruption leaves no trace."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datasets.noise import UniformFlip
from methods.base import Batch, Clock, Knowledge, Weighted
from methods.coteaching import Coteaching, smallest
from robust_benchmark.errors import UserError
from tests.conftest import toy_task
from tests.interruptions import assert_killed_at_random_ends_the_same, trainer_of

N, K = 20, 3


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


def losses_of(net: nn.Module, batch: Batch) -> np.ndarray:
    return F.cross_entropy(net(batch.images), batch.labels, reduction="none").detach().numpy()


def gradients(loss: torch.Tensor, net: nn.Module) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters()), retain_graph=True))


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_at_the_start_of_the_ramp_both_train_plainly_on_everything() -> None:
    method, batch = coteaching(), a_batch(epoch=0.0)
    loss, weights = method.loss(batch)
    for net in (method.model, method.peer):
        assert_same(gradients(loss, net), gradients(F.cross_entropy(net(batch.images), batch.labels), net))
    torch.testing.assert_close(weights, torch.full((N,), 1 / N))


@pytest.mark.parametrize("seed", range(5))
def test_each_trains_on_the_mean_loss_of_the_examples_that_are_smallest_for_the_other(seed: int) -> None:
    method, batch = coteaching(0.4), a_batch(seed=seed)
    loss, weights = method.loss(batch)
    expected = np.zeros(N)
    for net, other in ((method.model, method.peer), (method.peer, method.model)):
        chosen = np.argsort(losses_of(other, batch))[:12]  # 20 less 40 %
        plain = F.cross_entropy(net(batch.images[chosen]), batch.labels[chosen])
        assert_same(gradients(loss, net), gradients(plain, net))
        expected[chosen] += 1 / 24
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert weights.sum().item() == pytest.approx(1)


def test_swapped_classifiers_have_swapped_gradients_and_the_same_loss() -> None:
    method, batch = coteaching(), a_batch()
    loss = method.loss(batch).loss
    before = [gradients(loss, net) for net in (method.model, method.peer)]
    method.model, method.peer = method.peer, method.model
    swapped = method.loss(batch).loss
    torch.testing.assert_close(swapped, loss)
    for old, net in zip(reversed(before), (method.model, method.peer), strict=True):
        assert_same(gradients(swapped, net), old)


def test_which_examples_one_trains_on_does_not_depend_on_its_own_losses() -> None:
    method, batch = coteaching(), a_batch()
    method.model[1].weight.data.copy_(torch.randn(K, 10))  # other losses of the first classifier, another order
    chosen = np.argsort(losses_of(method.peer, batch))[:12]
    plain = F.cross_entropy(method.model(batch.images[chosen]), batch.labels[chosen])
    assert_same(gradients(method.loss(batch).loss, method.model), gradients(plain, method.model))


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


@pytest.mark.parametrize("options", [{"ramp_epochs": 0}, {"exponent": -1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Coteaching(**options)


def test_its_weights_find_wrong_labels() -> None:
    progress = trainer_of(Coteaching(ramp_epochs=2.0), steps=60, task=toy_task(UniformFlip(0.4))).run()
    assert progress.history[-1]["weights_auroc"] > 0.85


def test_a_trial_killed_at_random_steps_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    assert_killed_at_random_ends_the_same(Coteaching, tmp_path, kills=5)
