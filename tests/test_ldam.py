"""LDAM-DRW against its formulas in NumPy, and margins and weights of long-tailed CIFAR-10 as published."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models.lenet import LeNet
from benchmark.training.trainer import Trainer
from datasets.noise import NoNoise
from datasets.task import Task
from methods.base import Batch, Clock, Weighted
from methods.ldam import LDAM, CosineLayer, class_margins, effective_number_weights
from robust_benchmark.errors import UserError
from tests.by_hand import CLASSES, Bench, at, bench, some_images
from tests.conftest import small_convnet, toy_task
from tests.references import ldam as reference
from tests.references import numerical_gradient
from tests.resuming import CPU, SETTINGS

LONG_TAIL = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # CIFAR-10 at a ratio of 100


def imbalanced() -> Task:
    """Of the three classes, 16 in class 0, 4 in class 1 and 1 in class 2."""
    task = toy_task(NoNoise())
    labels = task.train.labels
    kept = torch.cat([torch.nonzero(labels == label).flatten()[:count] for label, count in enumerate((16, 4, 1))])
    return replace(task, train=task.train.take(kept.numpy()))


def method_on(task: Task, **options: float) -> LDAM:
    method = LDAM(**options)
    Trainer(method, small_convnet, task, SETTINGS, 0, CPU)
    return method


def batch_at(share: float, n: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, 8, 8, generator=generator)
    labels = torch.randint(3, (n,), generator=generator)
    return Batch(images, labels, torch.arange(n), clock=Clock(1000, torch.tensor(round(1000 * share))))


def cosines(method: LDAM, batch: Batch) -> np.ndarray:
    h = method.model.features(batch.images).detach().double().numpy()
    W = method.model.output.weight.detach().double().numpy()
    return (h / np.linalg.norm(h, axis=1, keepdims=True)) @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.log(np.exp(logits - logits[range(len(labels)), labels][:, None]).sum(axis=1))


def test_margins_of_long_tailed_cifar_10_are_the_published_ones() -> None:
    expected = [0.1581, 0.1797, 0.2042, 0.2321, 0.2638, 0.2998, 0.3407, 0.3872, 0.4405, 0.5]
    assert class_margins(LONG_TAIL, 0.5).tolist() == pytest.approx(expected, abs=5e-5)


def test_class_weights_of_long_tailed_cifar_10_are_the_published_ones() -> None:
    weights = effective_number_weights(LONG_TAIL, 0.9999)
    assert weights[[0, 1, 8, 9]].tolist() == pytest.approx([0.05061, 0.07690, 2.40922, 3.99272], abs=5e-6)
    assert effective_number_weights(LONG_TAIL, 0.99)[[0, 9]].tolist() == pytest.approx([0.78383, 1.98442], abs=5e-6)
    assert weights.sum().item() == pytest.approx(10)


def test_class_weights_are_equal_at_beta_zero_and_tend_to_inverse_counts() -> None:
    torch.testing.assert_close(effective_number_weights(LONG_TAIL, 0.0), torch.ones(10, dtype=torch.float64))
    inverse = 1 / LONG_TAIL.double()
    torch.testing.assert_close(effective_number_weights(LONG_TAIL, 0.999999), 10 * inverse / inverse.sum(), rtol=5e-3, atol=0)


def test_equal_counts_have_one_margin_and_weights_of_one() -> None:
    counts = torch.full((7,), 30)
    torch.testing.assert_close(class_margins(counts, 0.5), torch.full((7,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(effective_number_weights(counts, 0.9999), torch.ones(7, dtype=torch.float64))


def test_a_class_without_examples_has_neither_margin_nor_weight() -> None:
    counts = torch.tensor([16, 0, 1])
    torch.testing.assert_close(class_margins(counts, 0.5), torch.tensor([0.25, 0, 0.5], dtype=torch.float64))
    weights = effective_number_weights(counts, 0.9)
    expected = np.array([0.1 / (1 - 0.9**16), 0.0, 1.0])
    assert weights.tolist() == pytest.approx(list(2 * expected / expected.sum()))


SKEWED = torch.tensor([0] * 14 + [1] * 4 + [2] * 2)


COUNTS = np.array([14, 4, 2])


def ldam_at(b: Bench, step: int, steps: int, index: torch.Tensor) -> Weighted:
    """The objective's value at a step."""
    (phase,) = b.phases(steps)
    found = phase.updates[0].objective(b.batch(index, clock=at(step, steps=steps)))
    assert isinstance(found, Weighted)
    return found


def columns_of(b: Bench) -> nn.Parameter:
    """The classifier's weights, (K, d)."""
    (found,) = [p for p in b.method.parameters() if tuple(p.shape) == (CLASSES, 5)]
    return found


def features_of(b: Bench, images: torch.Tensor) -> np.ndarray:
    return copy.deepcopy(b.models[0]).train().features(images).detach().numpy()


@pytest.mark.parametrize(("options", "step", "balanced"), [
    ({}, 0, False), ({}, 7, False), ({}, 8, True), ({}, 9, True),
    ({"drw": 0.7, "margin": 0.3, "scale": 10.0, "beta": 0.9}, 6, False), ({"drw": 0.7, "margin": 0.3, "scale": 10.0, "beta": 0.9}, 7, True),
    ({"drw": 1.0}, 9, False), ({"drw": 0.0, "beta": 0.99}, 0, True),
])  # fmt: skip
def test_it_is_its_formula_and_reweights_from_its_share_on(options: dict[str, float], step: int, balanced: bool) -> None:
    b, index = bench({"name": "ldam", **options}, SKEWED, some_images(20)), torch.tensor([0, 3, 5, 14, 18, 19])
    margin, scale, beta = (options.get(name, default) for name, default in (("margin", 0.5), ("scale", 30.0), ("beta", 0.9999)))
    delta = reference.margins(COUNTS, margin)
    w = reference.class_balanced_weights(COUNTS, beta) if balanced else np.ones(CLASSES)
    h, y, columns = features_of(b, b.images[index]), SKEWED[index].numpy(), columns_of(b)

    def expected(columns: np.ndarray) -> float:
        return reference.loss(reference.cosines(h, columns), y, delta, w, scale)

    found = ldam_at(b, step, 10, index)
    at_ = columns.detach().numpy().copy()
    assert found.loss.item() == pytest.approx(expected(at_), rel=1e-6)
    np.testing.assert_allclose(found.example_weights.numpy(), w[y] / w[y].sum(), rtol=1e-6)
    (gradient,) = torch.autograd.grad(found.loss, [columns])
    np.testing.assert_allclose(gradient.numpy(), numerical_gradient(expected, at_), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("epoch", "weighted"), [(159, False), (160, True), (199, True)])
def test_weights_hold_from_epoch_160_of_200(epoch: int, weighted: bool) -> None:
    method, batch = method_on(imbalanced()), replace(batch_at(0), clock=Clock(200, torch.tensor(epoch)))
    assert (len(method.loss(batch).example_weights.unique()) > 1) == weighted


@pytest.mark.parametrize(("drw", "share", "weighted"), [(1.0, 0.999, False), (1.0, 1.0, False), (0.0, 0.0, True)])
def test_weights_never_hold_at_one_and_always_at_zero(drw: float, share: float, weighted: bool) -> None:
    method = method_on(imbalanced(), drw=drw)
    assert (len(method.loss(batch_at(share)).example_weights.unique()) > 1) == weighted


def test_a_margin_makes_no_example_s_loss_smaller() -> None:
    method, batch = method_on(imbalanced()), batch_at(0.5)
    for number in range(12):
        one = replace(batch, images=batch.images[[number]], labels=batch.labels[[number]])
        with torch.no_grad():
            method.eval()
            plain = F.cross_entropy(method.predict(one.images), one.labels)
            assert method.loss(one).loss >= plain


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_predictions_are_scaled_cosines(scale: float) -> None:
    method, batch = method_on(imbalanced(), scale=scale), batch_at(0.5)
    method.eval()
    torch.testing.assert_close(method.predict(batch.images).detach().double().numpy(), scale * cosines(method, batch), rtol=1e-4, atol=1e-4)


def test_the_cosine_layer_takes_the_place_of_the_output_layer() -> None:
    task = toy_task()
    trainer = Trainer(LDAM(), small_convnet, task, SETTINGS, 0, CPU)
    plain = small_convnet(3, torch.Size((1, 8, 8)))
    names = {name for name, _ in plain.named_parameters()} - {"output.bias"}
    assert {name for name, _ in trainer.method.named_parameters()} == {f"model.{name}" for name in names}
    weight = trainer.method.get_parameter("model.output.weight")
    torch.testing.assert_close(weight.detach().norm(dim=1), torch.ones(3))


def test_two_classes_of_lenet_have_two_cosines() -> None:
    labels = torch.tensor([0, 1] * 20)
    task = toy_task(NoNoise())
    task = replace(task, train=type(task.train)(task.train.images[:40], labels, labels), classes=("a", "b"))
    method = LDAM()
    Trainer(method, LeNet, replace(task, test=task.train, clean=task.train, hyper_validation=task.train), SETTINGS, 0, CPU)
    assert isinstance(method.model.output, CosineLayer)
    assert method.predict(torch.randn(5, 1, 8, 8)).shape == (5, 2)


def test_a_model_without_features_is_one_sentence() -> None:
    sentence = r"^ldam needs a model with `features` and a linear layer `output`, which Sequential does not have$"
    with pytest.raises(UserError, match=sentence):
        Trainer(LDAM(), lambda classes, shape: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)), toy_task(), SETTINGS, 0, CPU)


def test_gradients_reach_features_and_directions() -> None:
    method = method_on(imbalanced())
    found = method.loss(batch_at(0.9))
    assert isinstance(found, Weighted)
    found.loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in method.parameters())
