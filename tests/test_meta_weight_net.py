"""Meta-Weight-Net against its definition: the look-ahead step unrolled, and backward on backward through it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from benchmark.models.resnet import ResNet
from benchmark.training.trainer import Trainer
from datasets.noise import NoNoise
from methods.base import Batch, Clock
from methods.baseline import Baseline
from methods.early_stopping import EarlyStopping
from methods.meta_weight_net import MetaWeightNet
from methods.sam import SAM
from methods.schedules import Optimiser, Schedules
from tests import by_hand
from tests.by_hand import Bench, Stepping, at, bench, gradient_of, some_images, some_labels
from tests.conftest import small_convnet, toy_task
from tests.references import meta_weight_net as reference
from tests.resuming import CPU, SETTINGS, trained

LR = 0.3


def images_and_labels(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 8, 8, generator=generator, dtype=torch.float64), torch.randint(3, (n,), generator=generator)


def batch_of(n: int, clean: tuple[torch.Tensor, torch.Tensor] | None = None, lr: float = LR) -> Batch:
    clean_batch = Batch(*(clean or images_and_labels(9, 2)))
    clock = Clock(10, lr=torch.tensor(lr, dtype=torch.float64))
    return Batch(*images_and_labels(n, 1), torch.arange(n), lambda _: clean_batch, clock=clock)


def small_resnet(classes: int, shape: torch.Size) -> nn.Module:
    return ResNet(classes, shape, units=1)


def method_on(make_model: Callable[[int, torch.Size], nn.Module] = small_convnet, normalise: bool = True) -> MetaWeightNet:
    """In float64, with a V that is steeper than at the start."""
    method = MetaWeightNet(hidden=7, normalise=normalise)
    Trainer(method, make_model, toy_task(), SETTINGS, 0, CPU)
    with torch.no_grad():
        for parameter in method.weighting.parameters():
            parameter.mul_(2)
    return method.double().train()


def unrolled(method: MetaWeightNet, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The clean loss after a plain step on the weighted loss, and its gradient by V, through the step."""
    model, V = copy.deepcopy(method.model), copy.deepcopy(method.weighting)
    theta = dict(model.named_parameters())
    losses = F.cross_entropy(functional_call(model, theta, (batch.images,)), batch.labels, reduction="none")
    values = V(losses.detach()[:, None])[:, 0]
    weights = values / values.sum() if method.normalise else values / len(values)
    gradients = torch.autograd.grad((weights * losses).sum(), list(theta.values()), create_graph=True)
    ahead = {name: theta[name] - batch.clock.lr * gradient for name, gradient in zip(theta, gradients, strict=True)}
    clean = batch.draw_clean(9)
    loss = F.cross_entropy(functional_call(model, ahead, (clean.images,)), clean.labels)
    named = dict(V.named_parameters())
    return loss, dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def meta_gradient(method: MetaWeightNet, batch: Batch) -> dict[str, torch.Tensor]:
    (phase,) = method.phases(Schedules())
    named = dict(method.weighting.named_parameters())
    loss = phase.updates[0].objective(batch)
    assert isinstance(loss, torch.Tensor)
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("make_model", [small_convnet, small_resnet])
def test_the_meta_gradient_equals_the_unrolled_one(make_model: Callable[[int, torch.Size], nn.Module], normalise: bool) -> None:
    method, batch = method_on(make_model, normalise), batch_of(11)
    _, expected = unrolled(method, batch)
    assert all(gradient.abs().max() > 1e-6 for gradient in expected.values())
    torch.testing.assert_close(meta_gradient(method, batch), expected, rtol=1e-8, atol=1e-12)


def net_of(b: Bench, hidden: int) -> dict[str, str]:
    """Names in the method of the weighting net's parameters, by what they are."""
    inside = {id(p) for model in b.models for p in model.parameters()}
    shapes = {(hidden, 1): "hidden weight", (hidden,): "hidden bias", (1, hidden): "output weight", (1,): "output bias"}
    return {shapes[tuple(p.shape)]: name for name, p in b.method.named_parameters() if id(p) not in inside}


def mwn_clean(size: int) -> Batch:
    return Batch(some_images(size, seed=9), some_labels(size, seed=9), torch.arange(size), source="clean")


@pytest.mark.parametrize("normalise", [True, False])
def test_steps_are_those_of_the_reference(normalise: bool) -> None:
    hidden, asked, labels = 100, [], some_labels(20, seed=3)
    b = bench({"name": "meta_weight_net", "normalise": normalise, "clean_batch_size": 6}, labels, some_images(20))
    names, parameters = net_of(b, hidden), dict(b.method.named_parameters())
    stepping, adam = Stepping(b.method, b.phases()[0]), reference.Adam()

    def draw(size: int) -> Batch:
        asked.append(size)
        return mwn_clean(size)

    for number in range(3):
        index = torch.arange(5 * number, 5 * number + 8) % 20
        train = {"images": b.images[index], "labels": labels[index]}
        clean = {"images": mwn_clean(6).images, "labels": mwn_clean(6).labels}
        net = {part: parameters[name].detach().clone() for part, name in names.items()}
        expected = reference.step(copy.deepcopy(b.models[0]), net, adam, train, clean, by_hand.LR, normalise)
        seen = stepping.step(b.batch(index, _draw_clean=draw, clock=at(step=number)))
        meta = {part: g for each in seen for part, name in names.items() if (g := each.gradients.get(name)) is not None}
        torch.testing.assert_close(meta, expected.meta_gradient, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close({part: parameters[name].detach() for part, name in names.items()}, expected.net, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), list(expected.gradient.values()), rtol=1e-6, atol=1e-9)
        assert seen[-1].loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
        weights = seen[-1].weights
        assert weights is not None
        torch.testing.assert_close(weights / weights.sum(), expected.weights / expected.weights.sum(), rtol=1e-6, atol=1e-9)
    assert asked == [6] * 3


def test_a_step_of_the_weighting_network_against_the_meta_gradient_makes_the_clean_loss_after_the_look_ahead_smaller() -> None:
    method, batch = method_on(), batch_of(11)
    before, _ = unrolled(method, batch)
    gradient = meta_gradient(method, batch)
    with torch.no_grad():
        for name, parameter in method.weighting.named_parameters():
            parameter -= 1e-3 * gradient[name]
    after, _ = unrolled(method, batch)
    slope = sum(float(part.square().sum()) for part in gradient.values())
    assert (before - after).item() == pytest.approx(1e-3 * slope, rel=1e-2)


def test_a_constant_weighting_that_is_normalised_is_plain_cross_entropy() -> None:
    method, batch = method_on(), batch_of(8)  # 1 / 8 is exact
    with torch.no_grad():
        for parameter in method.weighting.parameters():
            parameter.zero_()
    loss, weights = method.loss(batch)
    assert weights.tolist() == [1 / 8] * 8
    plain = F.cross_entropy(copy.deepcopy(method.model)(batch.images), batch.labels)
    torch.testing.assert_close(loss, plain, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("normalise", "sum_of_weights"), [(True, 1.0), (False, 0.5)])
def test_the_weights_of_a_weighting_of_one_half(normalise: bool, sum_of_weights: float) -> None:
    method = method_on(normalise=normalise)
    with torch.no_grad():
        for parameter in method.weighting.parameters():
            parameter.zero_()
    torch.testing.assert_close(method.loss(batch_of(10)).example_weights, torch.full((10,), sum_of_weights / 10, dtype=torch.float64))


@pytest.mark.parametrize("normalise", [True, False])
def test_where_no_example_s_gradient_meets_the_clean_one_the_weighting_network_has_no_gradient(normalise: bool) -> None:
    method = method_on(lambda classes, _: nn.Sequential(nn.Flatten(), nn.Linear(64, classes, bias=False)), normalise)
    batch = batch_of(6)
    left, right = batch.images.clone(), images_and_labels(9, 2)[0]
    left[..., :4], right[..., 4:] = 0, 0  # the images of the two batches light no common pixel
    clean = Batch(right, images_and_labels(9, 2)[1])
    batch = replace(batch, images=left, _draw_clean=lambda _: clean)
    assert all((gradient == 0).all() for gradient in meta_gradient(method, batch).values())


def test_permuting_the_batch_permutes_the_weights() -> None:
    method, batch = method_on(), batch_of(11)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    permuted = replace(batch, images=batch.images[order], labels=batch.labels[order])
    weights = method.loss(batch).example_weights
    torch.testing.assert_close(method.loss(permuted).example_weights, weights[order])
    assert weights.std() > 0.01 / 11


def test_the_update_of_the_model_sees_weights_as_constants() -> None:
    method = method_on()
    found = method.loss(batch_of(11))
    assert not found.example_weights.requires_grad
    found.loss.backward()
    assert all(parameter.grad is None for parameter in method.weighting.parameters())
    assert all(parameter.grad is not None for parameter in method.model.parameters())


def test_logits_of_the_first_update_serve_the_second_as_computed_ones_do() -> None:
    method, batch = method_on(), batch_of(11)
    fresh = copy.deepcopy(method)
    fresh.loss(replace(batch, shared={})).loss.backward()
    meta_gradient(method, batch)
    assert "logits" in batch.shared
    method.loss(batch).loss.backward()
    expected = {name: parameter.grad for name, parameter in fresh.model.named_parameters()}
    found = {name: parameter.grad for name, parameter in method.model.named_parameters()}
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(dict(method.named_buffers()), dict(fresh.named_buffers()))  # batch norm's averages move once


def test_batch_norm_sees_each_training_batch_once() -> None:
    method = trained(MetaWeightNet).method
    assert {int(value) for name, value in method.named_buffers() if name.endswith("num_batches_tracked")} == {10}


class Recorded(MetaWeightNet):
    """Keeps the batches of its steps, and the clean ones."""

    def __init__(self) -> None:
        super().__init__(lr=0.01, weight_decay=0.1)
        self.steps: list[Batch] = []

    def _clean_loss_ahead(self, batch: Batch) -> torch.Tensor:
        clean = batch.draw_clean(self.clean_batch_size)
        kept = replace(batch, _draw_clean=lambda _: clean, clock=Clock(10, lr=batch.clock.lr.clone()))
        self.steps.append(kept)
        return super()._clean_loss_ahead(replace(batch, _draw_clean=lambda _: clean))


def test_training_is_that_of_the_definition_by_torch_s_optimisers() -> None:
    """Double backward in float64, Adam with decay of weights and not of biases, SGD with momentum, in this order."""
    method = Recorded()
    settings = replace(SETTINGS, optimiser=Optimiser(momentum=0.9, weight_decay=0.05))
    trainer = Trainer(method, small_convnet, toy_task(), settings, 1, CPU)
    by_hand = copy.deepcopy(method).double()
    trainer.run()
    V, model = by_hand.weighting, by_hand.model
    adam = torch.optim.Adam([{"params": [V[0].weight, V[2].weight], "weight_decay": 0.1}, {"params": [V[0].bias, V[2].bias]}], lr=0.01)
    decayed = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    others = [parameter for parameter in model.parameters() if all(parameter is not other for other in decayed)]
    sgd = torch.optim.SGD([{"params": decayed, "weight_decay": 0.05}, {"params": others}], lr=0.05, momentum=0.9)
    for step in method.steps:
        as_double = replace(step.draw_clean(0), images=step.draw_clean(0).images.double())
        batch = replace(step, images=step.images.double(), _draw_clean=lambda _, clean=as_double: clean)
        _, gradient = unrolled(by_hand, batch)
        for name, parameter in V.named_parameters():
            parameter.grad = gradient[name]
        adam.step()
        losses = F.cross_entropy(model(batch.images), batch.labels, reduction="none")
        values = V(losses.detach()[:, None])[:, 0].detach()
        sgd.zero_grad()
        (values / values.sum() * losses).sum().backward()
        for group in sgd.param_groups:
            group["lr"] = step.clock.lr.item()
        sgd.step()
    assert len(method.steps) == 10
    expected = {name: value.float() if value.is_floating_point() else value for name, value in by_hand.state_dict().items()}
    torch.testing.assert_close(dict(method.state_dict()), expected, rtol=1e-3, atol=1e-4)


def test_an_unlearnt_constant_weighting_trains_as_the_baseline_does() -> None:
    class Constant(MetaWeightNet):
        def weights(self, losses: torch.Tensor) -> torch.Tensor:
            return torch.full_like(losses, 1 / len(losses)) + 0 * self.weighting(losses.detach()[:, None]).sum()

    constant, plain = trained(Constant).method, trained(Baseline).method
    found = {name: value for name, value in constant.state_dict().items() if name.startswith("model.")}
    torch.testing.assert_close(found, plain.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_step_sees_clean_batch_size_clean_images_at_most_all() -> None:
    sizes = []

    class Spy(MetaWeightNet):
        def _clean_loss_ahead(self, batch: Batch) -> torch.Tensor:
            sizes.append(len(batch.draw_clean(self.clean_batch_size).labels))
            return super()._clean_loss_ahead(batch)

    for size in (4, 100):
        trained(lambda size=size: Spy(clean_batch_size=size), toy_task(NoNoise()))  # has 15 clean images
    assert sizes == [4] * 10 + [15] * 10


@pytest.mark.parametrize("wrap", [EarlyStopping, lambda base: SAM(base, rho=0.0)], ids=["+ES", "SAM of radius zero"])
def test_a_wrapper_leaves_it_as_it_is(wrap: Callable[[MetaWeightNet], EarlyStopping | SAM]) -> None:
    settings = replace(SETTINGS, schedules=replace(SETTINGS.schedules, early_stopping=SETTINGS.schedules.main))
    plain, wrapped = trained(MetaWeightNet, settings=settings), trained(lambda: wrap(MetaWeightNet()), settings=settings)
    torch.testing.assert_close(wrapped.method.get_submodule("base").state_dict(), plain.method.state_dict(), rtol=1e-4, atol=1e-6)
