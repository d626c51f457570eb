"""ELR, co-teaching, SAM and Meta-Weight-Net, through their public interface alone, against the slow references in tests/references."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch
from tests.by_hand import CLASSES, LR, Bare, Bench, Stepping, TinyNet, at, bench, gradient_of, some_images, some_labels
from tests.references import coteaching, elr, meta_weight_net, sam

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
        np.testing.assert_allclose(8 * found.example_weights.numpy(), t[np.arange(8), y], **CLOSE)


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


@pytest.mark.parametrize(
    ("options", "epoch"), [({"ramp_epochs": 4.0}, 2), ({"ramp_epochs": 4.0}, 4), ({"exponent": 2.0}, 5), ({"exponent": 2.0}, 10)]
)
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
        np.testing.assert_allclose(dict(b.method.named_buffers())["base.memory"].numpy(), memory, **CLOSE)


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
