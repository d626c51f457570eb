"""Detection of wrong labels by weights: against scikit-learn, brute force and manual counts; and the trainer's report of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark import trial
from benchmark.config import cells
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.detection import WeightLog, auprc, auroc, precision, weight_histograms
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.noise import BackgroundFlip, NoNoise, UniformFlip
from datasets.task import Examples, Task
from methods.base import Batch, Knowledge, MakeModel, Method, View, Weighted, weighted_cross_entropy
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.hard_mining import HardMining
from methods.l2rw import L2RW
from methods.mentornet import MentorNet
from methods.random import Random
from methods.schedules import Schedule, Schedules
from tests.conftest import StopAt, kept_in, small_convnet, toy_task

CPU = torch.device("cpu")
SCHEDULES = Schedules(Schedule(12, 0.1, (8,)), Schedule(9, 0.1, (6,)), Schedule(5, 0.01), Schedule(6, 0.1))
SETTINGS = Settings(SCHEDULES, batch_size=20, evaluate_every=5, checkpoint_seconds=1e9)
FINDINGS = {"weights_auroc", "weights_auprc", "weights_precision"}
PERFECT = dict.fromkeys(FINDINGS, 1.0)


# --- AUROC, AUPRC and precision


def random_case(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights that are lower for wrong labels, but not always, and which labels are wrong."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 300))
    wrong = rng.permutation(np.arange(n) < rng.integers(1, n))
    weights = rng.random(n) - 0.2 * wrong
    return (weights * 4).round() if ties else weights, wrong


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "tied"])
def test_auroc_is_scikit_learn_s_of_right_labels_by_weight(ties: bool) -> None:
    found = []
    for seed in range(30):
        weights, wrong = random_case(seed, ties)
        assert (len(np.unique(weights)) < len(weights)) == ties
        found.append(auroc(weights, wrong))
        assert found[-1] == pytest.approx(roc_auc_score(~wrong, weights), abs=1e-12)
    assert np.mean(found) > 0.55  # the direction: wrong labels have the lower weights


def test_auroc_counts_pairs_of_a_wrong_and_a_right_label_and_ties_half() -> None:
    weights, wrong = np.array([0.0, 1.0, 1.0, 2.0, 3.0]), np.array([True, False, True, True, False])
    # right 1 over wrong 0, 1, 2: a win, a tie, a loss; right 3 over them: three wins
    assert auroc(weights, wrong) == (1 + 0.5 + 0 + 3) / 6


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "tied"])
def test_auprc_is_scikit_learn_s_average_precision_of_wrong_labels_by_lightness(ties: bool) -> None:
    found = []
    for seed in range(30):
        weights, wrong = random_case(seed, ties)
        found.append(auprc(weights, wrong) - wrong.mean())
        assert auprc(weights, wrong) == pytest.approx(average_precision_score(wrong, -weights), abs=1e-12)
    assert np.mean(found) > 0.05  # the direction


def test_auprc_of_equal_weights_is_the_share_of_wrong_labels_and_of_perfect_ones_it_is_one() -> None:
    wrong = np.array([True] * 3 + [False] * 7)
    assert auprc(np.ones(10), wrong) == pytest.approx(0.3)
    assert auprc(1.0 - wrong, wrong) == 1
    assert auprc(np.arange(10.0)[::-1], wrong) == pytest.approx((1 / 8 + 2 / 9 + 3 / 10) / 3)


@pytest.mark.parametrize(("of_wrong", "of_right", "expected"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
def test_auroc_and_precision_are_one_where_all_wrong_labels_weigh_less_and_zero_the_other_way_round(
    of_wrong: float, of_right: float, expected: float
) -> None:
    wrong = np.array([True] * 3 + [False] * 7)
    weights = np.where(wrong, of_wrong, of_right)
    assert auroc(weights, wrong) == expected
    assert precision(weights, wrong) == expected


def test_equal_weights_find_nothing() -> None:
    wrong = np.array([True] * 3 + [False] * 7)
    assert auroc(np.ones(10), wrong) == 0.5
    assert precision(np.ones(10), wrong) == pytest.approx(0.3)  # k drawn blindly


def precision_over_all_orders(weights: np.ndarray, wrong: np.ndarray) -> float:
    """The mean share of wrong labels among the first k, over every order of the examples sorted stably by weight."""
    k = wrong.sum()
    shares = [wrong[sorted(order, key=lambda i: weights[i])[:k]].mean() for order in itertools.permutations(range(len(weights)))]
    return float(np.mean(shares))


@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_precision_is_the_mean_over_all_ways_to_break_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for wrongs in range(1, 6):
        weights, wrong = rng.integers(0, levels, 6) / levels, rng.permutation(np.arange(6) < wrongs)
        assert precision(weights, wrong) == pytest.approx(precision_over_all_orders(weights, wrong), abs=1e-12)


def test_precision_without_ties_is_the_share_of_wrong_labels_in_the_sorted_head() -> None:
    for seed in range(20):
        weights, wrong = random_case(seed, ties=False)
        assert precision(weights, wrong) == pytest.approx(wrong[np.argsort(weights)][: wrong.sum()].mean(), abs=1e-12)


# --- the log of weights


def examples_of(wrong: list[bool]) -> Examples:
    true_labels = torch.arange(len(wrong)) % 3
    return Examples(torch.zeros(len(wrong), 1, 2, 2, dtype=torch.uint8), (true_labels + torch.tensor(wrong).long()) % 3, true_labels)


def noted(train: Examples, *notes: tuple[list[int], list[float]]) -> WeightLog:
    log = WeightLog(train)
    for index, weights in notes:
        log.note(torch.tensor(index, dtype=torch.int64), torch.tensor(weights))
    return log


WRONG = [True, True, False, False, False, True]


def test_the_last_weight_of_an_example_counts() -> None:
    train = examples_of(WRONG)
    misled = ([0, 1, 2, 3], [0.4, 0.4, 0.1, 0.1])
    corrected = ([0, 1, 2, 3], [0.1, 0.1, 0.4, 0.4])
    assert noted(train, misled, corrected).report(train) == PERFECT
    assert noted(train, corrected, misled).report(train) == {"weights_auroc": 0.0, "weights_auprc": 0.5, "weights_precision": 0.0}


def test_weights_of_batches_of_other_sizes_are_compared_after_scaling_by_the_size() -> None:
    train = examples_of(WRONG)
    log = noted(train, ([0, 2], [0.3, 0.7]), ([1, 3, 4, 5], [0.2, 0.3, 0.25, 0.25]))  # 0.6, 1.4; 0.8, 1.2, 1.0, 1.0
    expected = roc_auc_score([not w for w in WRONG], [0.6, 0.8, 1.4, 1.2, 1.0, 1.0])
    unscaled = roc_auc_score([not w for w in WRONG], [0.3, 0.2, 0.7, 0.3, 0.25, 0.25])
    assert log.report(train)["weights_auroc"] == pytest.approx(expected) != pytest.approx(unscaled)


def test_examples_that_were_not_drawn_are_left_out() -> None:
    train = examples_of(WRONG)
    found = noted(train, ([1, 3, 4], [0.2, 0.1, 0.7])).report(train)
    assert found == {"weights_auroc": 0.5, "weights_auprc": 0.5, "weights_precision": 0.0}  # one wrong label, second of three


def test_a_report_leaves_the_log_as_it_is() -> None:
    train = examples_of(WRONG)
    log = noted(train, ([0, 2, 3], [0.0, 0.5, 0.5]))
    assert log.report(train) == log.report(train) == PERFECT
    log.note(torch.tensor([0]), torch.tensor([3.0]))
    assert log.report(train) == {"weights_auroc": 0.0, "weights_auprc": 1 / 3, "weights_precision": 0.0}


@pytest.mark.parametrize("index", [[], [0, 1], [2, 3, 4]], ids=["nothing", "all wrong", "all right"])
def test_there_is_no_report_without_both_kinds_of_labels(index: list[int]) -> None:
    train = examples_of(WRONG)
    assert noted(train, (index, [0.5] * len(index))).report(train) == {}


def test_precision_per_class_is_that_among_the_examples_of_each_given_label() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        given, true = torch.from_numpy(rng.integers(0, 4, 40)), torch.from_numpy(rng.integers(0, 3, 40))
        train = Examples(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), given, true)
        drawn, weights = rng.permutation(40)[:25], rng.integers(0, 5, 25) / 5
        found = noted(train, (drawn.tolist(), weights.tolist())).precision_per_class(train, 5)
        assert found[4] is None  # no example
        for label in range(4):
            of_label = [(weight, bool(given[i] != true[i])) for i, weight in zip(drawn, weights, strict=True) if given[i] == label]
            k = sum(wrong for _, wrong in of_label)
            assert found[label] == (pytest.approx(expected_wrong_among_lightest(of_label, k) / k, abs=1e-6) if k else None)


def expected_wrong_among_lightest(examples: list[tuple[float, bool]], k: int) -> float:
    """How many of the k lightest are wrong on average when the order of equal weights is left to chance."""
    total = 0.0
    for weight, wrong in examples:
        lighter = sum(other < weight for other, _ in examples)
        tied = sum(other == weight for other, _ in examples)
        total += wrong * min(max((k - lighter) / tied, 0), 1)
    return total


# --- the effective share of a batch


def effective_share(*batches: list[float]) -> float:
    log = WeightLog(examples_of([False] * 10))
    for weights in batches:
        log.note(torch.arange(len(weights)), torch.tensor(weights))
    return log.effective_share()["effective_batch_share"]


@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("kept", range(1, 11))
def test_the_effective_share_of_k_equal_weights_among_n_is_k_over_n(kept: int, scale: float) -> None:
    assert effective_share([scale] * kept + [0.0] * (10 - kept)) == pytest.approx(kept / 10, rel=1e-6)


def test_the_effective_share_is_the_squared_sum_over_n_sums_of_squares_averaged_over_batches() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.exponential(size=n).tolist() for n in (3, 10, 7)]
    shares = [sum(weights) ** 2 / (len(weights) * sum(w * w for w in weights)) for weights in batches]
    assert effective_share(*batches) == pytest.approx(np.mean(shares), rel=1e-6)


def test_the_effective_share_of_a_batch_without_weight_is_zero() -> None:
    assert effective_share([0.0] * 10) == 0
    assert effective_share([0.0] * 10, [1.0] * 10) == pytest.approx(0.5, rel=1e-6)


def test_the_effective_share_is_that_since_it_was_last_asked_for() -> None:
    train = examples_of(WRONG)
    log = noted(train, ([0, 1], [1.0, 0.0]))
    assert log.effective_share() == pytest.approx({"effective_batch_share": 0.5})
    assert log.effective_share() == {}
    log.note(torch.tensor([2, 3]), torch.tensor([1.0, 1.0]))
    assert log.effective_share() == pytest.approx({"effective_batch_share": 1.0})


# --- noted weights


def test_noted_weights_are_a_copy_without_a_graph() -> None:
    train = examples_of(WRONG)
    weights = torch.tensor([0.1, 0.9], requires_grad=True)
    log = WeightLog(train)
    log.note(torch.tensor([0, 2]), weights)
    with torch.no_grad():
        weights.copy_(torch.tensor([0.9, 0.1]))
    assert not log.values.requires_grad
    assert log.report(train)["weights_auroc"] == 1.0


# --- histograms


def uniform(batch: Examples) -> torch.Tensor:
    return torch.full((len(batch),), 1 / len(batch))


def zero_on_wrong(batch: Examples) -> torch.Tensor:
    right = (batch.labels == batch.true_labels).float()
    return right / right.sum().clamp(min=1)


def widely_spread(batch: Examples) -> torch.Tensor:
    """Weights of every size: half of them zero, and many far beyond the last edge."""
    normal = np.random.default_rng(len(batch)).normal(0, 20, len(batch))
    return torch.from_numpy(np.maximum(normal, 0)) / len(batch)


class Spy:
    """Weights all examples equally and stores its inputs."""

    def __init__(self) -> None:
        self.batches: list[Examples] = []

    def __call__(self, batch: Examples) -> torch.Tensor:
        self.batches.append(batch)
        return uniform(batch)


def total(histogram: dict[str, list[int]]) -> int:
    return sum(map(sum, histogram.values()))


def members(task: Task, label: int) -> int:
    return int((task.hyper_validation.true_labels == label).sum())


@pytest.mark.parametrize("size", [1, 10, 50, 1000])
def test_histograms_count_every_image_once(size: int) -> None:
    task = toy_task(UniformFlip(0.4), hyper_validation=60)
    found = weight_histograms(widely_spread, task, size, seed=0)
    assert total(found["mixed"]) == min(size, 60)
    assert total(found["one_class"]) == sum(min(size, members(task, label)) for label in range(3))


def test_the_mixed_batch_is_drawn_from_the_hyper_validation_set_with_its_labels() -> None:
    task, spy = toy_task(UniformFlip(0.4), hyper_validation=60), Spy()
    found = weight_histograms(spy, task, 1000, seed=0)
    whole = task.hyper_validation
    assert sum(found["mixed"]["wrong"]) == whole.wrong() > 0
    assert sum(found["mixed"]["right"]) == 60 - whole.wrong()
    mixed, pool = spy.batches[0], {image.numpy().tobytes(): i for i, image in enumerate(whole.images)}
    positions = [pool.pop(image.numpy().tobytes()) for image in mixed.images]
    assert not pool
    assert positions != sorted(positions)
    assert torch.equal(mixed.labels, whole.labels[positions])
    assert torch.equal(mixed.true_labels, whole.true_labels[positions])


def test_the_other_batches_hold_one_true_class_each_with_labels_from_its_row_of_the_transition_matrix() -> None:
    task = toy_task(UniformFlip(0.4), hyper_validation=60)
    given = np.zeros((3, 3))
    for seed in range(60):
        spy = Spy()
        weight_histograms(spy, task, 1000, seed)
        assert [batch.true_labels.unique().tolist() for batch in spy.batches[1:]] == [[0], [1], [2]]
        for label, batch in enumerate(spy.batches[1:]):
            given[label] += torch.bincount(batch.labels, minlength=3).numpy()
    np.testing.assert_allclose(given / given.sum(axis=1, keepdims=True), task.transition_matrix.numpy(), atol=0.05)  # 4 sigma


@pytest.mark.parametrize("background", [0, 1, 2])
def test_one_class_batches_leave_out_the_class_that_background_flip_leaves_right(background: int) -> None:
    task, spy = toy_task(BackgroundFlip(0.4, background), hyper_validation=60), Spy()
    found = weight_histograms(spy, task, 1000, seed=0)
    flipping = [label for label in range(3) if label != background]
    assert [int(batch.true_labels[0]) for batch in spy.batches[1:]] == flipping
    assert total(found["one_class"]) == sum(members(task, label) for label in flipping) < 60
    assert total(found["mixed"]) == 60
    for batch in spy.batches[1:]:
        assert set(batch.labels.tolist()) == {int(batch.true_labels[0]), background}


def test_one_class_batches_are_none_where_no_label_is_wrong() -> None:
    found = weight_histograms(uniform, toy_task(NoNoise(), hyper_validation=60), 1000, seed=0)
    assert total(found["one_class"]) == 0
    assert sum(found["mixed"]["right"]) == 60
    assert sum(found["mixed"]["wrong"]) == 0


@pytest.mark.parametrize("panel", ["mixed", "one_class"])
def test_weights_that_are_zero_on_wrong_labels_alone_fill_the_first_bin_for_wrong_and_none_of_it_for_right(panel: str) -> None:
    found = weight_histograms(zero_on_wrong, toy_task(UniformFlip(0.4), hyper_validation=60), 1000, seed=0)
    first, *others = found[panel]["wrong"]
    assert first > 0
    assert not any(others)
    first, *others = found[panel]["right"]
    assert first == 0
    assert sum(others) > 0


def test_bins_are_a_tenth_wide_from_zero_to_four_and_the_last_is_open() -> None:
    n = 30
    scaled = torch.linspace(0, 8.7, n, dtype=torch.float64) + 0.05  # 0.05, 0.35, ...: in the middle of every third bin
    found = weight_histograms(lambda batch: scaled[: len(batch)] / n, toy_task(NoNoise(), hyper_validation=n), 1000, seed=0)
    expected = [0] * 41
    for value in scaled.tolist():
        expected[min(int(value * 10), 40)] += 1
    assert found["edges"] == pytest.approx([i / 10 for i in range(41)])
    assert found["mixed"]["right"] == expected


@pytest.mark.parametrize("n", [20, 41, 47, 55, 60])
def test_equal_weights_are_in_the_bin_that_begins_at_one_for_any_batch_size(n: int) -> None:
    found = weight_histograms(uniform, toy_task(NoNoise(), hyper_validation=60), n, seed=0)
    bins = {found["edges"][i] for i, count in enumerate(found["mixed"]["right"]) if count}
    assert bins == {1.0}


def test_histograms_depend_on_the_seed_alone() -> None:
    task = toy_task(UniformFlip(0.4), hyper_validation=60)
    one, again, other = (Spy() for _ in range(3))
    torch.manual_seed(1)
    weight_histograms(one, task, 10, seed=0)
    torch.manual_seed(2)
    weight_histograms(again, task, 10, seed=0)
    weight_histograms(other, task, 10, seed=1)
    for a, b in zip(one.batches, again.batches, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
    assert not torch.equal(one.batches[0].images, other.batches[0].images)


# --- in the trainer


class ByTruth(Baseline):
    """Weights only right labels, or only wrong ones."""

    needs = Knowledge.TRUE_LABELS

    def __init__(self, trusts_right: bool = True) -> None:
        super().__init__()
        self.trusts_right = trusts_right

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.true_labels = view.true_labels

    def loss(self, batch: Batch) -> torch.Tensor:
        trusted = (batch.labels == self.true_labels[batch.index]) == self.trusts_right
        return weighted_cross_entropy(self.model(batch.images), batch.labels, trusted.float() / len(trusted))


def trained(method: Method, task: Task | None = None, **options: Any) -> Trainer:
    trainer = Trainer(method, small_convnet, task or toy_task(), replace(SETTINGS, **options), 0, CPU)
    trainer.run()
    return trainer


@pytest.mark.parametrize(("trusts_right", "expected"), [(True, 1.0), (False, 0.0)])
def test_a_method_that_weighs_by_the_truth_is_reported_to_find_every_wrong_label(trusts_right: bool, expected: float) -> None:
    history = trained(ByTruth(trusts_right)).progress.history
    assert [entry["step"] for entry in history] == [5, 10, 12]
    assert [(entry["weights_auroc"], entry["weights_precision"]) for entry in history] == [(expected, expected)] * 3
    assert all((entry["weights_auprc"] == 1) == trusts_right for entry in history)


class ByPosition(Baseline):
    """Weights each example by its own number, which changes with every step, and records the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.diary: list[dict[int, float]] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        weights = np.random.default_rng(len(self.diary)).random(1000)[batch.index]
        self.diary.append(dict(zip(batch.index.tolist(), weights.tolist(), strict=True)))
        return Weighted(super().loss(batch), torch.from_numpy(weights).float())


def test_the_history_s_auroc_is_of_the_last_weight_of_each_example_so_far() -> None:
    task = toy_task()
    trainer = trained(ByPosition(), task, evaluate_every=6)
    right = (task.train.labels == task.train.true_labels).numpy()
    for entry, end in zip(trainer.progress.history, (6, 12), strict=True):
        last = {position: weight for notes in trainer.method.diary[:end] for position, weight in notes.items()}
        assert len(last) < end * 20  # some were drawn twice
        expected = roc_auc_score(right[list(last)], list(last.values()))
        assert entry["weights_auroc"] == pytest.approx(expected, abs=1e-12)


def test_the_history_s_effective_share_is_the_mean_over_the_steps_since_the_last_evaluation() -> None:
    trainer = trained(ByPosition())
    notes = [np.array(list(step.values())) for step in trainer.method.diary]
    shares = [weights.sum() ** 2 / (len(weights) * (weights**2).sum()) for weights in notes]
    expected = [np.mean(shares[:5]), np.mean(shares[5:10]), np.mean(shares[10:12])]  # histograms come after
    assert [entry["effective_batch_share"] for entry in trainer.progress.history] == pytest.approx(expected, rel=1e-6)


def test_at_the_end_precision_is_reported_per_class() -> None:
    assert trained(ByTruth()).progress.weights_precision == [1.0] * 3
    assert trained(ByTruth(False)).progress.weights_precision == [0.0] * 3
    assert trained(FineTune(ByTruth()), toy_task(hyper_validation=0)).progress.weights_precision == [1.0] * 3


def test_a_record_has_the_precision_per_class_of_methods_that_weigh_and_no_others(tmp_path: Path) -> None:
    for cell in cells(["method=baseline,random", "trainer.steps=20", "device=cpu", *kept_in(tmp_path)]):
        per_class = trial.run(cell, 0)["per_class"]
        weighs = cell.identity["method"]["name"] == "random"
        assert per_class.keys() == {"accuracy", "confusion_matrix"} | ({"weights_precision"} if weighs else set())
    assert len(per_class["weights_precision"]) == 10


def test_a_method_that_weighs_no_examples_is_reported_nothing_of_it() -> None:
    progress = trained(Baseline()).progress
    assert not any((FINDINGS | {"effective_batch_share"}) & entry.keys() for entry in progress.history)
    assert progress.weight_histograms == {}
    assert progress.weights_precision == []


def test_weights_are_reported_nothing_of_where_no_label_is_wrong() -> None:
    history = trained(ByTruth(), toy_task(NoNoise())).progress.history
    assert not any(FINDINGS & entry.keys() for entry in history)


def test_weights_are_reported_in_the_main_phase_and_not_while_fine_tuning() -> None:
    history = trained(FineTune(ByTruth()), evaluate_every=4).progress.history
    assert [entry["phase"] for entry in history] == ["main"] * 3 + ["fine-tuning"] * 2
    for entry in history:
        assert {key: entry[key] for key in FINDINGS & entry.keys()} == (PERFECT if entry["phase"] == "main" else {})
        assert ("effective_batch_share" in entry) == (entry["phase"] == "main")


WEIGHING: dict[str, Callable[[], Method]] = {
    "random": Random,
    "hard_mining": HardMining,
    "l2rw": lambda: L2RW(clean_batch_size=8),
    "random_ft": lambda: FineTune(Random()),
}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Trainer]:
    return {name: trained(make()) for name, make in WEIGHING.items()}


def resumed_after(stop: int, name: str, folder: Path) -> Trainer:
    checkpoints = Checkpoints(folder / f"{stop}.pt", "toy")
    with pytest.raises(Interrupted):
        Trainer(WEIGHING[name](), small_convnet, toy_task(), SETTINGS, 0, CPU, checkpoints, StopAt(stop)).run()
    torch.manual_seed(stop)  # a new process has another global random state
    trainer = Trainer(WEIGHING[name](), small_convnet, toy_task(), SETTINGS, 0, CPU, checkpoints)
    trainer.run()
    return trainer


@pytest.mark.parametrize("name", WEIGHING)
def test_an_interrupted_trial_reports_bit_for_bit_what_an_undisturbed_one_does(
    name: str, undisturbed: dict[str, Trainer], tmp_path: Path
) -> None:
    whole = undisturbed[name].progress
    assert all(entry.keys() >= FINDINGS | {"effective_batch_share"} for entry in whole.history if entry["phase"] == "main")
    steps = undisturbed[name].steps
    for stop in sorted({1, 3, 5, 7, 12, 14, steps} & set(range(steps + 1))):
        resumed = resumed_after(stop, name, tmp_path).progress
        assert resumed.history == whole.history, f"interrupted at {stop}"
        assert resumed.weights_precision == whole.weights_precision


INTERRUPTIONS = [(name, stop) for name in WEIGHING for stop in (3, 5, 12)]  # 5 is an evaluation; 12 ends the main phase
INTERRUPTIONS += [("random_ft", 14), ("random_ft", 17)]  # in the middle and at the end of fine-tuning


@pytest.mark.parametrize(("name", "stop"), INTERRUPTIONS)
def test_an_interrupted_trial_has_the_histograms_of_an_undisturbed_one(
    name: str, stop: int, undisturbed: dict[str, Trainer], tmp_path: Path
) -> None:
    whole = undisturbed[name].progress.weight_histograms
    assert total(whole["mixed"]) == total(whole["one_class"]) == 15
    assert resumed_after(stop, name, tmp_path).progress.weight_histograms == whole


class ByLabel(Baseline):
    """Weights examples only by their label: 0.05, 1.05 and 2.05 over n."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return Weighted(super().loss(batch), (batch.labels + 0.05) / len(batch.labels))


def test_a_trial_s_histograms_are_of_its_method_s_weights_given_the_held_out_labels() -> None:
    trainer = trained(ByLabel(), toy_task(UniformFlip(0.4), hyper_validation=60), batch_size=60)
    held_out = trainer.task.hyper_validation
    right = held_out.labels == held_out.true_labels
    for kind, chosen in (("right", right), ("wrong", ~right)):
        counts = trainer.progress.weight_histograms["mixed"][kind]
        of_label = torch.bincount(held_out.labels[chosen], minlength=3).tolist()
        assert {i: count for i, count in enumerate(counts) if count} == dict(zip((0, 10, 20), of_label, strict=True))


def state(method: Method) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def gradients_of(method: Method) -> list[torch.Tensor]:
    return [p.grad.clone() for p in method.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", [*WEIGHING, "mentornet"])
def test_weighing_held_out_images_trains_nothing_and_moves_no_running_average(name: str) -> None:
    method = WEIGHING[name]() if name in WEIGHING else MentorNet()
    trainer = trained(method)
    before, gradients = state(method), gradients_of(method)
    held_out = trainer.task.hyper_validation
    weights = trainer._weigh(held_out)
    assert weights.shape == (15,)
    assert not weights.requires_grad
    for key, value in state(method).items():
        assert torch.equal(value, before[key]), key
    assert all(torch.equal(now, then) for now, then in zip(gradients_of(method), gradients, strict=True))
    assert method.training
    images = trainer.task.preprocessing.normalise(held_out.images)
    main = next(phase for phase in trainer.phases if phase.source == "train")
    main.updates[-1].objective(Batch(images, held_out.labels, None, trainer.trial.clean.draw, source="held_out"))
    moved = [key for key, value in state(method).items() if not torch.equal(value, before[key])]
    assert any(key.endswith("running_mean") for key in moved)  # as an ordinary loss does


def test_held_out_images_are_weighed_at_the_end_of_the_schedule() -> None:
    class Telling(Baseline):
        def loss(self, batch: Batch) -> Weighted:
            if batch.source == "held_out":
                clock = batch.clock
                self.message = clock.step.item(), clock.epoch.item(), clock.lr.item(), clock.share.item()
            return Weighted(super().loss(batch), torch.full((len(batch.labels),), 1 / len(batch.labels)))

    trainer = trained(FineTune(Telling()))
    steps = SCHEDULES.main.steps
    rows = len(trainer.task.train) // SETTINGS.batch_size
    assert trainer.method.base.message == pytest.approx((steps, steps / rows, SCHEDULES.main.lr_at(steps - 1), 1.0))


def test_weights_that_depend_on_what_is_kept_of_each_example_have_no_histograms() -> None:
    class Remembering(Baseline):
        def setup(self, make_model: MakeModel, view: View) -> None:
            super().setup(make_model, view)
            self.register_buffer("trust", torch.ones(len(view.labels)))

        def loss(self, batch: Batch) -> Weighted:
            return Weighted(super().loss(batch), self.trust[batch.index] / len(batch.labels))

    trainer = trained(Remembering())
    assert trainer.progress.weight_histograms == {}
    assert trainer.progress.weights_precision
