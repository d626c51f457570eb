"""DivideMix: its mixture, pools, targets and loss against independent forms; the parameters of each update; and effects of kills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.training.trainer import Trainer
from datasets.augment import Preprocessing
from datasets.noise import UniformFlip
from methods.base import Batch, Clock, HeldOut, Knowledge, Weighted
from methods.dividemix import DivideMix
from methods.mixture import clean_probability
from methods.sampling import divided
from methods.schedules import Schedule, Schedules
from methods.semi_supervised import mean_prediction, sharpened
from robust_benchmark.errors import UserError
from tests.conftest import small_convnet, toy_task
from tests.resuming import assert_killed_at_random_ends_the_same, trainer_of

N, K, SIZE = 60, 3, 5


class Net(nn.Sequential):
    """A linear classifier of ten pixels behind a batch norm, which shows in which mode it runs."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(10), nn.Linear(10, K))


def dividemix(**options: float) -> DivideMix:
    """Set up for N examples, with w drawn at random."""
    torch.manual_seed(0)
    method = DivideMix(**options)  # type: ignore[arg-type]
    method.model, method.peer = Net(), Net()
    method.register_buffer("clean", torch.randn(2, N).sigmoid())
    return method


def a_batch(epoch: float = 100.0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, other = torch.randn(2, 4 * SIZE, 1, 2, 5, generator=generator)
    labels, index = torch.randint(0, K, (4 * SIZE,), generator=generator), torch.randperm(N, generator=generator)[: 4 * SIZE]
    return Batch(images, labels, index, other_views=(other,), clock=Clock(100, epoch=torch.tensor(epoch)))


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


# --- clean probabilities


def test_scaled_and_shifted_losses_have_the_same_probabilities() -> None:
    losses = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    torch.testing.assert_close(clean_probability(losses), clean_probability(5 * losses + 2))


@pytest.mark.parametrize("value", [0.0, 2.5, float("nan"), float("inf")])
def test_equal_losses_and_such_that_are_not_finite_still_have_probabilities(value: float) -> None:
    for losses in (torch.full((50,), value), torch.cat([torch.full((1,), value), torch.rand(49)])):
        assert ((clean_probability(losses) >= 0) & (clean_probability(losses) <= 1)).all()


def test_an_epoch_begins_with_both_classifiers_judged_in_evaluation_form() -> None:
    trainer = trainer_of(DivideMix(warm_up=0.5), steps=20)
    trainer.run()
    method, train = trainer.method, trainer.task.train
    before = state(method)
    method.judge(trainer.view, Clock())
    method.eval()
    images = trainer.task.preprocessing.normalise(train.images)
    for net, w in zip((method.model, method.peer), method.clean, strict=True):
        losses = F.cross_entropy(net(images), train.labels, reduction="none").detach()
        torch.testing.assert_close(w, clean_probability(losses), atol=1e-4, rtol=1e-4)
    assert same({name: value for name, value in state(method).items() if name != "clean"}, before)


# --- pools


def rows_of(method: DivideMix, size: int = 2 * SIZE, seed: int = 0) -> torch.Tensor:
    return method.sample(torch.zeros(N, dtype=torch.int64), size, torch.Generator().manual_seed(seed))


def test_each_classifier_is_given_the_division_by_the_other_one() -> None:
    method = dividemix()
    rows = rows_of(method)
    first, first_rest, second, second_rest = (set(column.flatten().tolist()) for column in rows.split(SIZE, dim=1))
    by_first, by_second = (set(torch.nonzero(w > 0.5).flatten().tolist()) for w in method.clean)
    assert first <= by_second
    assert second <= by_first
    assert not first_rest & by_second
    assert not second_rest & by_first


def test_an_epoch_has_the_steps_of_the_larger_labelled_pool_and_meets_it_without_repeats() -> None:
    method = dividemix()
    method.clean[:] = torch.tensor([[1.0] * 12 + [0.0] * 48, [1.0] * 31 + [0.0] * 29])
    rows = rows_of(method)
    assert rows.shape == (6, 4 * SIZE)  # 31 // 5, by the second classifier for the first
    assert rows[:, :SIZE].unique().numel() == 30
    counts = torch.bincount(rows[:, 2 * SIZE : 3 * SIZE].flatten(), minlength=N)[:12]  # 12 examples for 30 places
    assert counts.tolist().count(2) + counts.tolist().count(3) == 12


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 5, 60, 200])
def test_an_empty_pool_is_no_failure(value: float, size: int) -> None:
    method = dividemix()
    method.clean.fill_(value)
    rows = rows_of(method, size)
    assert rows.shape[1] == 4 * max(1, min(size, N) // 2)
    assert len(rows) >= 1
    assert rows.min() >= 0
    assert rows.max() < N


def test_the_examples_nearest_to_the_threshold_fill_up_a_pool_of_less_than_a_batch() -> None:
    w = torch.linspace(0, 0.55, N)  # 6 above the threshold
    labelled, unlabelled = divided(w, 0.5, 8)
    assert labelled.tolist() == list(range(N - 1, N - 9, -1))
    assert sorted(unlabelled.tolist()) == list(range(N - 6))
    labelled, unlabelled = divided(1 - w, 0.5, 8)
    assert sorted(labelled.tolist()) == list(range(N - 6))
    assert sorted(unlabelled.tolist()) == list(range(N - 8, N))


# --- the loss


def test_sharpening_at_temperature_one_changes_nothing_and_at_one_half_squares() -> None:
    p = torch.softmax(torch.randn(9, K), dim=1)
    torch.testing.assert_close(sharpened(p, 1.0), p)
    torch.testing.assert_close(sharpened(p, 0.5), p**2 / (p**2).sum(dim=1, keepdim=True))
    assert sharpened(torch.tensor([[0.0, 0.4, 0.6]]), 0.01).isfinite().all()


@pytest.mark.parametrize("net", [0, 1])
def test_an_update_has_gradients_and_batch_norm_averages_of_its_own_classifier_alone(net: int) -> None:
    method = dividemix()
    own, peer = (method.model, method.peer)[:: 1 - 2 * net]
    before = state(own), state(peer)
    method.loss_of(net, a_batch()).loss.backward()
    assert all(parameter.grad is not None for parameter in own.parameters())
    assert all(parameter.grad is None for parameter in peer.parameters())
    assert own[1].num_batches_tracked == 5  # two views labelled, two unlabelled, and the mixed images
    assert not same(before[0], state(own))
    assert same(before[1], state(peer))
    assert all(module.training for module in method.modules())


def test_the_second_classifier_meets_the_updated_first_one() -> None:
    met: list[torch.Tensor] = []

    class Spy(DivideMix):
        def loss_of(self, net: int, batch: Batch) -> Weighted:
            met.append(next(self.model.parameters()).detach().clone())
            return super().loss_of(net, batch)

    trainer_of(Spy(warm_up=0.0), steps=4, task=toy_task(hyper_validation=0)).run()
    assert len(met) == 8
    for first, second in zip(met[::2], met[1::2], strict=True):
        assert not torch.equal(first, second)
    for second, next_first in zip(met[1::2], met[2::2], strict=False):
        assert torch.equal(second, next_first)  # the second update leaves the first classifier alone


def test_an_example_is_weighed_by_the_mean_of_its_clean_probabilities() -> None:
    method, batch = dividemix(), a_batch()
    for net in (0, 1):
        weights = method.loss_of(net, batch).example_weights
        torch.testing.assert_close(weights * 4 * SIZE, method.clean.mean(dim=0)[batch.index])


@pytest.mark.parametrize("n", [1, 5, 4 * SIZE])  # fewer images than a training batch has, too
def test_held_out_images_of_any_number_are_refused(n: int) -> None:
    method, batch = dividemix(), a_batch()
    with pytest.raises(HeldOut):
        method.loss_of(1, Batch(batch.images[:n], batch.labels[:n], other_views=(batch.views[1][:n],)))


# --- phases


@pytest.mark.parametrize(("warm_up", "steps"), [(0.0, 0), (0.0625, 62), (0.5, 500), (1.0, 1000)])
def test_the_two_phases_are_one_schedule(warm_up: float, steps: int) -> None:
    main = Schedule(1000, 0.1, (40, 700))
    first, second = DivideMix(warm_up=warm_up).phases(Schedules(main=main))
    assert (first.schedule.steps, second.schedule.steps) == (steps, 1000 - steps)
    rates = [phase.schedule.lr_at(step) for phase in (first, second) for step in range(phase.schedule.steps)]
    assert rates == [main.lr_at(step) for step in range(1000)]


def test_it_sees_nothing_but_noisy_labels_and_adds_logits_to_predict() -> None:
    assert DivideMix().needs == Knowledge.NONE
    method = dividemix().eval()
    images = torch.randn(4, 1, 2, 5)
    torch.testing.assert_close(method.predict(images), method.model(images) + method.peer(images))
    q = mean_prediction([method.model, method.peer], [images, images])
    torch.testing.assert_close(q, (method.model(images).softmax(dim=1) + method.peer(images).softmax(dim=1)) / 2)


def test_without_augmentation_it_is_refused_as_its_views_would_be_the_same() -> None:
    settings = trainer_of(DivideMix(), steps=4).settings
    with pytest.raises(UserError, match="different views"):
        Trainer(DivideMix(), small_convnet, replace(toy_task(), preprocessing=Preprocessing()), settings, 0, torch.device("cpu"))


def test_its_weights_find_wrong_labels_and_it_learns_through_them() -> None:
    trainer = trainer_of(DivideMix(warm_up=0.25), steps=60, task=toy_task(UniformFlip(0.4)))
    last = trainer.run().history[-1]
    assert last["weights_auroc"] > 0.9
    assert last["test_accuracy"] > 0.9


@pytest.mark.parametrize("warm_up", [0.0, 1.0])
def test_either_phase_may_be_all_of_training(warm_up: float) -> None:
    assert trainer_of(DivideMix(warm_up=warm_up), steps=8).run().history[-1]["test_accuracy"] > 0


def test_a_trial_killed_twenty_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    assert_killed_at_random_ends_the_same(lambda: DivideMix(warm_up=0.3), tmp_path, kills=20)
