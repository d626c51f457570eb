"""RobustClassifier: scikit-learn's own checks, the numbers of the command, and one sentence for each mistake."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from benchmark import ROOT, run
from benchmark.records.store import read_all
from robust_benchmark import RobustClassifier, UserError
from tests.conftest import kept_in

CLASSES = 3


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three round clouds in five dimensions, with labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    return 3 * np.eye(CLASSES, 5)[labels] + rng.normal(size=(n, 5)), labels


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with one bright row, whose position is the label."""
    rng = np.random.default_rng(seed)
    pictures, labels = rng.integers(0, 60, (n, 1, 6, 6), dtype=np.uint8), np.arange(n) % CLASSES
    pictures[np.arange(n), 0, 2 * labels] = 255
    return pictures, labels


def with_wrong_labels(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which this share is moved to the next class, and a mask of them."""
    wrong = np.random.default_rng(seed).permutation(len(labels)) < share * len(labels)
    return np.where(wrong, (labels + 1) % CLASSES, labels), wrong


class Trusting(RobustClassifier):
    """Takes its whole training set as the clean set, because scikit-learn's checks give none."""

    def fit(self, X: Any, y: Any) -> Trusting:  # type: ignore[override]
        return super().fit(X, y, X, y)


@pytest.mark.parametrize("classifier", [RobustClassifier("elr", steps=30, random_state=0), Trusting(steps=30, random_state=0)])
def test_every_check_of_scikit_learn_passes(classifier: RobustClassifier) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks give data that other estimators warn about
        results = check_estimator(classifier, expected_failed_checks={}, on_skip=None)
    assert len(results) > 45
    assert {each["status"] for each in results} <= {"passed", "skipped"}


def test_the_checks_that_fail_without_a_clean_set_fail_for_this_reason_alone() -> None:
    needs = "method l2rw needs a clean set: give X_clean and y_clean, or a method without one, such as elr"
    with pytest.raises(UserError, match=needs):
        RobustClassifier().fit(*blobs(30))


@pytest.mark.parametrize("method", ["gce", "l2rw:clean_batch_size=20"])
def test_a_fit_gives_the_predictions_of_the_same_trial_of_the_command(method: str, tmp_path: Path) -> None:
    (X, y), (X_clean, y_clean), (X_test, y_test) = blobs(90), blobs(30, 1), blobs(60, 2)
    y, _ = with_wrong_labels(y, 0.3)
    table = pd.DataFrame(np.concatenate([X, X_clean, X_test])).assign(
        label=np.concatenate([y, y_clean, y_test]),
        part=["train"] * 120 + ["test"] * 60,
        trusted=[False] * 90 + [True] * 90,
    )
    table.to_csv(tmp_path / "table.csv", index=False)
    columns = ["dataset.split=part", "dataset.trusted=trusted"]
    data = ["dataset=arrays", f"dataset.path={tmp_path}/table.csv", *columns, "split.clean_per_class=0", "noise=none"]
    options = [f"method={method}", "trainer.steps=20", "trainer.evaluate_every=2", "seed=7", "trials=1"]
    assert run.main([*data, *options, *kept_in(tmp_path)]) == 0
    ((record,), _) = read_all(tmp_path / "results")
    fitted = RobustClassifier(method, steps=20, random_state=7)
    fitted.fit(X, y, X_clean, y_clean)
    confusion = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(confusion, (y_test, fitted.predict(X_test)), 1)
    assert confusion.tolist() == record["per_class"]["confusion_matrix"]
    chosen = fitted.predict_proba(X_test)[np.arange(60), y_test]
    assert -np.log(chosen).mean() == pytest.approx(record["metrics"]["nll"], rel=1e-5)
    assert record["history"]["train_loss"] == [entry["train_loss"] for entry in fitted.history_]


def test_digits_with_half_of_the_labels_wrong_are_learnt_better_than_by_logistic_regression() -> None:
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(1200) < 0.5, rng.integers(0, 10, 1200), y[:1200])
    fitted = RobustClassifier("elr", steps=150, random_state=0).fit(X[:1200], noisy)
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(X[:1200], noisy)
    assert fitted.score(X[1200:], y[1200:]) > plain.score(X[1200:], y[1200:]) + 0.05
    wrong = noisy != y[:1200]
    assert wrong[fitted.suspects_[:300]].mean() > 0.9 > 0.6 > wrong.mean()


def test_suspects_are_every_example_once_and_wrong_labels_come_first() -> None:
    X, y = blobs(120)
    noisy, wrong = with_wrong_labels(y, 0.2)
    fitted = RobustClassifier("gce", steps=60, random_state=0).fit(X, noisy)
    assert sorted(fitted.suspects_) == list(range(120))
    assert wrong[fitted.suspects_[: wrong.sum()]].mean() > 0.9


def test_weights_exist_for_methods_that_weigh_and_single_out_wrong_labels() -> None:
    X, y = blobs(200)
    noisy, wrong = with_wrong_labels(y, 0.3)
    fitted = RobustClassifier("l2rw", steps=40, random_state=0).fit(X, noisy, *blobs(30, 1))
    weights = fitted.example_weights_
    assert weights.shape == (200,)
    assert np.nanmean(weights[wrong]) < 0.5 * np.nanmean(weights[~wrong])
    assert RobustClassifier("baseline", steps=2, random_state=0).fit(X, noisy).example_weights_ is None


@pytest.mark.parametrize("convert", [lambda pictures: pictures, lambda pictures: pictures / 127.5 - 1], ids=["uint8", "float"])
def test_images_of_bytes_and_of_floats_are_learnt(convert: Any) -> None:
    (X, y), (X_test, y_test) = images(120), images(60, 1)
    fitted = RobustClassifier("l2rw", steps=40, random_state=0).fit(convert(X), y, convert(X[:30]), y[:30])
    assert fitted.score(convert(X_test), y_test) > 0.95
    assert fitted.n_features_in_ == 1


def test_pictures_with_their_channels_last_are_refused_in_one_sentence() -> None:
    X, y = images(20)
    X = X.repeat(3, axis=1)
    with pytest.raises(UserError, match=r"has its channels last: .* X\.transpose\(0, 3, 1, 2\)$"):
        RobustClassifier("gce", steps=1).fit(X.transpose(0, 2, 3, 1), y)
    assert RobustClassifier("gce", steps=1).fit(X, y).n_features_in_ == 3


def test_equal_pixels_of_bytes_and_of_floats_give_equal_predictions() -> None:
    X, y = images(60)
    as_floats = torch.from_numpy(X).float().mul(1 / 127.5).sub(1).numpy()  # the preprocessing of bytes
    fits = [RobustClassifier("gce", steps=5, random_state=0).fit(each, y).predict_proba(each) for each in (X, as_floats)]
    assert (fits[0] == fits[1]).all()


@pytest.mark.parametrize("labels", [["cat", "dog", "emu"], [-5, 0, 7], [0.0, 1.0, 2.0]], ids=["text", "int", "float"])
def test_labels_of_any_type_come_back(labels: list[Any]) -> None:
    X, y = blobs(60)
    given = np.array(labels)[y]
    fitted = RobustClassifier("elr", steps=20, random_state=0).fit(X, given)
    assert fitted.classes_.tolist() == labels
    assert fitted.score(X, given) > 0.9
    assert fitted.predict(X[:1]).dtype == given.dtype


class Linear(nn.Module):
    """A user's model without any of the suite's structure."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, CLASSES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(rows)


def test_a_module_is_copied_with_its_weights_and_stays_as_it_was() -> None:
    X, y = blobs(60)
    model = Linear()
    before = model.layer.weight.clone()
    fitted = RobustClassifier("baseline", model, steps=1, lr=0.0, random_state=0).fit(X, y)
    rows = torch.from_numpy(((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32))
    np.testing.assert_allclose(fitted.predict_proba(X), model(rows).softmax(dim=1).detach().numpy(), atol=1e-5)
    RobustClassifier("baseline", model, steps=3, random_state=0).fit(X, y)
    assert (model.layer.weight == before).all()


def test_the_networks_of_a_method_with_two_differ_although_one_module_is_given() -> None:
    X, y = blobs(60)
    fitted = RobustClassifier("decoupling", Linear(), steps=1, lr=0.0, random_state=0).fit(X, y)
    method = fitted._fitted.model.method
    assert not torch.equal(method.model.layer.weight, method.peer.layer.weight)


@pytest.mark.parametrize("model", ["mlp", lambda classes, shape: nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), classes))])
def test_a_model_is_a_name_or_a_function_too(model: Any) -> None:
    X, y = images(90)
    assert RobustClassifier("baseline", model, steps=60, random_state=0).fit(X, y).score(X, y) > 0.9


def test_the_random_state_alone_determines_the_numbers_and_no_other_random_number_changes() -> None:
    X, y = blobs(60)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (RobustClassifier("elr", steps=5, random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert (torch.rand(3) == expected).all()
    state = np.random.RandomState(0)
    first, second = (RobustClassifier("elr", steps=5, random_state=state).fit(X, y).predict_proba(X) for _ in range(2))
    assert (first != second).any()


def test_clone_pipeline_and_cross_validation_work() -> None:
    X, y = blobs(90)
    classifier = clone(RobustClassifier("gce:q=0.5", Linear(), steps=40, lr=0.1, random_state=0))
    assert classifier.get_params()["method"] == "gce:q=0.5"
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier), X, y, cv=3)
    assert scores.min() > 0.8
    suspicious = cross_val_predict(classifier, X, y, cv=3, method="predict_proba")
    assert suspicious.shape == (90, CLASSES)


def test_a_pipeline_passes_a_clean_set_on() -> None:
    X, y = blobs(60)
    pipeline = make_pipeline(StandardScaler(), RobustClassifier(steps=30, random_state=0))
    pipeline.fit(X, y, robustclassifier__X_clean=X[:15], robustclassifier__y_clean=y[:15])
    assert pipeline.score(X, y) > 0.8


def test_another_process_reads_a_fitted_classifier_without_importing_the_suite_first(tmp_path: Path) -> None:
    X, y = blobs(60)
    fitted = RobustClassifier("l2rw", steps=5, random_state=0).fit(X, y, X[:9], y[:9])
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps((fitted, X)))
    code = "import pickle; c, X = pickle.load(open('fitted.pickle', 'rb')); print(c.predict(X).tolist())"
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(fitted.predict(X).tolist())


def test_averaged_parameters_predict_if_the_trainer_averages() -> None:
    X, y = blobs(60)
    plain, averaged = (
        RobustClassifier("baseline", steps=10, random_state=0, overrides=more).fit(X, y)
        for more in ([], "trainer.ema=0.5 trainer.momentum=0")
    )
    assert averaged.history_[-1]["nll"] != plain.history_[-1]["nll"]
    chosen = averaged.predict_proba(X)[np.arange(60), y]
    assert -np.log(chosen).mean() == pytest.approx(averaged.history_[-1]["nll"], rel=1e-5)


X, y = blobs(30)
PICTURES, OF_PICTURES = images(30)
NAN = np.where(np.arange(30)[:, None] == 4, np.nan, X)
MISTAKES: dict[str, tuple[dict[str, Any], tuple[Any, ...], str]] = {
    "unknown method": ({"method": "l2wr"}, (X, y), "no method 'l2wr'; nearest: l2rw"),
    "unknown option": ({"method": "gce:p=1"}, (X, y), "no option 'method.p'; nearest: method.q"),
    "unknown model": ({"model": "mpl"}, (X, y), "no model 'mpl'; nearest: mlp"),
    "two methods": ({"method": "gce,elr"}, (X, y), "describe 2 configurations, and a classifier has one"),
    "data": ({"overrides": ["noise=bgflip"]}, (X, y), "override 'noise=bgflip' is not accepted here"),
    "no function of two": (
        {"model": lambda classes: None},
        (X, y),
        r"model <lambda> does not fit 3 classes .* takes 1 positional argument",
    ),
    "text as steps": ({"steps": "many"}, (X, y), "trainer.steps must be a whole number of at least 1, not 'many'"),
    "no labels": ({}, (X, [None] * 30), "Unknown label type"),
    "steps": ({"steps": 0}, (X, y), "trainer.steps"),
    "lengths": ({}, (X, y[:-1]), r"inconsistent numbers of samples: \[30, 29\]"),
    "NaN": ({}, (NAN, y), "X must be finite, and example 4 contains NaN or inf"),
    "shape": ({}, (X[:, :, None], y), r"X must be rows \(n, features\), or images"),
    "one class": ({}, (X, np.zeros(30)), "y has 1 class, 0.0, and at least 2 are needed"),
    "half a clean set": ({}, (X, y, X), "give both X_clean and y_clean, or neither"),
    "unknown class": ({}, (X, np.array(["cat", "dog"])[y % 2], X[:1], ["dig"]), "no class of y 'dig'; nearest: dog"),
    "another clean set": ({}, (PICTURES, OF_PICTURES, PICTURES[..., 1:], OF_PICTURES), r"X_clean must be like X, uint8 \(n, 1, 6, 6\)"),
    "no parameters": (
        {"model": nn.ReLU()},
        (X, y),
        "model ReLU returns a torch.nn.modules.activation.ReLU, but a torch.nn.Module with param",
    ),
    "no logits": ({"model": nn.Linear(5, 2)}, (X, y), r"model Linear maps a batch \(1, 5\) to .* not to logits \(1, 3\)"),
    "no model": ({"model": 3}, (X, y), "model must be a torch.nn.Module, a function of .* not 3"),
    "other rows": ({"model": nn.Linear(4, 3)}, (X, y), r"model Linear does not fit 3 classes and examples of shape \(5,\): mat1 and mat2"),
    "truth": ({"method": "coteaching"}, (X, y), "needs the noise rate, which derive from true labels"),
    "strong": ({"method": "gjs_strong"}, (PICTURES / 255, OF_PICTURES), "needs strong views, which exist for uint8 images only"),
    "divergence": ({"lr": 1e30, "steps": 20}, (X, y), "training diverged at step .*: give a smaller lr than 1e"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_a_value_error(mistake: str) -> None:
    options, arguments, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence) as found:
        RobustClassifier(**{"method": "elr", "steps": 2, **options}).fit(*arguments)
    assert isinstance(found.value, ValueError)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("other", [PICTURES / 255, PICTURES[:, :, 1:]], ids=["type", "size"])
def test_images_unlike_those_of_the_training_are_refused(other: np.ndarray) -> None:
    fitted = RobustClassifier("gce", steps=2, random_state=0).fit(PICTURES, OF_PICTURES)
    with pytest.raises(ValueError, match=r"images must be uint8 \(n, 1, 6, 6\), as in fit"):
        fitted.predict(other)
