"""Seven methods, through their public interface alone, against the slow references in tests/references."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.training.trainer import Settings, Trainer
from methods.base import Batch, Optimiser, Phase, Schedule, Schedules
from tests.by_hand import CLASSES, LR, Bare, Bench, Stepping, TinyNet, at, bench, gradient_of, some_images, some_labels
from tests.conftest import toy_task
from tests.references import coteaching, crt, elr, ldam, meta_weight_net, sam

CLOSE = {"rtol": 1e-6, "atol": 1e-9}
N = 20
LABELS = some_labels(N, seed=3)


def pulled_back(model: nn.Module, images: torch.Tensor, gradient: np.ndarray) -> list[torch.Tensor]:
    """A gradient in the logits, (n, K), as one in the model's parameters."""
    model = copy.deepcopy(model).train()
    return list(torch.autograd.grad(model(images), list(model.parameters()), torch.from_numpy(gradient)))


def logits_of(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    return copy.deepcopy(model).train()(images).detach().numpy()


# ELR


@pytest.mark.parametrize("scale", [1.0, 15.0])  # the latter reaches the clamp
def test_elr_is_its_formula_over_several_visits(scale: float) -> None:
    images = some_images(N, shape=(1, 1, CLASSES), scale=scale)
    b = bench({"name": "elr", "beta": 0.6, "lam": 2.0}, LABELS, images, lambda _: Bare())
    (phase,) = b.phases()
    (update,) = phase.updates
    memory = np.zeros((N, CLASSES))
    for visit in range(3):
        index = torch.randperm(N, generator=torch.Generator().manual_seed(visit))[:8]
        seen = (images[index] + some_images(8, 50 + visit, (1, 1, CLASSES))).requires_grad_()
        found = update.objective(b.batch(index, images=seen))
        (gradient,) = torch.autograd.grad(found.loss, seen)
        logits, y = seen.detach().numpy().reshape(8, CLASSES), LABELS[index].numpy()
        memory = elr.after_visit(memory, index.numpy(), logits, 0.6)
        t = memory[index.numpy()]
        assert found.loss.item() == pytest.approx(elr.loss(logits, y, t, 2.0), rel=1e-6)
        np.testing.assert_allclose(gradient.numpy().reshape(8, CLASSES), elr.gradient(logits, y, t, 2.0), **CLOSE)
        np.testing.assert_allclose(found.example_weights.numpy(), t[np.arange(8), y], **CLOSE)


def test_elr_has_the_card_s_defaults() -> None:
    images = some_images(N, shape=(1, 1, CLASSES))
    losses = [
        b.phases()[0].updates[0].objective(b.batch(torch.arange(N))).loss.item()
        for b in (bench({"name": "elr", **options}, LABELS, images, lambda _: Bare()) for options in ({}, {"beta": 0.7, "lam": 3.0}))
    ]
    assert losses[0] == losses[1]


# Co-teaching


def coteaching_step(b: Bench, epoch: float, index: torch.Tensor) -> tuple[list[list[torch.Tensor]], torch.Tensor | None]:
    """Gradients of both networks in one step, and the weights."""
    phase = b.phases()[0]
    seen = Stepping(b.method, phase).step(b.batch(index, clock=at(epoch=epoch)))
    return [gradient_of(seen, b.method, model) for model in b.models], seen[0].weights


@pytest.mark.parametrize("epoch", [0, 1, 5, 10, 30])
@pytest.mark.parametrize("wrong", [2, 4, 6, 8, 10])
def test_coteaching_trains_each_network_on_the_other_s_small_losses(epoch: int, wrong: int) -> None:
    b = bench({"name": "coteaching"}, LABELS, some_images(N), wrong=wrong)
    assert len(b.models) == 2
    index = torch.arange(5, 15)
    logits = [logits_of(model, b.images[index]) for model in b.models]
    before = [copy.deepcopy(model) for model in b.models]
    k = coteaching.kept(coteaching.kept_share(epoch, wrong / N), 10)
    chosen = coteaching.selections(*logits, LABELS[index].numpy(), k)
    found, weights = coteaching_step(b, epoch, index)
    for model, z, selection, gradient in zip(before, logits, chosen, found, strict=True):
        _, expected = coteaching.loss_and_gradient(z, LABELS[index].numpy(), selection)
        torch.testing.assert_close(gradient, pulled_back(model, b.images[index], expected), **CLOSE)
    if weights is not None:
        unchosen = sorted(set(range(10)) - set(chosen[0]) - set(chosen[1]))
        assert (weights >= 0).all()
        assert (weights[unchosen] == 0).all()
        assert (weights > 0).sum() >= k


@pytest.mark.parametrize(("options", "epoch"), [({"ramp_epochs": 4.0}, 2), ({"ramp_epochs": 4.0}, 4), ({"exponent": 2.0}, 10)])
def test_coteaching_s_ramp_has_a_length_and_an_exponent(options: dict[str, float], epoch: int) -> None:
    b = bench({"name": "coteaching", **options}, LABELS, some_images(N), wrong=10)
    index = torch.arange(10)
    logits = [logits_of(model, b.images[index]) for model in b.models]
    before = copy.deepcopy(b.models[0])
    k = coteaching.kept(coteaching.kept_share(epoch, 0.5, **options), 10)
    selection, _ = coteaching.selections(*logits, LABELS[index].numpy(), k)
    _, expected = coteaching.loss_and_gradient(logits[0], LABELS[index].numpy(), selection)
    (gradient, _), _ = coteaching_step(b, epoch, index)
    torch.testing.assert_close(gradient, pulled_back(before, b.images[index], expected), **CLOSE)


# SAM


def sam_bench(base: dict[str, object] | None = None, make: type | object = TinyNet, **options: object) -> Bench:
    return bench({"name": "sam", "base": base or {"name": "baseline"}, **options}, LABELS, some_images(N), make)


def tied(model: nn.Module, parameters: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Logits at other parameters; the running statistics stay."""
    named = dict(zip((name for name, _ in model.named_parameters()), parameters, strict=True))
    return torch.func.functional_call(copy.deepcopy(model).train(), named, (images,))


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rho", [0.0, 0.05, 0.7])
def test_sam_s_gradient_is_that_at_the_perturbed_parameters(rho: float, adaptive: bool) -> None:
    b, index = sam_bench(rho=rho, adaptive=adaptive), torch.arange(8)
    model, (phase,) = copy.deepcopy(b.models[0]), b.phases()
    expected = sam.gradient(
        lambda p: F.cross_entropy(tied(model, p, b.images[index]), LABELS[index]), list(model.parameters()), rho, adaptive
    )
    seen = Stepping(b.method, phase).step(b.batch(index))
    torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), expected, **CLOSE)


def test_sam_moves_running_statistics_once_as_the_first_pass_does() -> None:
    b, index = sam_bench(rho=0.7), torch.arange(8)
    plain = copy.deepcopy(b.models[0]).train()
    plain(b.images[index])
    Stepping(b.method, b.phases()[0]).step(b.batch(index))
    for (name, mine), theirs in zip(b.models[0].named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_sam_s_passes_share_the_dropout_mask() -> None:
    b, index = sam_bench(make=lambda outputs: TinyNet(outputs, dropout=0.5), rho=0.3), torch.arange(8)
    model = copy.deepcopy(b.models[0])

    def loss(parameters: list[torch.Tensor]) -> torch.Tensor:
        torch.manual_seed(7)
        return F.cross_entropy(tied(model, parameters, b.images[index]), LABELS[index])

    expected = sam.gradient(loss, list(model.parameters()), 0.3)
    torch.manual_seed(7)
    seen = Stepping(b.method, b.phases()[0]).step(b.batch(index))
    torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), expected, **CLOSE)


def elr_loss(z: torch.Tensor, labels: torch.Tensor, memory: torch.Tensor, beta: float, lam: float) -> torch.Tensor:
    p = z.softmax(1).clamp(1e-4, 1 - 1e-4)
    t = (beta * memory + (1 - beta) * p / p.sum(1, keepdim=True)).detach()
    return F.cross_entropy(z, labels) + lam * (1 - (t * p).sum(1)).log().mean()


def test_sam_around_elr_moves_its_memory_once() -> None:
    b, index = sam_bench({"name": "elr", "beta": 0.6, "lam": 2.0}, rho=0.3), torch.arange(8)
    stepping, memory = Stepping(b.method, b.phases()[0]), np.zeros((N, CLASSES))
    for _ in range(2):
        model, t = copy.deepcopy(b.models[0]), torch.from_numpy(memory[:8].copy())
        expected = sam.gradient(
            lambda p, model=model, t=t: elr_loss(tied(model, p, b.images[index]), LABELS[index], t, 0.6, 2.0), list(model.parameters()), 0.3
        )
        memory = elr.after_visit(memory, index.numpy(), logits_of(model, b.images[index]), 0.6)
        seen = stepping.step(b.batch(index))
        torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), expected, **CLOSE)
        assert seen[0].weights is not None
        np.testing.assert_allclose(seen[0].weights, memory[np.arange(8), LABELS[:8]], **CLOSE)


# Meta-Weight-Net


def net_of(b: Bench, hidden: int) -> dict[str, str]:
    """Names in the method of the weighting net's parameters, by what they are."""
    inside = {id(p) for model in b.models for p in model.parameters()}
    shapes = {(hidden, 1): "hidden weight", (hidden,): "hidden bias", (1, hidden): "output weight", (1,): "output bias"}
    return {shapes[tuple(p.shape)]: name for name, p in b.method.named_parameters() if id(p) not in inside}


def mwn_clean(size: int) -> Batch:
    return Batch(some_images(size, seed=9), some_labels(size, seed=9), torch.arange(size), source="clean")


@pytest.mark.parametrize("normalise", [True, False])
def test_meta_weight_net_is_the_unrolled_step(normalise: bool) -> None:
    hidden, asked = 100, []
    b = bench({"name": "meta_weight_net", "normalise": normalise, "clean_batch_size": 6}, LABELS, some_images(N))
    names, parameters = net_of(b, hidden), dict(b.method.named_parameters())
    stepping, adam = Stepping(b.method, b.phases()[0]), meta_weight_net.Adam()

    def draw(size: int) -> Batch:
        asked.append(size)
        return mwn_clean(size)

    for number in range(3):
        index = torch.arange(5 * number, 5 * number + 8) % N
        train = {"images": b.images[index], "labels": LABELS[index]}
        clean = {"images": mwn_clean(6).images, "labels": mwn_clean(6).labels}
        net = {part: parameters[name].detach().clone() for part, name in names.items()}
        expected = meta_weight_net.step(copy.deepcopy(b.models[0]), net, adam, train, clean, LR, normalise)
        seen = stepping.step(b.batch(index, _draw_clean=draw, clock=at(step=number)))
        meta = {part: g for each in seen for part, name in names.items() if (g := each.gradients.get(name)) is not None}
        torch.testing.assert_close(meta, expected.meta_gradient, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close({part: parameters[name].detach() for part, name in names.items()}, expected.net, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), list(expected.gradient.values()), **CLOSE)
        assert seen[-1].loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
        assert seen[-1].weights is not None
        torch.testing.assert_close(seen[-1].weights / seen[-1].weights.sum(), expected.weights / expected.weights.sum(), **CLOSE)
    assert asked == [6] * 3


def test_meta_weight_net_moves_running_statistics_as_one_plain_forward_does() -> None:
    b, index = bench({"name": "meta_weight_net", "clean_batch_size": 6}, LABELS, some_images(N)), torch.arange(8)
    plain = copy.deepcopy(b.models[0]).train()
    plain(b.images[index])
    Stepping(b.method, b.phases()[0]).step(b.batch(index, _draw_clean=mwn_clean))
    for (name, mine), theirs in zip(b.models[0].named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


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
    b, index = bench({"name": "ldam", **options}, SKEWED, some_images(N)), torch.tensor([0, 5, 14, 15, 18, 19])
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
    rows = torch.cat([epochs(phase, seed) for seed in range(steps)])[:steps]
    for row in rows:
        stepping.step(b.batch(row))


@pytest.mark.parametrize("stage", [0.2, 0.5])
def test_crt_has_a_second_phase_on_top_of_the_main_schedule(stage: float) -> None:
    _, first, second = crt_bench(stage=stage)
    assert (first.schedule.steps, second.schedule.steps) == (20, round(20 * stage))


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


def test_crt_keeps_its_backbone_in_the_real_trainer() -> None:
    settings = Settings(Schedules(main=Schedule(6, lr=LR)), batch_size=20, **{"momentum": 0.9, "weight_decay": 0.1})
    b = bench({"name": "crt", "stage": 0.5}, SKEWED, some_images(N))
    task = toy_task()
    task = replace(task, train=replace(task.train, images=task.train.images[:, :, :4, :4].contiguous()))
    small = {
        name: replace(part, images=part.images[:, :, :4, :4].contiguous())
        for name in ("test", "clean", "hyper_validation")
        for part in [getattr(task, name)]
    }
    trainer = Trainer(
        type(b.method)(stage=0.5), lambda classes, _: TinyNet(classes), replace(task, **small), settings, 0, torch.device("cpu")
    )
    snapshots = [{name: value.clone() for name, value in trainer.method.state_dict().items()} for _ in trainer.turns()]
    assert len(snapshots) == 9
    assert {name for name in crt.changed(snapshots[5], snapshots[8]) if "output" not in name} == set()
    assert any("output" in name for name in crt.changed(snapshots[5], snapshots[8]))
