"""Methods against imbalance by sampling, two stages, synthetic examples, mixed labels and boosting, against formulas written again."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.ensemble import AdaBoostClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from benchmark.models.lenet import LeNet
from benchmark.training.trainer import Settings, Trainer
from datasets.noise import NoNoise
from datasets.task import Examples, Task
from methods.base import Batch, Clock, Method, Weighted
from methods.baseline import Baseline
from methods.class_balanced import ClassBalanced
from methods.ldam import LDAM
from methods.lws import LWS
from methods.mixup import Mixup
from methods.remix import Remix
from methods.resample import Resample
from methods.samme import SAMME, vote
from methods.schedules import Schedule, Schedules
from methods.smote import SMOTE, interpolated, nearest
from methods.tau_norm import TAUS, TauNorm, balanced_accuracy, stratified
from robust_benchmark.errors import UserError
from tests.by_hand import Bare, at, bench, some_images
from tests.conftest import small_convnet, toy_task
from tests.references.imbalance_losses import effective_number_weights
from tests.resuming import CPU, SETTINGS, assert_same_state, trained

SIZES = (16, 4, 1)


def tail_task(sizes: tuple[int, ...] = SIZES) -> Task:
    """Of the three classes, these numbers of examples with right labels."""
    task = toy_task(NoNoise())
    labels = task.train.labels
    kept = torch.cat([torch.nonzero(labels == label).flatten()[:count] for label, count in enumerate(sizes)])
    return replace(task, train=task.train.take(kept.numpy()))


def ready(method: Method, task: Task | None = None, make_model: Any = small_convnet) -> Trainer:
    """A trainer before its first step."""
    return Trainer(method, make_model, task or tail_task(), SETTINGS, 1, CPU)


def images_of(trainer: Trainer) -> torch.Tensor:
    return trainer.task.preprocessing.normalise(trainer.task.test.images[:])


# --- resampling with an exponent


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
def test_an_epoch_has_labels_in_proportion_to_a_power_of_their_counts(exponent: float) -> None:
    counts = np.array([400, 90, 25, 3])
    labels = torch.repeat_interleave(torch.arange(4), torch.from_numpy(counts))
    drawn = np.zeros(4)
    for seed in range(50):
        rows = Resample(exponent).tempered(labels, 20, torch.Generator().manual_seed(seed))
        assert rows.shape == (25, 20)
        found = np.bincount(labels[rows.flatten()], minlength=4)
        expected = 500 * counts**exponent / (counts**exponent).sum()
        assert (np.abs(found - expected) < 1).all()
        drawn += found
    assert drawn / 50 == pytest.approx(expected, abs=0.25)


def test_examples_of_a_label_take_turns_and_batches_mix_labels() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([60, 30, 10]))
    rows = Resample(0.5).tempered(labels, 10, torch.Generator().manual_seed(0))
    visits = torch.bincount(rows.flatten(), minlength=100)
    for label in range(3):
        own = visits[labels == label]
        assert own.max() - own.min() <= 1
    assert (labels[rows].sort(dim=1).values.diff(dim=1) > 0).any(dim=1).all()


def test_at_exponent_one_each_example_comes_once() -> None:
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([60, 30, 10]))
    rows = Resample(1.0).tempered(labels, 10, torch.Generator().manual_seed(0))
    assert rows.flatten().sort().values.tolist() == list(range(100))


def test_at_exponent_zero_training_is_that_of_class_balanced_batches() -> None:
    (phase,) = Resample().phases(Schedules())
    assert phase.sample.__name__ == "class_balanced"
    with pytest.raises(UserError, match=r"^exponent 1.5 is not in \[0, 1\]$"):
        Resample(1.5)


# --- tau-normalisation


def normalised_logits(model: nn.Module, images: torch.Tensor, tau: float) -> np.ndarray:
    with torch.no_grad():
        h = model.features(images).double().numpy()  # type: ignore[operator]
    W = model.output.weight.detach().double().numpy()  # type: ignore[union-attr]
    return h @ (W / np.linalg.norm(W, axis=1, keepdims=True) ** tau).T


@pytest.mark.parametrize("tau", [0.0, 0.7, 1, 2.0])
def test_logits_are_features_times_normalised_weights(tau: float) -> None:
    trainer = ready(TauNorm(tau))
    method, images = trainer.method.eval(), images_of(trainer)
    expected = normalised_logits(method.model, images, tau)
    np.testing.assert_allclose(method.predict(images).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_at_tau_zero_only_the_bias_is_missing_and_at_tau_one_all_norms_are_one() -> None:
    trainer = ready(TauNorm(0.0))
    method, images = trainer.method.eval(), images_of(trainer)
    assert isinstance(method, TauNorm)
    torch.testing.assert_close(method.predict(images), method.model(images) - method.model.output.bias, rtol=1e-5, atol=1e-6)
    width = method.model.output.in_features
    columns = method.logits(torch.eye(width), 1.0)  # (d, classes)
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(3))


def test_with_a_value_training_is_plain_bit_for_bit() -> None:
    method = trained(lambda: TauNorm(1.0)).method
    torch.testing.assert_close(method.model.state_dict(), trained(Baseline).method.model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("validation", ["held_out", "clean"])
def test_the_chosen_tau_has_the_highest_balanced_accuracy_on_validation_examples(validation: str) -> None:
    trainer = trained(lambda: TauNorm(validation=validation), toy_task(NoNoise()))
    method = trainer.method
    assert isinstance(method, TauNorm)
    with torch.no_grad():
        method.model.output.weight.add_(0.3).mul_(torch.tensor([[30.0], [3.0], [0.3]]))  # positive logits, of very different sizes
    method.choose(trainer.view, Clock())
    examples = trainer.task.clean if validation == "clean" else trainer.task.train.take(np.flatnonzero(method.held_out.numpy()))
    images = trainer.task.preprocessing.normalise(examples.images[:])
    method.model.eval()
    scores = [balanced_accuracy_score(examples.labels, normalised_logits(method.model, images, tau).argmax(axis=1)) for tau in TAUS]
    assert method.chosen.item() == pytest.approx(TAUS[int(np.argmax(scores))])
    assert max(scores) > scores[0]


def test_balanced_accuracy_is_scikit_learns_on_the_classes_with_examples() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 60), rng.integers(0, 6, 60)
    found = balanced_accuracy(torch.from_numpy(predicted), torch.from_numpy(labels), 6).item()
    recalls = [(predicted[labels == label] == label).mean() for label in range(4)]
    assert found == pytest.approx(np.mean(recalls))
    assert balanced_accuracy(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 3) == 0


def test_held_out_examples_are_a_tenth_of_each_class_and_do_not_train() -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([50, 20, 4, 1]))
    mask = stratified(labels, 0.1)
    assert torch.bincount(labels[mask], minlength=4).tolist() == [5, 2, 1, 0]
    trainer = ready(TauNorm(), tail_task((20, 20, 4)))
    method = trainer.method
    assert isinstance(method, TauNorm)
    rows = method.sample(trainer.view.labels, 5, torch.Generator().manual_seed(0))
    assert method.held_out.sum() == 5
    assert not method.held_out[rows].any()
    assert len(rows.unique()) == 35


def test_a_class_vector_of_zeros_gives_finite_logits() -> None:
    trainer = ready(TauNorm(2.0))
    nn.init.zeros_(trainer.method.get_parameter("model.output.weight"))
    assert trainer.method.predict(images_of(trainer)).isfinite().all()


def test_one_logit_for_two_classes_is_normalised() -> None:
    labels = torch.tensor([0, 1] * 20)
    task = toy_task(NoNoise())
    part = Examples(task.train.images[:40], labels, labels)
    task = replace(task, train=part, test=part, clean=part, hyper_validation=part, classes=("a", "b"))
    trainer = ready(TauNorm(1.0), task, LeNet)
    logits = trainer.method.eval().predict(images_of(trainer)).detach()
    assert logits.shape == (40, 2)
    np.testing.assert_allclose(
        logits[:, 1:].numpy(), normalised_logits(trainer.method.model, images_of(trainer), 1.0), rtol=1e-3, atol=1e-5
    )


def test_a_model_without_features_is_one_sentence() -> None:
    sentence = r"^tau_norm needs a model with `features` and a linear layer `output`, which Sequential does not have$"
    with pytest.raises(UserError, match=sentence):
        ready(TauNorm(), make_model=lambda classes, shape: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)))


# --- learnable weight scaling


class RecordedLWS(LWS):
    """Stores the model at the start of the second phase, and its batches."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun: dict[str, torch.Tensor] = {}
        self.batches: list[Batch] = []

    def scale_loss(self, batch: Batch) -> torch.Tensor:
        self.begun = self.begun or copy.deepcopy(self.model.state_dict())
        self.batches.append(Batch(batch.images.clone(), batch.labels.clone()))
        return super().scale_loss(batch)


def recorded(**options: Any) -> RecordedLWS:
    method = trained(lambda: RecordedLWS(share=0.5, **options)).method
    assert isinstance(method, RecordedLWS)
    return method


@pytest.mark.parametrize("bn", ["frozen", "adapt"])
def test_scales_train_alone_by_momentum_sgd_on_balanced_batches(bn: str) -> None:
    method = recorded(bn=bn)
    model = small_convnet(3, torch.Size((1, 8, 8))).train(bn == "adapt")
    model.load_state_dict(method.begun)
    s = torch.ones(3, requires_grad=True)
    optimiser = torch.optim.SGD([s], lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5)
    assert len(method.batches) == 5
    for batch in method.batches:
        assert {*torch.bincount(batch.labels, minlength=3).tolist()} <= {6, 7}
        z = model(batch.images).detach()
        optimiser.zero_grad()
        (torch.logsumexp(s * z, dim=1) - (s * z).gather(1, batch.labels[:, None])[:, 0]).mean().backward()
        optimiser.step()
        schedule.step()
    torch.testing.assert_close(method.scale.detach(), s.detach())
    torch.testing.assert_close(method.model.state_dict(), model.state_dict())


def test_before_the_second_phase_training_is_plain_bit_for_bit_and_frozen_after_it() -> None:
    method, plain = recorded(), trained(Baseline).method
    torch.testing.assert_close(method.begun, plain.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(dict(method.model.state_dict()), dict(method.begun), rtol=0, atol=0)
    images = torch.randn(4, 1, 8, 8)
    method.eval(), plain.eval()
    assert torch.equal(method.predict(images), method.scale * plain.predict(images))
    method.scale.data.fill_(1)
    assert torch.equal(method.predict(images), plain.predict(images))


# --- SMOTE


def distance_to_segment(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The distance of x from the segment between a and b."""
    length = ((b - a) ** 2).sum()
    u = 0 if length == 0 else np.clip(((x - a) * (b - a)).sum() / length, 0, 1)
    return float(np.linalg.norm(x - a - u * (b - a)))


def test_all_classes_get_the_size_of_the_largest_and_given_examples_stay() -> None:
    trainer = ready(SMOTE(), tail_task((16, 7, 1)))
    method = trainer.method
    assert isinstance(method, SMOTE)
    made = method.synthetic(trainer.view)
    assert torch.bincount(made.labels, minlength=3).tolist() == [0, 9, 15]
    assert made.images.dtype == torch.uint8
    assert made.images[:].shape == (24, 1, 8, 8)
    only = trainer.task.train.images[trainer.task.train.labels == 2]
    assert (made.images[made.labels == 2] == only).all()  # copies of the single example


@pytest.mark.parametrize("k", [1, 3, 50])
def test_each_synthetic_image_lies_between_neighbours_of_its_class(k: int) -> None:
    members = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4)).astype(np.uint8))
    made = interpolated(members, 60, k)
    x = members.flatten(1).double().numpy()
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    neighbours = [np.argsort(row, kind="stable")[1 : min(k, 8) + 1] for row in distances]
    for image in made.flatten(1).double().numpy():
        nearest_segment = min(distance_to_segment(image, x[i], x[j]) for i in range(9) for j in neighbours[i])
        assert nearest_segment <= 0.5 * math.sqrt(16) + 1e-6  # rounded to whole grey levels


def test_rows_of_tables_are_on_the_segments_without_rounding() -> None:
    members = torch.randn(6, 3)
    made = interpolated(members, 40, 2).double().numpy()
    x = members.double().numpy()
    for row in made:
        assert min(distance_to_segment(row, a, b) for a in x for b in x) < 1e-6
    assert len(np.unique(made, axis=0)) == 40


def test_neighbours_exclude_the_example_itself_also_among_copies() -> None:
    x = torch.tensor([[0.0], [0.0], [5.0], [6.0]])
    assert nearest(x, 1).flatten().tolist() == [1, 0, 3, 2]
    assert nearest(x[:1], 0).tolist() == [[0]]


def test_synthetic_examples_join_the_training_set() -> None:
    trainer = trained(SMOTE, tail_task((20, 10, 2)), replace(SETTINGS, batch_size=12))
    assert trainer.progress.train_epochs == pytest.approx(2.0)  # ten batches of 12, of 60 examples


# --- SAMME


@pytest.mark.parametrize(("error", "classes"), [(0.1, 2), (0.3, 2), (0.3, 10), (0.85, 10)])
def test_a_vote_is_the_formula(error: float, classes: int) -> None:
    assert vote(torch.tensor(error), classes).item() == pytest.approx(math.log((1 - error) / error) + math.log(classes - 1), rel=1e-5)


def test_votes_are_finite_for_a_perfect_classifier_and_almost_nothing_for_one_by_chance() -> None:
    assert vote(torch.tensor(0.0), 2).item() == pytest.approx(math.log(1e10), rel=1e-5)
    for error in (0.9, 0.95, 1.0):
        assert 0 < vote(torch.tensor(error), 10).item() < 2e-5


def test_weights_and_votes_are_those_of_scikit_learns_boosting() -> None:
    """The errors of its trees, replayed: each round gets the tree's wrong examples."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    boosted = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=3, random_state=0).fit(x, y)
    task = tail_task()
    images = task.train.images[:1].expand(60, -1, -1, -1)
    task = replace(task, train=Examples(images, torch.from_numpy(y), torch.from_numpy(y)))
    method = ready(SAMME(3), task).method
    assert isinstance(method, SAMME)
    for t, tree in enumerate(boosted.estimators_):
        if t:
            method.reweight(t - 1, None)  # type: ignore[arg-type]
        assert method.weights.sum().item() == pytest.approx(1)
        method.wrong.copy_(torch.from_numpy(tree.predict(x) != y))
        error = (method.weights * method.wrong).sum()
        method.votes[t] = vote(error, 3)
        assert error.item() == pytest.approx(boosted.estimator_errors_[t], rel=1e-4)
    np.testing.assert_allclose(method.votes.numpy(), boosted.estimator_weights_, rtol=1e-4)


def test_the_first_round_is_plain_training_and_later_ones_weight_errors() -> None:
    trainer = trained(lambda: SAMME(2))
    method, plain = trainer.method, trained(Baseline).method
    assert isinstance(method, SAMME)
    torch.testing.assert_close(method.model.state_dict(), plain.model.state_dict(), rtol=1e-4, atol=1e-5)
    assert method.weights.sum().item() == pytest.approx(1, rel=1e-5)
    low, high = method.weights.unique().tolist()[0], method.weights.unique().tolist()[-1]
    assert math.log(high / low) == pytest.approx(method.votes[0].item(), rel=1e-3)


def test_the_loss_is_the_weighted_mean_and_notes_errors() -> None:
    trainer = ready(SAMME(2))
    method = trainer.method
    assert isinstance(method, SAMME)
    method.weights.copy_(torch.arange(1, 22) / 231)
    method.wrong.zero_()
    index = torch.tensor([0, 5, 17, 20])
    images = trainer.task.preprocessing.normalise(trainer.task.train.images[index])
    batch = Batch(images, trainer.task.train.labels[index], index)
    logits = copy.deepcopy(method.later[0])(images).detach()
    found = method.loss_of(1, batch)
    losses, w = F.cross_entropy(logits, batch.labels, reduction="none").numpy(), np.array([1, 6, 18, 21])
    assert found.loss.item() == pytest.approx((losses * w).sum() / w.sum(), rel=1e-5)
    assert found.example_weights.tolist() == pytest.approx(list(w / w.sum()))
    wrong = np.zeros(21)
    wrong[index.numpy()] = logits.argmax(dim=1).numpy() != batch.labels.numpy()
    assert method.wrong.tolist() == wrong.tolist()
    error = (wrong * np.arange(1, 22) / 231).sum()
    assert method.votes[1].item() == pytest.approx(vote(torch.tensor(error), 3).item(), rel=1e-4)


def test_predictions_are_weighted_votes() -> None:
    trainer = ready(SAMME(3))
    method, images = trainer.method.eval(), images_of(trainer)
    assert isinstance(method, SAMME)
    method.votes.copy_(torch.tensor([0.5, 2.0, 1.0]))
    expected = np.zeros((len(images), 3))
    for a, net in zip((0.5, 2.0, 1.0), method.classifiers, strict=True):
        for i, choice in enumerate(net(images).argmax(dim=1).tolist()):
            expected[i, choice] += a
    np.testing.assert_allclose(method.predict(images).numpy(), expected)


# --- Remix


def remix_label_weight(w: float, own: float, other: float, kappa: float = 3, tau: float = 0.5) -> float:
    if own / other >= kappa and w < tau:
        return 0.0
    if own / other <= 1 / kappa and 1 - w < tau:
        return 1.0
    return w


@pytest.mark.parametrize("w", [0.0, 0.3, 0.49, 0.5, 0.51, 0.8, 1.0])
@pytest.mark.parametrize(("own", "other"), [(10, 10), (30, 10), (29, 10), (10, 30), (10, 29), (500, 1), (1, 500)])
def test_label_weights_are_the_three_cases(w: float, own: int, other: int) -> None:
    method = Remix()
    found = method.label_weights(torch.tensor(w), torch.tensor([float(own)]), torch.tensor([float(other)])).item()
    assert found == pytest.approx(remix_label_weight(w, own, other))
    assert (found >= w - 1e-6) if own < other else (1 - found >= 1 - w - 1e-6)  # never less than the share of the rarer class's image


@pytest.mark.parametrize(("sizes", "tau"), [((10, 10, 10), 0.5), (SIZES, 0.0)])
def test_with_equal_classes_or_tau_zero_it_is_mixup(sizes: tuple[int, ...], tau: float) -> None:
    trainer = ready(Remix(tau=tau), tail_task(sizes))
    images, labels = torch.randn(8, 1, 8, 8), torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    torch.manual_seed(3)
    w = torch.distributions.Dirichlet(torch.ones(2)).sample()[0]
    partner = torch.rand(8).argsort()
    logits = copy.deepcopy(trainer.method.model)(w * images + (1 - w) * images[partner])
    targets = w * F.one_hot(labels, 3) + (1 - w) * F.one_hot(labels[partner], 3)
    torch.manual_seed(3)
    torch.testing.assert_close(trainer.method.loss(Batch(images, labels)), F.cross_entropy(logits, targets))


def test_losses_of_remix_and_mixup_have_the_same_mean_on_equal_classes() -> None:
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    means = []
    for method in (Remix(), Mixup()):
        ready(method, tail_task((10, 10, 10)))
        with torch.no_grad():
            means.append(np.mean([method.loss(Batch(images, labels)).item() for _ in range(400)]))  # type: ignore[union-attr]
    assert means[0] == pytest.approx(means[1], rel=0.02)


def test_remix_ignores_the_frequent_class_in_a_mixed_pair() -> None:
    trainer = ready(Remix(), tail_task((16, 4, 1)))
    method = trainer.method
    images, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    for seed in range(20):
        torch.manual_seed(seed)
        w = torch.distributions.Dirichlet(torch.ones(2)).sample()[0].item()
        partner = torch.rand(2).argsort()
        logits = copy.deepcopy(method.model)(w * images + (1 - w) * images[partner])
        log_p = logits.log_softmax(dim=1)
        sizes = [16.0, 4.0, 1.0]
        expected = 0.0
        for i in range(2):
            y, other = int(labels[i]), int(labels[partner[i]])
            v = remix_label_weight(w, sizes[y], sizes[other])
            expected -= (v * log_p[i, y].item() + (1 - v) * log_p[i, other].item()) / 2
        torch.manual_seed(seed)
        loss = copy.deepcopy(method).loss(Batch(images, labels))
        assert isinstance(loss, torch.Tensor)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("sizes", [(16, 4, 1), (9, 9, 3)])
@pytest.mark.parametrize("mean", ["plain", "weighted"])
@pytest.mark.parametrize("step", [7, 8])
def test_deferred_weights_multiply_each_cross_entropy_of_remix_by_the_weight_of_its_label(step: int, mean: str, sizes: Any) -> None:
    """Remix-DRW of imbalanced-DL, which has the plain mean: one mixed image after another, one class after another."""
    labels = torch.tensor([0] * sizes[0] + [1] * sizes[1] + [2] * sizes[2])
    config = {"name": "class_balanced", "base": {"name": "remix"}, "begin": 0.8, "mean": mean}
    b = bench(config, labels, some_images(len(labels), 7, (1, 1, 3)), lambda _: Bare())
    index = torch.tensor([0, len(labels) - 1, 1, sizes[0], 2, sizes[0] + 1, 3])
    images = b.images[index].requires_grad_()
    c = effective_number_weights(sizes) if step >= 8 else [1.0] * 3
    for seed in range(10):
        torch.manual_seed(seed)
        w = torch.distributions.Dirichlet(torch.ones(2)).sample()[0].item()
        partner = torch.rand(len(index)).argsort().tolist()
        mixed = [w * images[i].flatten() + (1 - w) * images[partner[i]].flatten() for i in range(len(index))]
        expected = images.sum() * 0
        for i, x in enumerate(mixed):
            y, other = int(labels[index[i]]), int(labels[index[partner[i]]])
            v = remix_label_weight(w, sizes[y], sizes[other])
            for share, label in ((v, y), (1 - v, other)):
                expected = expected - share * c[label] * (x[label] - torch.logsumexp(x, dim=0))
        expected = expected / (len(index) if mean == "plain" else sum(c[y] for y in labels[index]))
        torch.manual_seed(seed)
        found = b.method.loss(b.batch(index, images=images, clock=at(step)))
        assert isinstance(found, Weighted)
        assert found.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        gradients = (torch.autograd.grad(loss, images)[0] for loss in (found.loss, expected))
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


# --- deferred weights around LDAM


@pytest.mark.parametrize(("begin", "beta"), [(0.8, 0.9999), (0.3, 0.99), (1.0, 0.9)])
def test_ldam_s_own_class_weights_are_deferred_weights_around_its_margins_bit_for_bit(begin: float, beta: float) -> None:
    around = trained(lambda: ClassBalanced(LDAM(), beta=beta, begin=begin, mean="weighted"), tail_task((20, 10, 2)))
    own = trained(lambda: LDAM(drw=begin, beta=beta), tail_task((20, 10, 2)))
    assert around.progress.history == own.progress.history
    assert_same_state(around.method.base, own.method)  # type: ignore[arg-type]
    torch.testing.assert_close(around.example_weights, own.example_weights, rtol=0, atol=0, equal_nan=True)


# --- all of them


def test_boosting_costs_a_schedule_for_each_round_and_scales_a_share_of_one() -> None:
    schedules = Schedules(Schedule(1000, 0.1))
    assert [phase.schedule.steps for phase in SAMME(4).phases(schedules)] == [1000] * 4
    assert [phase.schedule.steps for phase in LWS().phases(schedules)] == [1000, 50]
    assert Settings(schedules).schedules.main.steps == 1000
