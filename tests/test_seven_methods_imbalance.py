"""LDAM-DRW and cRT, through their public interface alone, against the slow references in tests/references."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.training.trainer import Settings, Trainer
from datasets.task import Examples
from methods import registry
from methods.base import Phase
from methods.schedules import Optimiser, Schedule, Schedules
from tests.by_hand import CLASSES, LR, Bench, Stepping, TinyNet, at, bench, gradient_of, some_images
from tests.conftest import toy_task
from tests.references import crt, ldam

CLOSE = {"rtol": 1e-6, "atol": 1e-9}
N = 20

# LDAM-DRW


SKEWED = torch.tensor([0] * 14 + [1] * 4 + [2] * 2)
COUNTS = np.array([14, 4, 2])


def ldam_at(b: Bench, step: int, steps: int, index: torch.Tensor) -> torch.Tensor | tuple:
    """The objective's value at a step of all training, whichever phase it lies in."""
    for phase in b.phases(steps):
        if step < phase.schedule.steps:
            (update,) = phase.updates
            return update.objective(b.batch(index, clock=at(step, steps=phase.schedule.steps)))
        step -= phase.schedule.steps
    raise AssertionError("the phases are too short")


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
def test_ldam_is_its_formula_and_reweights_from_its_share_on(options: dict[str, float], step: int, balanced: bool) -> None:
    b, index = bench({"name": "ldam", **options}, SKEWED, some_images(N)), torch.tensor([0, 3, 5, 14, 18, 19])
    margin, scale, beta = (options.get(name, default) for name, default in (("margin", 0.5), ("scale", 30.0), ("beta", 0.9999)))
    delta = ldam.margins(COUNTS, margin)
    w = ldam.class_balanced_weights(COUNTS, beta) if balanced else np.ones(CLASSES)
    h, y, columns = features_of(b, b.images[index]), SKEWED[index].numpy(), columns_of(b)

    def expected(columns: np.ndarray) -> float:
        return ldam.loss(ldam.cosines(h, columns), y, delta, w, scale)

    found = ldam_at(b, step, 10, index)
    loss = getattr(found, "loss", found)
    at_ = columns.detach().numpy().copy()
    assert loss.item() == pytest.approx(expected(at_), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, [columns])
    for i in np.ndindex(at_.shape):
        nudge = np.zeros_like(at_)
        nudge[i] = 1e-6
        assert gradient[i].item() == pytest.approx((expected(at_ + nudge) - expected(at_ - nudge)) / 2e-6, rel=1e-4, abs=1e-7)


def test_ldam_predicts_scaled_cosines_without_margins() -> None:
    b = bench({"name": "ldam"}, SKEWED, some_images(N))
    cos = ldam.cosines(features_of(b, b.images), columns_of(b).detach().numpy())
    np.testing.assert_allclose(b.method.predict(b.images).detach().numpy(), 30 * cos, **CLOSE)


def test_ldam_is_finite_where_a_label_never_occurs() -> None:
    labels = torch.tensor([0] * 14 + [1] * 6)
    b = bench({"name": "ldam"}, labels, some_images(N))
    for step in (0, 9):
        found = ldam_at(b, step, 10, torch.arange(10, 18))
        assert getattr(found, "loss", found).isfinite()


# cRT


def crt_bench(**options: object) -> tuple[Bench, Phase, Phase]:
    b = bench({"name": "crt", **options}, SKEWED, some_images(N))
    first, second = b.phases(steps=20)
    return b, first, second


def epochs(phase: Phase, seed: int = 0) -> torch.Tensor:
    return phase.sample(SKEWED, 6, torch.Generator().manual_seed(seed))


def run(b: Bench, phase: Phase, steps: int) -> None:
    """Some steps of the phase, with momentum and weight decay, which would move a backbone that is not kept still."""
    if phase.before is not None:
        phase.before(b.view)
    b.method.train()
    stepping = Stepping(b.method, phase, Optimiser(lr=LR, momentum=0.9, weight_decay=0.1))
    for number in range(steps):
        stepping.step(b.batch(epochs(phase, seed=number)[0]))


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_crt_has_a_second_phase_on_top_of_the_main_schedule(share: float) -> None:
    _, first, second = crt_bench(share=share)
    assert (first.schedule.steps, second.schedule.steps) == (20, round(20 * share))


@pytest.mark.parametrize("bn", ["frozen", "adapt"])
def test_crt_s_second_phase_leaves_the_backbone_bit_for_bit(bn: str) -> None:
    b, first, second = crt_bench(bn=bn)
    run(b, first, 3)
    before = {name: value.clone() for name, value in b.method.state_dict().items()}
    run(b, second, 4)
    changed = crt.changed(before, b.method.state_dict())
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    classifier = {name for name in before if name.endswith(("output.weight", "output.bias"))}
    assert len(classifier) == 2
    assert changed == classifier | (statistics if bn == "adapt" else set())


def test_crt_s_second_phase_begins_with_a_fresh_classifier() -> None:
    b, first, second = crt_bench()
    initial = b.models[0].output.weight.detach().clone()
    run(b, first, 3)
    trained = b.models[0].output.weight.detach().clone()
    run(b, second, 0)
    assert crt.looks_freshly_drawn(b.models[0].output.weight.detach(), [initial, trained])


@pytest.mark.parametrize("bn", ["frozen", "adapt"])
def test_crt_s_classifier_follows_the_gradient_of_plain_cross_entropy(bn: str) -> None:
    b, first, second = crt_bench(bn=bn)
    run(b, first, 3)
    run(b, second, 0)
    b.method.train()
    row = epochs(second)[0]
    model = copy.deepcopy(b.models[0]).train(bn == "adapt")
    weight, bias = (p.detach().numpy() for p in model.output.parameters())
    expected = crt.classifier_gradient(model.features(b.images[row]).detach().numpy(), weight, bias, SKEWED[row].numpy())
    seen = Stepping(b.method, second).step(b.batch(row))
    found = gradient_of(seen, b.method, b.models[0].output)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, **CLOSE)


def test_crt_samples_examples_alike_and_then_classes_alike() -> None:
    _, first, second = crt_bench()
    for phase, power in ((first, 1), (second, 0)):
        drawn = torch.cat([epochs(phase, seed) for seed in range(20)]).numpy()
        expected = crt.class_probabilities(SKEWED.numpy(), power)
        np.testing.assert_allclose(crt.class_frequencies(SKEWED.numpy(), drawn), expected, atol=0.04)


def cropped(part: Examples) -> Examples:
    return replace(part, images=part.images[:, :, :4, :4].contiguous())


def test_crt_keeps_its_backbone_in_the_real_trainer() -> None:
    task = toy_task()
    task = replace(task, **{part: cropped(getattr(task, part)) for part in ("train", "test", "clean", "hyper_validation")})
    settings = Settings(Schedules(main=Schedule(6, lr=LR)), batch_size=20, optimiser=Optimiser(momentum=0.9, weight_decay=0.1))
    method = registry.build({"name": "crt", "share": 0.5})
    trainer = Trainer(method, lambda classes, _: TinyNet(classes), task, settings, 0, torch.device("cpu"))
    states = [{name: value.clone() for name, value in method.state_dict().items()} for _ in trainer.turns()]
    assert len(states) == 9
    changed = crt.changed(states[5], states[8])
    assert len(changed) == 2
    assert all("output" in name for name in changed)
