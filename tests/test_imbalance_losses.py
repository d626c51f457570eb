"""Losses against imbalance: references in plain Python, closed forms, and what they are where their options are neutral."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.config import cells
from benchmark.training.trainer import Trainer
from methods.base import Batch, Knowledge, Weighted, scalar
from methods.focal import Focal
from methods.influence_balanced import InfluenceBalanced, inverse_count_weights
from methods.logit_adjustment import LogitAdjustment
from methods.logit_loss import log_shares
from methods.registry import build
from methods.vs_loss import class_divisors
from robust_benchmark.errors import UserError
from tests.by_hand import CLASSES, Bare, Bench, at, bench, logits_of, seen, some_images
from tests.conftest import toy_task
from tests.references import Array, cross_entropies, numerical_gradient, one_hot, softmax
from tests.references import imbalance_losses as reference
from tests.resuming import CPU, SETTINGS, assert_same_state, trained

PIXELS = (1, 1, CLASSES)
COUNTS = [13, 5, 2]
LABELS = torch.tensor([0] * 13 + [1] * 5 + [2] * 2)
INDEX = torch.tensor([4, 14, 0, 19, 18, 13])
BALANCED = torch.tensor([0, 1, 2] * 6)
LONG_TAIL = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # CIFAR-10 at a ratio of 100
NAMES = ["focal", "logit_adjustment", "logit_adjustment_post_hoc", "vs_loss", "class_balanced", "influence_balanced"]


def ready(labels: torch.Tensor = LABELS, scale: float = 1.5, **config: Any) -> Bench:
    """A method whose logits are the pixels."""
    return bench(complete(config), labels, some_images(len(labels), 7, PIXELS, scale), lambda _: Bare())


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the default base of a wrapper."""
    return {"base": {"name": "baseline"}, **config} if config["name"] in ("class_balanced", "logit_adjustment_post_hoc") else config


# the formulas

WEIGHTS = reference.effective_number_weights(COUNTS)
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "focal": ({"name": "focal"}, reference.focal),
    "focal 0.5": ({"name": "focal", "gamma": 0.5}, lambda z, y: reference.focal(z, y, 0.5)),
    "logit adjustment": ({"name": "logit_adjustment"}, lambda z, y: reference.logit_adjustment(z, y, COUNTS)),
    "logit adjustment 2": ({"name": "logit_adjustment", "tau": 2.0}, lambda z, y: reference.logit_adjustment(z, y, COUNTS, 2)),
    "balanced softmax": ({"name": "logit_adjustment"}, lambda z, y: reference.balanced_softmax(z, y, COUNTS)),
    "vs": ({"name": "vs_loss"}, lambda z, y: reference.vector_scaling(z, y, COUNTS)),
    "vs 0.2": ({"name": "vs_loss", "gamma": 0.2, "tau": 1.2}, lambda z, y: reference.vector_scaling(z, y, COUNTS, 0.2, 1.2)),
    "vs, as logit adjustment": ({"name": "vs_loss", "gamma": 0.0}, lambda z, y: reference.logit_adjustment(z, y, COUNTS)),
    "class-balanced": ({"name": "class_balanced"}, lambda z, y: WEIGHTS[y] * reference.cross_entropy(z, y)),
    "class-balanced focal": ({"name": "class_balanced", "base": {"name": "focal"}}, lambda z, y: WEIGHTS[y] * reference.focal(z, y)),
    "class-balanced vs": (
        {"name": "class_balanced", "base": {"name": "vs_loss"}, "beta": 0.9},
        lambda z, y: reference.effective_number_weights(COUNTS, 0.9)[y] * reference.vector_scaling(z, y, COUNTS),
    ),
}


@pytest.mark.parametrize("scale", [0.3, 1.5, 5.0])
@pytest.mark.parametrize("case", CASES)
def test_a_loss_and_its_gradient_are_those_of_the_formula(case: str, scale: float) -> None:
    config, of_one = CASES[case]
    b = ready(scale=scale, **config)
    found, gradient = seen(b, INDEX, phase=-1)
    labels = LABELS[INDEX].numpy()
    assert scalar(found).item() == pytest.approx(reference.mean_of(of_one, logits_of(b, INDEX), labels), rel=1e-6)
    expected = numerical_gradient(lambda z: reference.mean_of(of_one, z, labels), logits_of(b, INDEX))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


NEUTRAL: dict[str, tuple[dict[str, Any], torch.Tensor]] = {
    "focal, gamma 0": ({"name": "focal", "gamma": 0.0}, LABELS),
    "logit adjustment, tau 0": ({"name": "logit_adjustment", "tau": 0.0}, LABELS),
    "logit adjustment, equal counts": ({"name": "logit_adjustment", "tau": 1.7}, BALANCED),
    "vs, gamma and tau 0": ({"name": "vs_loss", "gamma": 0.0, "tau": 0.0}, LABELS),
    "vs, equal counts": ({"name": "vs_loss"}, BALANCED),
    "class-balanced, beta 0": ({"name": "class_balanced", "beta": 0.0}, LABELS),
    "class-balanced, equal counts": ({"name": "class_balanced"}, BALANCED),
    "class-balanced, never": ({"name": "class_balanced", "begin": 1.0}, LABELS),
    "weighted mean, equal counts": ({"name": "class_balanced", "mean": "weighted"}, BALANCED),
    "post hoc": ({"name": "logit_adjustment_post_hoc"}, LABELS),
}


@pytest.mark.parametrize("case", NEUTRAL)
def test_a_neutral_option_or_equal_counts_give_cross_entropy(case: str) -> None:
    config, labels = NEUTRAL[case]
    b = ready(labels, **config)
    index = torch.arange(len(labels) - 6, len(labels))
    found, gradient = seen(b, index, phase=-1, clock=at(9))
    z = b.images[index].flatten(1).requires_grad_()
    expected = F.cross_entropy(z, labels[index])
    assert scalar(found).item() == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, torch.autograd.grad(expected, z)[0], rtol=1e-5, atol=1e-8)


# focal loss


def test_focal_loss_at_one_half_is_a_quarter_of_cross_entropy() -> None:
    loss = Focal().losses(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]))
    assert loss.item() == pytest.approx(0.25 * math.log(2))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_weights_examples_by_the_factor_of_its_gradient(gamma: float) -> None:
    b = ready(name="focal", gamma=gamma)
    found, gradient = seen(b, INDEX, phase=-1)
    labels = LABELS[INDEX].numpy()
    expected = [np.array(reference.focal_gradient(z, y, gamma)) / 6 for z, y in zip(logits_of(b, INDEX), labels, strict=True)]
    np.testing.assert_allclose(gradient, expected)
    assert isinstance(found, Weighted)
    of_cross_entropy = softmax(logits_of(b, INDEX)) - one_hot(labels, CLASSES)
    np.testing.assert_allclose(found.example_weights.numpy()[:, None] * of_cross_entropy, gradient, rtol=1e-9)
    assert not found.example_weights.requires_grad


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_focal_loss_is_finite_where_the_label_is_certain(gamma: float, dtype: torch.dtype) -> None:
    z = torch.tensor([[500.0, 0.0], [0.0, 0.0], [-500.0, 0.0]], dtype=dtype, requires_grad=True)
    method = Focal(gamma)
    method.model = nn.Identity()
    found = method.loss(Batch(z, torch.zeros(3, dtype=torch.int64)))
    (gradient,) = torch.autograd.grad(found.loss, z)
    assert torch.isfinite(found.loss)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(found.example_weights).all()
    np.testing.assert_allclose(gradient[2].float(), [-1 / 3, 1 / 3], rtol=1e-2)
    if gamma:
        np.testing.assert_allclose(gradient[0].float(), 0, atol=1e-12)


# logit adjustment and VS


def test_two_classes_of_balanced_softmax_by_hand() -> None:
    method = LogitAdjustment()
    method.adjustment = log_shares(torch.tensor([3, 1]))
    found = method.losses(torch.tensor([[0.0, math.log(6.0)]], dtype=torch.float64), torch.tensor([1]))
    assert found.item() == pytest.approx(-math.log(6 / (3 + 6)))


@pytest.mark.parametrize("name", ["logit_adjustment", "vs_loss"])
def test_adjusted_losses_predict_by_the_logits_as_they_are(name: str) -> None:
    b = ready(name=name)
    assert torch.equal(b.method.predict(b.images), b.images.flatten(1))


def test_without_the_added_term_vs_is_cross_entropy_at_a_temperature_of_each_class() -> None:
    b = ready(name="vs_loss", gamma=0.4, tau=0.0)
    divided = logits_of(b, INDEX) / [(13 / n) ** 0.4 for n in COUNTS]
    assert scalar(seen(b, INDEX, phase=-1)[0]).item() == pytest.approx(cross_entropies(divided, LABELS[INDEX].numpy()).mean(), rel=1e-6)


def test_divisors_and_log_shares_of_long_tailed_cifar_10_are_those_of_the_released_code() -> None:
    divisors, shares = class_divisors(LONG_TAIL, 0.15), log_shares(LONG_TAIL)
    assert divisors[[0, 9]].tolist() == pytest.approx([1, 1.9953], abs=5e-5)
    assert shares[[0, 9]].tolist() == pytest.approx([-0.9087, -5.5139], abs=5e-5)


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_post_hoc_adjustment_divides_probabilities_by_powers_of_the_shares(tau: float) -> None:
    b = ready(name="logit_adjustment_post_hoc", tau=tau)
    found = b.method.predict(b.images).softmax(dim=1).detach().numpy()
    expected = softmax(b.images.flatten(1).numpy()) / np.array(reference.shares(COUNTS)) ** tau
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("base", ["baseline", "elr"])
def test_post_hoc_adjustment_changes_no_bit_of_training(base: str) -> None:
    adjusted = trained(lambda: build({"name": "logit_adjustment_post_hoc", "base": {"name": base}}))
    plain = trained(lambda: build({"name": base}))
    assert_same_state(adjusted.method.base, plain.method)  # type: ignore[arg-type]


def test_adjustment_with_the_true_odds_makes_the_two_errors_equal() -> None:
    """One feature is normal around -1 or 1. At equal odds the best threshold is 0, whatever the training odds are."""
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    density = torch.stack([torch.exp(-((x + 1) ** 2) / 2), torch.exp(-((x - 1) ** 2) / 2)], dim=1)
    pi = torch.tensor([0.9, 0.1], dtype=torch.float64)
    posterior = (pi * density).log()  # logits of the best plain classifier
    counts = torch.tensor([90, 10])
    assert (posterior.argmax(1).diff() == 1).nonzero().item() > 4500
    assert x[(posterior - log_shares(counts)).argmax(1).diff().nonzero().item()].item() == pytest.approx(0, abs=2e-3)


# class weights


@pytest.mark.parametrize(
    ("options", "step", "weights"),
    [
        ({"begin": 0.8, "mean": "weighted"}, 7, [1, 1, 1]),
        ({"begin": 0.8, "mean": "weighted"}, 8, WEIGHTS),
        ({"begin": 0.8, "mean": "weighted"}, 9, WEIGHTS),
        ({"begin": 0.3}, 2, [1, 1, 1]),
        ({"begin": 0.3}, 3, WEIGHTS),
        ({"begin": 1.0}, 10, [1, 1, 1]),
        ({"beta": 0.5}, 0, reference.effective_number_weights(COUNTS, 0.5)),
    ],
)
@pytest.mark.parametrize("base", ["baseline", "focal", "logit_adjustment"])
def test_class_weights_apply_from_their_share_on_to_any_base(base: str, options: dict[str, Any], step: int, weights: list[float]) -> None:
    b = ready(name="class_balanced", base={"name": base}, **options)
    found, _ = seen(b, INDEX, phase=-1, clock=at(step))
    labels = LABELS[INDEX].tolist()
    of_base = {"baseline": reference.cross_entropy, "focal": reference.focal, "logit_adjustment": _adjusted}[base]
    w = np.array([weights[y] for y in labels])
    losses = [of_base(z, y) for z, y in zip(logits_of(b, INDEX), labels, strict=True)]
    w = w / w.sum() if options.get("mean") == "weighted" else w / 6
    assert scalar(found).item() == pytest.approx(w @ losses, rel=1e-6)
    assert isinstance(found, Weighted)
    np.testing.assert_allclose(found.example_weights, w, rtol=1e-6)


def _adjusted(z: Array, y: int) -> float:
    return reference.logit_adjustment(z, y, COUNTS)


def test_the_reference_s_weights_of_long_tailed_cifar_10_are_the_published_ones() -> None:
    published = reference.effective_number_weights(LONG_TAIL.tolist())
    assert [published[k] for k in (0, 1, 8, 9)] == pytest.approx([0.05061, 0.07690, 2.40922, 3.99272], abs=5e-6)


def test_deferred_weights_around_a_base_with_other_batches_keep_them() -> None:
    method = build({"name": "class_balanced", "base": {"name": "resample"}})
    (phase,) = method.phases(SETTINGS.schedules)
    (of_base,) = build({"name": "resample"}).phases(SETTINGS.schedules)
    assert phase.sample is of_base.sample


@pytest.mark.parametrize(("name", "said"), [("mixup", "Mixup"), ("elr", "ELR"), ("influence_balanced", "InfluenceBalanced")])
def test_class_weights_around_another_kind_of_loss_are_refused_in_a_sentence(name: str, said: str) -> None:
    allowed = "baseline, focal, ldam, logit_adjustment, remix, vs_loss"
    with pytest.raises(
        UserError, match=rf"^class_balanced needs a base whose loss is a mean over examples, such as {allowed}, not {said}$"
    ):
        build({"name": "class_balanced", "base": {"name": name}})


# influence-balanced loss


def influence(detach: bool = True, alpha: float = 100.0) -> tuple[Bench, Batch, Array]:
    """A network with features, its batch, and the features of that batch."""
    b = bench({"name": "influence_balanced", "detach": detach, "alpha": alpha}, LABELS, some_images(20, 3))
    batch = b.batch(INDEX)
    return b, batch, b.models[0].features(batch.images).detach().numpy()


def of_logits(b: Bench, z: Array, h: Array, weights: list[float] | None = None) -> float:
    labels = LABELS[INDEX].numpy()
    w = weights or reference.influence_weights(z, h, labels, COUNTS, 100.0)
    return sum(w[i] * reference.cross_entropy(z[i], int(y)) for i, y in enumerate(labels)) / len(labels)


@pytest.mark.parametrize("detach", [True, False])
def test_influence_balanced_loss_and_its_gradient_are_those_of_the_formula(detach: bool) -> None:
    b, batch, h = influence(detach)
    found = b.method.loss(batch)
    output = b.models[0].output
    z = h @ output.weight.detach().numpy().T + output.bias.detach().numpy()
    w = reference.influence_weights(z, h, batch.labels.numpy(), COUNTS, 100.0)
    assert isinstance(found, Weighted)
    assert found.loss.item() == pytest.approx(of_logits(b, z, h), rel=1e-6)
    np.testing.assert_allclose(found.example_weights, np.array(w) / 6, rtol=1e-6)
    (gradient,) = torch.autograd.grad(found.loss, output.bias)
    of_z = numerical_gradient(lambda at_: of_logits(b, at_, h, w if detach else None), z)
    np.testing.assert_allclose(gradient, of_z.sum(axis=0), rtol=1e-5)


def test_each_example_s_gradient_in_the_output_layer_has_the_size_of_its_class() -> None:
    b, batch, _ = influence(alpha=1000.0)
    c = inverse_count_weights(torch.tensor(COUNTS))
    assert c.sum().item() == pytest.approx(CLASSES)
    losses = F.cross_entropy(b.models[0](batch.images), batch.labels, reduction="none")
    weights = b.method.loss(batch).example_weights * 6  # type: ignore[union-attr]
    for i, y in enumerate(batch.labels):
        (gradient,) = torch.autograd.grad(weights[i] * losses[i], b.models[0].output.weight, retain_graph=True)
        assert gradient.abs().sum().item() == pytest.approx(1000 * c[y].item(), rel=5e-3)


@pytest.mark.parametrize(("begin", "steps"), [(0.5, [5, 5]), (0.0, [0, 10]), (1.0, [10, 0])])
def test_influence_balance_begins_at_its_share_after_plain_training(begin: float, steps: list[int]) -> None:
    method = InfluenceBalanced(begin=begin)
    assert [phase.schedule.steps for phase in method.phases(SETTINGS.schedules)] == steps
    b = ready(name="influence_balanced")
    plain, _ = seen(b, INDEX)
    assert scalar(plain).item() == pytest.approx(cross_entropies(logits_of(b, INDEX), LABELS[INDEX].numpy()).mean())


def test_influence_balanced_loss_is_finite_where_the_label_is_certain_or_features_are_zero() -> None:
    images = torch.tensor([[90.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-90.0, 0.0, 0.0]]).view(3, *PIXELS)
    for detach in (True, False):
        b = bench({"name": "influence_balanced", "detach": detach}, LABELS, images, lambda _: Bare())
        b.method.float()
        leaf = images.clone().requires_grad_()
        found = b.method.loss(Batch(leaf, torch.zeros(3, dtype=torch.int64)))
        (gradient,) = torch.autograd.grad(scalar(found), leaf)
        assert torch.isfinite(scalar(found))
        assert torch.isfinite(gradient).all()


# what all of them share


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_examples_leaves_losses_gradients_and_predictions_finite(name: str) -> None:
    labels = torch.tensor([0] * 12 + [2] * 4)
    b = ready(labels, name=name)
    index = torch.tensor([0, 5, 13])
    for given in (labels[index], torch.tensor([0, 1, 2])):  # the second: held-out images of the class
        images = b.images[index].requires_grad_()
        found = b.method.loss(Batch(images, given, clock=at(9))) if name != "logit_adjustment_post_hoc" else images.sum()
        (gradient,) = torch.autograd.grad(scalar(found), images)
        assert torch.isfinite(scalar(found))
        assert torch.isfinite(gradient).all()
    assert torch.isfinite(b.method.predict(b.images)).all()


def test_a_class_without_examples_counts_as_one_example_in_log_shares_and_divisors() -> None:
    counts = torch.tensor([16, 0, 4])
    assert log_shares(counts).exp().tolist() == pytest.approx([0.8, 0.05, 0.2])
    assert class_divisors(counts, 0.5).tolist() == pytest.approx([1, 4, 2])
    assert inverse_count_weights(counts).tolist() == pytest.approx([2 * 4 / 20, 0, 2 * 16 / 20])


@pytest.mark.parametrize("name", NAMES)
def test_they_see_nothing_but_noisy_labels(name: str) -> None:
    assert build(complete({"name": name})).needs == Knowledge.NONE


def test_influence_balanced_loss_needs_a_model_with_features_in_a_sentence() -> None:
    sentence = r"^influence_balanced needs a model with `features` and a linear layer `output`, which Sequential does not have$"
    with pytest.raises(UserError, match=sentence):
        Trainer(InfluenceBalanced(), lambda classes, shape: nn.Sequential(nn.Linear(64, classes)), toy_task(), SETTINGS, 0, CPU)


SAME = {
    "balanced_softmax": ["method=logit_adjustment"],
    "class_balanced_focal": ["method=class_balanced", "method.base=focal"],
    "drw": ["method=class_balanced", "method.begin=0.8", "method.mean=weighted"],
    "ldam_without_drw": ["method=ldam", "method.drw=1"],
    "influence_balanced_released": ["method=influence_balanced", "method.detach=false"],
}


@pytest.mark.parametrize("variant", SAME)
def test_a_variant_is_its_method_with_other_options(variant: str) -> None:
    (named,), (spelt,) = cells([f"method={variant}"]), cells(SAME[variant])
    assert named.key == spelt.key
    assert named.label == spelt.label


@pytest.mark.parametrize("base", ["focal", "ldam", "logit_adjustment", "remix", "vs_loss"])
def test_deferred_weights_go_around_other_losses_on_the_command_line(base: str) -> None:
    (cell,) = cells(["method=drw", f"method.base={base}"])
    assert cell.label == f"class_balanced:begin=0.8:mean=weighted:base={base}"
