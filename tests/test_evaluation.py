"""The metrics of an evaluation: against scikit-learn, brute force and closed forms; and the training examples that it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, recall_score

from benchmark import trial
from benchmark.config import cells
from benchmark.metrics import METRICS, NO_COST
from benchmark.training.evaluation import (
    TRAINING_SAMPLE,
    Evaluator,
    class_metrics,
    confusion_matrix,
    memorisation,
    probability_metrics,
    shot_groups,
    shot_metrics,
    training_sample,
)
from benchmark.training.trainer import Settings, Trainer
from datasets.augment import Preprocessing
from datasets.imbalance import ClassImbalance
from datasets.noise import Corruption, NoNoise, UniformFlip
from datasets.source import Source
from datasets.task import Examples, Split, Task, make_task
from methods.base import Method
from methods.baseline import Baseline
from methods.l2rw import L2RW
from methods.schedules import Schedule, Schedules
from tests.conftest import small_convnet, toy_source, toy_task

CPU = torch.device("cpu")
SETTINGS = Settings(Schedules(main=Schedule(3, 0.02)), batch_size=20, evaluate_every=5)
PLAIN = Preprocessing()


class Fixed(Method):
    """Predicts the same logits, (classes,), for every image."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def always(label: int, classes: int) -> Fixed:
    return Fixed(torch.eye(classes)[label])


# --- metrics of predictions


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, some of them tied, and true labels, of which some classes have none."""
    rng = np.random.default_rng(seed)
    n, classes = 2 ** int(rng.integers(0, 9)), int(rng.integers(2, 12))
    scale = rng.choice([0.5, 2, 4])  # scikit-learn clips probabilities under 2e-16
    logits = (rng.normal(size=(n, classes)) * scale).round(int(rng.integers(0, 3))).astype(np.float32)
    present = rng.permutation(classes)[: rng.integers(1, classes + 1)]
    true = rng.choice(present, n)
    logits[np.arange(n), true] += rng.random() * scale
    return logits, true


CASES = [random_case(seed) for seed in range(60)]


def test_the_cases_have_ties_and_classes_that_are_absent_or_never_predicted() -> None:
    tied = [np.any(np.sort(logits)[:, -1] == np.sort(logits)[:, -2]) for logits, _ in CASES]
    absent = [len(np.unique(true)) < logits.shape[1] for logits, true in CASES]
    unmet = [len(np.union1d(true, logits.argmax(axis=1))) < logits.shape[1] for logits, true in CASES]
    assert min(sum(tied), sum(absent), sum(unmet)) > 10


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_accuracies_and_f1_are_scikit_learn_s() -> None:
    for logits, true in CASES:
        predicted = logits.argmax(axis=1)
        found = class_metrics(confusion_matrix(true, predicted, logits.shape[1]))
        recalls = recall_score(true, predicted, labels=np.unique(true), average=None)
        expected = {
            "test_accuracy": accuracy_score(true, predicted),
            "balanced_accuracy": balanced_accuracy_score(true, predicted),
            "worst_class_accuracy": recalls.min(),
            "macro_f1": f1_score(true, predicted, average="macro", zero_division=0),
        }
        assert found == pytest.approx(expected, abs=1e-12)


def expected_calibration_error(probabilities: np.ndarray, true: np.ndarray) -> float:
    """By its definition, bin by bin and image by image."""
    error = 0.0
    for m in range(1, 16):
        of_bin = [
            (row.max(), row.argmax() == label) for row, label in zip(probabilities, true, strict=True) if (m - 1) / 15 < row.max() <= m / 15
        ]
        if of_bin:
            confidence, accuracy = np.mean(of_bin, axis=0)
            error += len(of_bin) / len(true) * abs(accuracy - confidence)
    return error


def test_likelihood_is_scikit_learn_s_and_calibration_and_brier_score_are_as_defined() -> None:
    for logits, true in CASES:
        probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        classes = np.arange(logits.shape[1])
        found = probability_metrics(logits, true)
        assert found["nll"] == pytest.approx(log_loss(true, probabilities, labels=classes), abs=1e-9)
        assert found["ece"] == pytest.approx(expected_calibration_error(probabilities, true), abs=1e-9)
        squares = [sum((p - (label == c)) ** 2 for c, p in enumerate(row)) for row, label in zip(probabilities, true, strict=True)]
        assert found["brier"] == pytest.approx(np.mean(squares), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 100])
def test_equal_logits_have_the_likelihood_and_scores_of_blind_guesses(classes: int) -> None:
    true = np.arange(classes)
    found = probability_metrics(np.full((classes, classes), 7, dtype=np.float32), true)
    assert found == pytest.approx({"nll": np.log(classes), "ece": 0, "brier": 1 - 1 / classes}, abs=1e-12)  # and one in `classes` is right


@pytest.mark.parametrize(("shift", "ece", "brier"), [(0, 0, 0), (1, 1, 2)], ids=["right", "wrong"])
def test_certain_predictions_have_scores_at_the_ends_of_their_ranges(shift: int, ece: float, brier: float) -> None:
    true = np.arange(30) % 3
    found = probability_metrics(1e3 * np.eye(3, dtype=np.float32)[(true + shift) % 3], true)
    assert found == {"nll": 1e3 * shift, "ece": ece, "brier": brier}


def test_likelihood_is_finite_for_every_finite_logit() -> None:
    largest = np.finfo(np.float32).max
    found = probability_metrics(np.array([[largest, -largest, 0]], dtype=np.float32), np.array([1]))
    assert found["nll"] == pytest.approx(2 * float(largest))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_likelihood_is_not_finite_where_a_logit_is_not(value: float) -> None:
    assert not np.isfinite(probability_metrics(np.array([[value, 0], [1, 0]], dtype=np.float32), np.array([0, 0]))["nll"])


# --- shots


def test_shot_groups_are_over_100_from_20_to_100_and_below_20() -> None:
    groups = shot_groups(np.array([101, 100, 20, 19, 0, 5000]))
    assert {name: np.flatnonzero(group).tolist() for name, group in groups.items()} == {"many": [0, 5], "medium": [1, 2], "few": [3, 4]}


def test_an_empty_shot_group_is_left_out_and_one_that_holds_all_classes_too() -> None:
    assert shot_groups(np.array([500, 3])).keys() == {"many", "few"}
    assert shot_groups(np.array([500, 101])) == shot_groups(np.array([30, 30])) == shot_groups(np.array([1, 2])) == {}


def test_shot_accuracy_is_over_the_images_of_the_group_s_classes() -> None:
    for seed, (logits, true) in enumerate(CASES):
        predicted, classes = logits.argmax(axis=1), logits.shape[1]
        counts = np.random.default_rng(seed).choice([10, 50, 500], classes)
        found = shot_metrics(confusion_matrix(true, predicted, classes), shot_groups(counts))
        expected = {}
        for name, count in (("few", 10), ("medium", 50), ("many", 500)):
            shown = counts[true] == count
            if shown.any() and not np.all(counts == count):
                expected[f"{name}_shot_accuracy"] = accuracy_score(true[shown], predicted[shown])
        assert found == pytest.approx(expected, abs=1e-12)


def unequal_task(*counts: int, corruption: Corruption | None = None) -> Task:
    """Classes of so many training images, and 30 test images each."""
    train, test = (torch.from_numpy(np.repeat(np.arange(len(counts)), sizes)) for sizes in (counts, 30))
    images = [torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8) for labels in (train, test)]
    source = Source(images[0], train, images[1], test, tuple(map(str, range(len(counts)))))
    return make_task(source, corruption or NoNoise(), Split(clean_per_class=0), PLAIN, 0)


def test_shots_are_counted_by_the_true_labels_of_the_training_set() -> None:
    task = unequal_task(400, 60, 10, corruption=UniformFlip(0.4))
    assert torch.bincount(task.train.labels).min() > 60  # by the given labels, no class would be few-shot
    found, _ = Evaluator(task, 0).evaluate(always(2, 3))
    assert (found["many_shot_accuracy"], found["medium_shot_accuracy"], found["few_shot_accuracy"]) == (0, 0, 1)


# --- the sample of training examples


def sorted_source(classes: int, per_class: int) -> Source:
    """A source whose training images are sorted by class, as torchvision's MNIST 4-vs-9 is here."""
    source = toy_source(classes * per_class, classes)
    order = source.train_labels.argsort(stable=True)
    return replace(source, train_images=source.train_images[order], train_labels=source.train_labels[order])


def test_training_accuracy_on_a_source_sorted_by_class_is_that_of_all_classes() -> None:
    task = make_task(sorted_source(3, 1100), UniformFlip(0.4), Split(clean_per_class=10), PLAIN, 0)
    deviation = (2 / 9 / TRAINING_SAMPLE) ** 0.5
    for label in range(3):
        found, _ = Evaluator(task, 0).evaluate(always(label, 3))
        assert abs(found["train_accuracy"] - 1 / 3) < 4 * deviation
        assert abs(found["train_accuracy_on_given_labels"] - 1 / 3) < 4 * deviation


def four_or_nine(seed: int, sees_clean: bool = True) -> Task:
    """As MNIST 4-vs-9 at a ratio of 0.9: 500 of one class and then 4,500 of the other, and clean images that return."""
    split = Split(clean_per_class=5, clean_returns=True)
    return make_task(sorted_source(2, 4500), ClassImbalance(0.9, total=5000), split, PLAIN, seed, sees_clean)


def test_training_accuracy_on_an_imbalanced_source_sorted_by_class_is_by_the_share_of_each_class() -> None:
    found, _ = Evaluator(four_or_nine(0), 0).evaluate(always(1, 2))
    assert abs(found["train_accuracy"] - 0.9) < 4 * (0.09 / TRAINING_SAMPLE) ** 0.5


def pictures(examples: Examples) -> set[bytes]:
    return {image.numpy().tobytes() for image in examples.images}


def test_methods_of_a_trial_with_and_without_the_clean_set_share_nearly_all_of_the_sample() -> None:
    seeing, blind = four_or_nine(1, sees_clean=True), four_or_nine(1, sees_clean=False)
    assert len(blind.train) == len(seeing.train) + 10
    one, other = (pictures(training_sample(task.train, 1)) for task in (seeing, blind))
    assert len(one) == len(other) == TRAINING_SAMPLE
    assert len(one & other) >= TRAINING_SAMPLE - 10


def test_the_sample_of_a_trial_is_the_same_for_each_method_and_at_each_evaluation() -> None:
    met: dict[str, list[torch.Tensor]] = {}
    for name in ("baseline", "l2rw", "random"):
        (cell,) = cells([f"method={name}", "trainer.steps=2", "trainer.evaluate_every=1", "model.width=2", "device=cpu"])
        trainer = trial.prepare(cell, 3)
        shown = met[name] = []

        def predict(images: torch.Tensor, trainer: Trainer = trainer, shown: list[torch.Tensor] = shown) -> torch.Tensor:
            shown.append(images)
            return trainer.method.model(images)

        trainer.method.predict = predict  # type: ignore[method-assign]
        trainer.run()
        first, second = (torch.cat(shown[half : half + len(shown) // 2]) for half in (0, len(shown) // 2))
        assert torch.equal(first, second)
    assert len(torch.cat(met["baseline"])) == 2 * (500 + 100 + TRAINING_SAMPLE)
    assert all(torch.equal(torch.cat(shown), torch.cat(met["baseline"])) for shown in met.values())


def test_another_trial_has_another_sample_and_no_position_is_preferred() -> None:
    train = unequal_task(2000, 2000).train
    train = replace(train, labels=torch.arange(len(train)))
    samples = [training_sample(train, seed).labels for seed in range(100)]
    assert all(len(sample.unique()) == TRAINING_SAMPLE for sample in samples)
    assert not torch.equal(samples[0], samples[1])
    drawn = torch.bincount(torch.cat(samples), minlength=len(train)).double()
    assert drawn.var().item() == pytest.approx(100 * 0.25 * 0.75, rel=0.1)  # of a binomial count; four deviations are 0.09
    assert drawn[:2000].mean().item() == pytest.approx(25, abs=0.5)


@pytest.mark.parametrize("n", [1, 90, TRAINING_SAMPLE - 1])
def test_a_small_training_set_is_the_sample(n: int) -> None:
    train = replace(unequal_task(n, 1).train, labels=torch.arange(n + 1))
    assert torch.equal(training_sample(train, 0).labels, train.labels)


# --- memorised labels


def test_memorised_are_wrong_labels_that_are_predicted() -> None:
    true, given, predicted = (np.array(labels) for labels in ([0, 0, 1, 1, 2, 2], [1, 1, 2, 1, 2, 0], [1, 0, 0, 1, 2, 0]))
    assert memorisation(predicted, given, true) == {"wrong_labels_memorised": 2 / 4}  # the first and the last; not the third


def test_without_wrong_labels_none_are_memorised() -> None:
    found, _ = Evaluator(toy_task(NoNoise()), 0).evaluate(always(0, 3))
    assert "wrong_labels_memorised" not in found


# --- an evaluation


def predicted_one_by_one(method: Method, images: torch.Tensor) -> list[int]:
    method.model.eval()
    with torch.no_grad():
        found = [int(method.model((image[None].float() / 255 - 0.5) / 0.5).argmax()) for image in images]
    method.model.train()
    return found


def test_evaluation_equals_a_direct_count() -> None:
    task = make_task(toy_source(1400), UniformFlip(0.4), Split(clean_per_class=5, hyper_validation=80), Preprocessing(pad=1, flip=True), 0)
    trainer = Trainer(Baseline(), small_convnet, task, replace(SETTINGS, schedules=Schedules(main=Schedule(4, 0.02))), 0, CPU)
    trainer.run()
    count, _ = Evaluator(task, 0).evaluate(trainer.method)
    assert trainer.method.training
    sample = training_sample(task.train, 0)
    for name, examples, shown in (("test", task.test, 700), ("hyper_validation", task.hyper_validation, 80), ("train", sample, 1000)):
        predicted = predicted_one_by_one(trainer.method, examples.images)
        assert len(predicted) == shown
        true, given = examples.true_labels.tolist(), examples.labels.tolist()
        assert count[f"{name}_accuracy"] == sum(p == t for p, t in zip(predicted, true, strict=True)) / shown
        if name != "test":
            hits = sum(p == g for p, g in zip(predicted, given, strict=True))
            assert count[f"{name}_accuracy_on_given_labels"] == hits / shown
    wrong = [(p, g) for p, g, t in zip(predicted, given, true, strict=True) if g != t]
    assert count["wrong_labels_memorised"] == sum(p == g for p, g in wrong) / len(wrong)
    assert 0.34 < count["test_accuracy"] < 1  # neither chance nor perfect, so that the counts are informative


def test_probabilities_of_an_evaluation_are_of_the_test_images_in_evaluation_mode() -> None:
    task = toy_task()
    trainer = Trainer(Baseline(), small_convnet, task, SETTINGS, 0, CPU)
    history = trainer.run().history
    trainer.method.eval()
    with torch.no_grad():
        logits = trainer.method.predict(task.preprocessing.normalise(task.test.images))
    probabilities = logits.double().softmax(dim=1).numpy()
    assert history[-1]["nll"] == pytest.approx(log_loss(task.test.true_labels, probabilities), rel=1e-5)


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    task = toy_task()
    trainer = Trainer(Baseline(), small_convnet, task, SETTINGS, 0, CPU)
    trainer.run()
    expected = np.zeros((3, 3), dtype=int)
    for true, predicted in zip(task.test.true_labels.tolist(), predicted_one_by_one(trainer.method, task.test.images), strict=True):
        expected[true, predicted] += 1
    assert trainer.progress.per_class["confusion_matrix"] == expected.tolist()
    assert not np.array_equal(expected, expected.T)


def test_an_empty_hyper_validation_set_has_no_accuracy() -> None:
    trainer = Trainer(Baseline(), small_convnet, toy_task(hyper_validation=0), SETTINGS, 0, CPU)
    assert not [key for key in trainer.run().history[-1] if key.startswith("hyper_validation")]


def test_logits_in_bf16_have_the_probabilities_of_the_same_numbers_in_float32() -> None:
    logits = torch.tensor([3.0, 1.0, 2.0])  # exact in both
    exact, coarse = (Evaluator(toy_task(), 0).evaluate(Fixed(logits.to(dtype)))[0] for dtype in (torch.float32, torch.bfloat16))
    assert coarse == exact


# --- names


def test_what_evaluations_yield_is_what_is_declared() -> None:
    tasks = {"noisy": toy_task(), "unequal": unequal_task(150, 60, 10)}
    yielded: set[str] = set()
    for method, task in ((Baseline(), tasks["unequal"]), (L2RW(clean_batch_size=8), tasks["noisy"])):
        for entry in Trainer(method, small_convnet, task, SETTINGS, 0, CPU).run().history:
            yielded |= entry.keys()
    declared = {metric.name for metric in METRICS.values() if not metric.complement_of and metric.absent != NO_COST}
    assert yielded - {"phase", "step"} == declared


def test_metrics_without_a_remark_are_always_there() -> None:
    always_there = {metric.name for metric in METRICS.values() if not metric.complement_of and not metric.absent}
    for task in (toy_task(), toy_task(NoNoise(), hyper_validation=0), unequal_task(150, 60, 10)):
        (entry,) = Trainer(Baseline(), small_convnet, task, SETTINGS, 0, CPU).run().history
        assert entry.keys() >= always_there
