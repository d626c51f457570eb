"""Each method's loss against its formula in NumPy, or against a plain loop. Models here pass their input on, so that pixels are logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn

from benchmark.training.trainer import Settings, Trainer
from datasets.task import Examples
from methods import base
from methods.base import Batch, Knowledge, Method, View, scalar
from methods.baseline import Baseline
from methods.hard_mining import HardMining
from methods.proportion import Proportion
from methods.random import Random
from methods.reed import Reed
from methods.s_model import SModel
from methods.sampling import class_balanced
from methods.schedules import Schedules
from methods.weighted import Weighted
from tests.conftest import PixelsAreLogits, toy_task


def ready(method: Method, labels: torch.Tensor, classes: int, T: np.ndarray | None = None) -> Trainer:
    """A trainer whose `method` is set up on random images of one pixel a class, with these noisy labels."""
    images = torch.randint(0, 256, (len(labels), 1, 1, classes), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    task = replace(toy_task(), train=Examples(images, labels, labels), classes=tuple(map(str, range(classes))))
    task = task if T is None else replace(task, transition_matrix=torch.from_numpy(T))
    return Trainer(method, lambda *_: PixelsAreLogits(), task, Settings(Schedules()), 0, torch.device("cpu"))


def a_batch(n: int, classes: int, seed: int = 0, scale: float = 2.0) -> Batch:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(scale * rng.standard_normal((n, 1, 1, classes)), dtype=torch.float32, requires_grad=True)
    return Batch(logits, torch.from_numpy(rng.integers(0, classes, n)), torch.arange(n))


def in_numpy(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    return batch.images.detach().double().numpy().reshape(len(batch.labels), -1), batch.labels.numpy()


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def weights_seen(loss: torch.Tensor | base.Weighted, batch: Batch) -> np.ndarray:
    """The w_i of a loss sum_i w_i CE_i, read off its gradient: w_i (p_i - y_i) in the logits of example i."""
    (gradient,) = torch.autograd.grad(scalar(loss), batch.images)
    logits, labels = in_numpy(batch)
    rows = np.arange(len(labels))
    return gradient.double().numpy().reshape(logits.shape)[rows, labels] / (scipy.special.softmax(logits, axis=1)[rows, labels] - 1)


LABELS = torch.tensor([0] * 10 + [1] * 30 + [2] * 60)


def test_baseline_is_the_mean_cross_entropy() -> None:
    method, batch = ready(Baseline(), LABELS, 3).method, a_batch(20, 3)
    assert scalar(method.loss(batch)).item() == pytest.approx(cross_entropies(*in_numpy(batch)).mean(), rel=1e-6)


def test_random_weights_are_rectified_gaussians_that_sum_to_one() -> None:
    method, n = ready(Random(), LABELS, 3).method, 4000
    batch = a_batch(n, 3, scale=0.5)
    torch.manual_seed(0)
    w = weights_seen(method.loss(batch), batch)
    assert w.min() > -1e-9
    assert w.sum() == pytest.approx(1, rel=1e-4)
    positive = w[w > 1e-9]
    assert len(positive) / n == pytest.approx(0.5, abs=0.03)
    sum_of_rectified = n / np.sqrt(2 * np.pi)  # expected: E max(z, 0) = 1 / sqrt(2 pi)
    assert scipy.stats.kstest(positive * sum_of_rectified, scipy.stats.halfnorm.cdf).pvalue > 0.01


def test_random_weights_are_redrawn_every_step() -> None:
    method, batch = ready(Random(), LABELS, 3).method, a_batch(20, 3)
    assert scalar(method.loss(batch)).item() != scalar(method.loss(batch)).item()


def test_random_weights_of_one_example_are_all_or_nothing() -> None:
    method, batch = ready(Random(), LABELS, 3).method, a_batch(1, 3)
    (cross_entropy,) = cross_entropies(*in_numpy(batch))
    torch.manual_seed(0)
    losses = np.array([scalar(method.loss(batch)).item() for _ in range(40)])
    nothing = losses == 0
    np.testing.assert_allclose(losses[~nothing], cross_entropy, rtol=1e-6)
    assert 8 < nothing.sum() < 32


def test_proportion_weights_by_inverse_class_frequency_with_mean_one() -> None:
    method, batch = ready(Proportion(), LABELS, 3).method, a_batch(20, 3)
    logits, labels = in_numpy(batch)
    w = 1 / (3 * np.array([0.1, 0.3, 0.6])[labels])
    assert scalar(method.loss(batch)).item() == pytest.approx((w * cross_entropies(logits, labels)).mean(), rel=1e-5)
    whole = Batch(torch.zeros(100, 1, 1, 3, requires_grad=True), LABELS, torch.arange(100))
    assert weights_seen(method.loss(whole), whole).sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(("share", "total"), [(0.9, 18), (0.95, 9.5), (0.98, 3.92), (0.99, 1.98), (0.995, 0.995)])
def test_released_proportion_weights_fours_by_p_and_nines_by_one_minus_p_unnormalised(share: float, total: float) -> None:
    fours = round(1000 * (1 - share))
    labels = torch.tensor([0] * fours + [1] * (1000 - fours))
    method = ready(Proportion("released"), labels, 2).method
    batch = Batch(torch.zeros(1000, 1, 1, 2, requires_grad=True), labels, torch.arange(1000))
    w = weights_seen(method.loss(batch), batch)
    np.testing.assert_allclose(w, np.where(labels.numpy() == 0, share, 1 - share), rtol=1e-4)
    assert w.sum() / 10 == pytest.approx(total, rel=1e-3)  # for each hundred


@pytest.mark.parametrize(("labels", "size"), [(LABELS, 12), (LABELS, 10), (torch.arange(4000) % 7 // 6, 100), (LABELS[:45], 4)], ids=str)
def test_class_balanced_sampling_draws_balanced_batches(labels: torch.Tensor, size: int) -> None:
    batches = class_balanced(labels, size, torch.Generator().manual_seed(0))
    assert batches.shape == (len(labels) // size, size)
    present = labels.unique()
    for batch in labels[batches]:
        counts = [int((batch == label).sum()) for label in present]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


def test_class_balanced_sampling_uses_each_example_of_a_label_equally_often() -> None:
    batches = class_balanced(LABELS, 12, torch.Generator().manual_seed(0))
    uses = torch.bincount(batches.flatten(), minlength=100)
    for of_label in uses.split([10, 30, 60]):
        assert of_label.max() - of_label.min() <= 1
        assert of_label.sum() == 96 / 3


def test_class_balanced_sampling_differs_from_epoch_to_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(class_balanced(LABELS, 12, generator), class_balanced(LABELS, 12, generator))


def test_class_balanced_sampling_fills_a_batch_larger_than_the_training_set() -> None:
    labels = torch.tensor([0, 0, 1])
    (batch,) = class_balanced(labels, 8, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[batch]).tolist() == [4, 4]


def hard_mining_by_loop(logits: np.ndarray, labels: np.ndarray, majority: int, ranking: str) -> float:
    losses = cross_entropies(logits, labels)
    minority = [i for i in range(len(labels)) if labels[i] != majority]
    others = [i for i in range(len(labels)) if labels[i] == majority]
    if ranking == "loss":
        others.sort(key=lambda i: -losses[i])
    kept = minority + others[: max(1, len(minority))]
    return float(np.mean([losses[i] for i in kept]))


MIXES = {"few": [2] * 14 + [0, 1], "many": [0, 1] * 6 + [2] * 4, "none": [2] * 16, "only": [0, 1] * 8}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("ranking", ["loss", "order"])
def test_hard_mining_keeps_the_minority_and_as_many_of_the_majority(ranking: str, mix: str) -> None:
    method = ready(HardMining(ranking=ranking), LABELS, 3).method  # label 2 is the most frequent
    batch = a_batch(16, 3)
    batch = replace(batch, labels=torch.tensor(MIXES[mix])[torch.randperm(16, generator=torch.Generator().manual_seed(1))])
    expected = hard_mining_by_loop(*in_numpy(batch), majority=2, ranking=ranking)
    assert scalar(method.loss(batch)).item() == pytest.approx(expected, rel=1e-5)


def test_hard_mining_draws_its_candidates() -> None:
    widths = []
    for method in (HardMining(), HardMining(candidates=500, ranking="order")):
        (phase,) = method.phases(Schedules())
        widths.append(phase.sample(torch.zeros(1000, dtype=torch.int64), 100, torch.Generator().manual_seed(0)).shape)
    assert widths == [(10, 100), (2, 500)]


@pytest.mark.parametrize(("classes", "share"), [(10, 0.2174), (100, 0.0246)])
def test_weighted_gives_background_labels_the_true_share_of_right_ones(classes: int, share: float) -> None:
    T = 0.6 * np.eye(classes)
    T[:, 3] += 0.4  # 40 % background flip to class 3
    labels = torch.arange(200) % classes
    method, batch = ready(Weighted(), labels, classes, T).method, a_batch(60, classes)
    batch = replace(batch, labels=torch.where(torch.arange(60) < 20, 3, (torch.arange(60) % classes)))
    loss = method.loss(batch)
    w = weights_seen(loss, batch)
    background = batch.labels.numpy() == 3
    np.testing.assert_allclose(w[background] / w[~background][0], share, atol=5e-5)
    np.testing.assert_allclose(w[~background], w[~background][0], rtol=1e-3)
    assert w.sum() == pytest.approx(1, rel=1e-4)
    assert loss.loss.item() == pytest.approx((w * cross_entropies(*in_numpy(batch))).sum(), rel=1e-4)


def test_weighted_survives_a_label_that_never_occurs() -> None:
    T = np.array([[0.0, 1.0], [0.0, 1.0]])
    batch = replace(a_batch(4, 2), labels=torch.ones(4, dtype=torch.int64))
    loss = ready(Weighted(), torch.ones(10, dtype=torch.int64), 2, T).method.loss(batch)
    assert loss.loss.item() == pytest.approx(cross_entropies(*in_numpy(batch)).mean(), rel=1e-5)


def test_weighted_takes_the_class_priors_into_account() -> None:
    true_labels = torch.tensor([0] * 10 + [1] * 30 + [2] * 60)
    T = np.array([[0.6, 0.0, 0.4], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])  # 40 % background flip to the most frequent class
    method = ready(Weighted(), true_labels, 3, T).method
    np.testing.assert_allclose(method.right.numpy(), [1, 1, 60 / (60 + 0.4 * 40)], rtol=1e-6)


def reed_by_formula(logits: np.ndarray, labels: np.ndarray, beta: float, soft: bool) -> float:
    log_q = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    y = np.eye(logits.shape[1])[labels]
    t = np.exp(log_q) if soft else np.eye(logits.shape[1])[logits.argmax(axis=1)]
    return float(-((beta * y + (1 - beta) * t) * log_q).sum(axis=1).mean())


@pytest.mark.parametrize(("beta", "soft"), [(0.8, False), (0.95, True), (0.3, True), (0.0, False), (1.0, True)])
def test_reed_is_its_formula_and_its_gradient_flows_through_q(beta: float, soft: bool) -> None:
    method, batch = ready(Reed(beta, soft), LABELS, 3).method, a_batch(8, 3)
    logits, labels = in_numpy(batch)
    loss = method.loss(batch)
    assert loss.item() == pytest.approx(reed_by_formula(logits, labels, beta, soft), rel=1e-5)
    (gradient,) = torch.autograd.grad(scalar(loss), batch.images)
    expected, h = np.zeros_like(logits), 1e-6
    for entry in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[entry] = h
        expected[entry] = (reed_by_formula(logits + step, labels, beta, soft) - reed_by_formula(logits - step, labels, beta, soft)) / (
            2 * h
        )
    np.testing.assert_allclose(gradient.numpy().reshape(logits.shape), expected, atol=1e-6)


def test_reed_defaults_to_the_paper_s_hard_target() -> None:
    assert (Reed().beta, Reed().soft) == (0.8, False)


def transition_of(method: Method) -> np.ndarray:
    return scipy.special.softmax(method.transition_logits.detach().double().numpy(), axis=1)


def test_s_model_passes_predictions_through_the_transition_matrix() -> None:
    method, batch = ready(SModel(), LABELS, 3).method, a_batch(20, 3)
    nn.init.normal_(method.transition_logits, generator=torch.Generator().manual_seed(0))
    logits, labels = in_numpy(batch)
    noisy = scipy.special.softmax(logits, axis=1) @ transition_of(method)  # p(noisy j | x) = sum_i p(i | x) T_ij
    assert scalar(method.loss(batch)).item() == pytest.approx(-np.log(noisy[np.arange(20), labels]).mean(), rel=1e-5)


def test_s_model_is_finite_for_very_sure_predictions() -> None:
    method, batch = ready(SModel(), LABELS, 3).method, a_batch(20, 3, scale=1000)
    loss = method.loss(batch)
    loss.backward()
    assert loss.isfinite()
    assert method.transition_logits.grad.isfinite().all()


def test_s_model_learns_its_transition_matrix_and_predicts_without_it() -> None:
    method, batch = ready(SModel(), LABELS, 3).method, a_batch(20, 3)
    method.loss(batch).backward()
    assert method.transition_logits.grad.abs().max() > 0
    torch.testing.assert_close(method.predict(batch.images), batch.images.flatten(1))


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_s_model_starts_at_a_smoothed_identity(smoothing: float) -> None:
    T = transition_of(ready(SModel(smoothing=smoothing), LABELS, 5).method)
    expected = np.full((5, 5), smoothing / 4)
    np.fill_diagonal(expected, 1 - smoothing)
    np.testing.assert_allclose(T, expected, rtol=1e-5)


def test_s_model_from_the_oracle_starts_at_the_smoothed_transition_matrix() -> None:
    oracle = 0.6 * np.eye(4)
    oracle[:, 1] += 0.4
    T = transition_of(ready(SModel("oracle", smoothing=0.06), LABELS, 4, oracle).method)
    np.testing.assert_allclose(T, 0.94 * oracle + 0.06 / 4, rtol=1e-5)
    np.testing.assert_allclose(T.sum(axis=1), 1)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_s_model_from_the_oracle_has_finite_parameters_at_any_noise_rate(rate: float) -> None:
    oracle = (1 - rate) * np.eye(4)
    oracle[:, 1] += rate
    assert ready(SModel("oracle"), LABELS, 4, oracle).method.transition_logits.isfinite().all()


def test_s_model_from_confusion_starts_at_the_pretrained_predictions_by_noisy_label() -> None:
    trainer = ready(SModel("confusion"), LABELS, 3)
    training_set = [a_batch(60, 3, seed=1), a_batch(40, 3, seed=2)]
    (main,) = [phase for phase in trainer.phases if phase.before]
    main.before(View(Knowledge.NONE, 3, LABELS, lambda: iter(training_set), trainer.task))
    confusion = np.zeros((3, 3))
    for batch in training_set:
        logits, labels = in_numpy(batch)
        for p, noisy in zip(scipy.special.softmax(logits, axis=1), labels, strict=True):
            for true in range(3):
                confusion[true, noisy] += p[true]
    np.testing.assert_allclose(transition_of(trainer.method), confusion / confusion.sum(axis=1, keepdims=True), rtol=1e-3)
    assert trainer.method.training
