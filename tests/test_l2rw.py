"""L2RW's weights against the paper's own formulation: a lookahead step unrolled, and backward on backward through it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from benchmark.models.convnet import ConvNet
from benchmark.models.fastnet import FastNet
from benchmark.models.lenet import LeNet
from benchmark.models.mlp import MLP
from benchmark.models.preact_resnet import PreActResNet18
from benchmark.models.resnet import ResNet
from benchmark.training.trainer import Settings, Trainer
from datasets.augment import Preprocessing
from datasets.task import Examples
from methods.base import Batch
from methods.l2rw import L2RW
from methods.meta_gradient import clean_gradient, logits_along, slopes
from methods.schedules import Optimiser, Schedule, Schedules
from tests.conftest import toy_task

CPU = torch.device("cpu")


def batch_of(n: int, shape: tuple[int, ...], classes: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return Batch(images, torch.randint(0, classes, (n,), generator=generator), torch.arange(n))


def as_type(batch: Batch, dtype: torch.dtype) -> Batch:
    return replace(batch, images=batch.images.to(dtype))


def method_on(model: nn.Module, **options: float) -> L2RW:
    method = L2RW(**options)  # type: ignore[arg-type]
    method.model = model.train()
    return method


def unrolled_weights(model: nn.Module, batch: Batch, clean: Batch, step_size: float = 1.0, weight_decay: float = 0.0) -> torch.Tensor:
    """Algorithm 1 of the paper, literally: eps = 0, a step on sum_i eps_i f_i, the clean loss there, its gradient in eps."""
    model = copy.deepcopy(model).double().train()
    theta = dict(model.named_parameters())
    eps = torch.zeros(len(batch.labels), dtype=torch.float64, requires_grad=True)
    f = F.cross_entropy(functional_call(model, theta, (batch.images.double(),)), batch.labels, reduction="none")
    gradients = torch.autograd.grad((eps * f).sum(), list(theta.values()), create_graph=True)
    lookahead = {name: theta[name] - step_size * gradient for name, gradient in zip(theta, gradients, strict=True)}
    clean_loss = F.cross_entropy(functional_call(model, lookahead, (clean.images.double(),)), clean.labels)
    decayed = (value for name, value in lookahead.items() if name.endswith("weight") and theta[name].ndim > 1)
    clean_loss = clean_loss + weight_decay / 2 * sum(value.square().sum() for value in decayed)
    (gradient,) = torch.autograd.grad(clean_loss, eps)
    w = (-gradient).clamp(min=0)
    return w / w.sum() if w.sum() > 0 else w


def perturbed_weights(model: nn.Module, batch: Batch, clean: Batch) -> torch.Tensor:
    """The same with no second derivative: the clean loss a small step either way along each example's own gradient."""
    model = copy.deepcopy(model).double().train()
    theta = dict(model.named_parameters())
    f = F.cross_entropy(model(batch.images.double()), batch.labels, reduction="none")

    def clean_loss(step: float, gradients: tuple[torch.Tensor, ...]) -> float:
        moved = {name: theta[name] - step * gradient for name, gradient in zip(theta, gradients, strict=True)}
        return F.cross_entropy(functional_call(model, moved, (clean.images.double(),)), clean.labels).item()

    u = []
    for loss in f:
        gradients = torch.autograd.grad(loss, list(theta.values()), retain_graph=True)
        h = 1e-6 / sum(gradient.square().sum().item() for gradient in gradients) ** 0.5  # theta moves by 1e-6: no kink is near
        u.append((clean_loss(-h, gradients) - clean_loss(h, gradients)) / (2 * h))
    w = torch.tensor(u, dtype=torch.float64).clamp(min=0)
    return w / w.sum()


def conv_model_with_everything() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),  # with a bias
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )


MODELS = {
    "lenet": (lambda: LeNet(10, torch.Size((1, 28, 28))), (1, 28, 28), 10),
    "lenet of two classes": (lambda: LeNet(2, torch.Size((1, 28, 28))), (1, 28, 28), 2),
    "convnet": (lambda: ConvNet(10, torch.Size((1, 8, 8)), width=4), (1, 8, 8), 10),
    "paper resnet": (lambda: ResNet(10, torch.Size((3, 16, 16)), units=1), (3, 16, 16), 10),
    "standard resnet": (lambda: ResNet(10, torch.Size((3, 16, 16)), units=1, variant="standard"), (3, 16, 16), 10),
    "wide standard resnet": (lambda: ResNet(10, torch.Size((3, 8, 8)), units=1, widen=2, variant="standard"), (3, 8, 8), 10),
    "mlp": (lambda: MLP(10, torch.Size((1, 8, 8)), hidden=[30, 20]), (1, 8, 8), 10),
    "preact resnet": (lambda: PreActResNet18(10, torch.Size((3, 16, 16)), width=4), (3, 16, 16), 10),
    "fastnet": (lambda: FastNet(10, torch.Size((3, 16, 16)), width=4), (3, 16, 16), 10),
    "conv, batch norm, group norm": (conv_model_with_everything, (1, 8, 8), 3),
}
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}  # of the largest weight


def scene(name: str, n: int = 10, clean: int = 8, seed: int = 0) -> tuple[nn.Module, Batch, Batch]:
    make_model, shape, classes = MODELS[name]
    torch.manual_seed(seed)
    return make_model(), batch_of(n, shape, classes, seed + 1), batch_of(clean, shape, classes, seed + 2)


def assert_weights(weights: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.max() > 0
    error = (weights.double() - expected).abs().max() / expected.max()
    assert error <= TOLERANCE[weights.dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_weights_equal_the_unrolled_meta_gradient(name: str, dtype: torch.dtype) -> None:
    model, batch, clean = scene(name)
    expected = unrolled_weights(model, batch, clean)
    _, weights = method_on(model.to(dtype)).losses_and_weights(as_type(batch, dtype), as_type(clean, dtype))
    assert_weights(weights, expected)


def test_an_example_whose_gradient_opposes_the_clean_one_weighs_nothing() -> None:
    model, _, clean = scene("lenet of two classes", clean=1)
    image, label = clean.images, clean.labels
    batch = Batch(image.repeat(2, 1, 1, 1), torch.cat([label, 1 - label]), torch.arange(2))  # of one logit: opposite gradients
    _, weights = method_on(model.double()).losses_and_weights(batch, clean)
    assert weights.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_weights_equal_the_unrolled_meta_gradient_on_resnet32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, batch, clean = ResNet(10, torch.Size((3, 8, 8)), units=5), batch_of(8, (3, 8, 8), 10, 1), batch_of(6, (3, 8, 8), 10, 2)
    expected = unrolled_weights(model, batch, clean)
    _, weights = method_on(model.to(dtype)).losses_and_weights(as_type(batch, dtype), as_type(clean, dtype))
    assert_weights(weights, expected)


def test_weights_equal_the_unrolled_meta_gradient_after_some_training() -> None:
    model, batch, clean = scene("paper resnet")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimiser.zero_grad()
        F.cross_entropy(model(batch.images.float()), batch.labels).backward()
        optimiser.step()
    expected = unrolled_weights(model, batch, clean)
    _, weights = method_on(model.double()).losses_and_weights(batch, clean)
    assert_weights(weights, expected)


@pytest.mark.parametrize("name", ["lenet", "paper resnet", "convnet"])
def test_weights_equal_finite_differences_of_the_clean_loss(name: str) -> None:
    model, batch, clean = scene(name, n=6, seed=3)
    expected = perturbed_weights(model, batch, clean)
    _, weights = method_on(model.double()).losses_and_weights(batch, clean)
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("step_size", [1e-3, 1.0, 50.0])
def test_the_lookahead_step_size_cancels(step_size: float) -> None:
    model, batch, clean = scene("convnet")
    expected = unrolled_weights(model, batch, clean, step_size)
    _, weights = method_on(model.double()).losses_and_weights(batch, clean)
    assert_weights(weights, expected)


@pytest.mark.parametrize("name", ["lenet", "paper resnet", "standard resnet", "conv, batch norm, group norm"])
def test_meta_weight_decay_is_that_of_a_clean_loss_with_an_l2_penalty(name: str) -> None:
    model, batch, clean = scene(name)
    decay = 10.0  # large, so that it shows
    expected = unrolled_weights(model, batch, clean, weight_decay=decay)
    _, weights = method_on(model.double(), meta_weight_decay=decay).losses_and_weights(batch, clean)
    assert_weights(weights, expected)
    assert (weights - unrolled_weights(model, batch, clean)).abs().max() > 1e-3


def test_meta_weight_decay_adds_to_weights_of_convolutions_and_linear_layers_only() -> None:
    model, _, clean = scene("conv, batch norm, group norm")
    model.double()
    without, with_decay = (clean_gradient(model, clean.images, clean.labels, decay) for decay in (0.0, 0.25))
    for name, parameter in model.named_parameters():
        expected = 0.25 * parameter if name in ("0.weight", "6.weight") else torch.zeros_like(parameter)
        torch.testing.assert_close(with_decay[name] - without[name], expected.detach())


def test_meta_weight_decay_leaves_frozen_layers_alone() -> None:
    model, batch, clean = scene("convnet")
    model.double().body.stage1[0].weight.requires_grad_(False)
    _, weights = method_on(model, meta_weight_decay=0.1).losses_and_weights(batch, clean)
    torch.testing.assert_close(weights.sum().item(), 1.0)


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias"])
def test_frozen_parameters_take_no_part_in_the_weights(frozen: str) -> None:
    model, batch, clean = scene("conv, batch norm, group norm", seed=5)
    model.double().get_parameter(frozen).requires_grad_(False)
    expected = _weights_from_per_example_gradients(model, batch, clean)
    _, weights = method_on(model).losses_and_weights(batch, clean)
    torch.testing.assert_close(weights, expected)


def _weights_from_per_example_gradients(model: nn.Module, batch: Batch, clean: Batch) -> torch.Tensor:
    model = copy.deepcopy(model).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    g = torch.autograd.grad(F.cross_entropy(model(clean.images), clean.labels), trained)
    f = F.cross_entropy(model(batch.images), batch.labels, reduction="none")
    rows = [torch.autograd.grad(loss, trained, retain_graph=True) for loss in f]
    u = torch.stack([sum((a * b).sum() for a, b in zip(row, g, strict=True)) for row in rows]).clamp(min=0)
    return u / u.sum()


def test_a_parameter_that_the_loss_does_not_reach_is_no_obstacle() -> None:
    model, batch, clean = scene("convnet")
    expected = unrolled_weights(model, batch, clean)
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    _, weights = method_on(model.double()).losses_and_weights(batch, clean)
    assert_weights(weights, expected)


def test_weights_sum_to_one_and_carry_no_gradient() -> None:
    model, batch, clean = scene("paper resnet")
    f, weights = method_on(model.double()).losses_and_weights(batch, clean)
    assert f.requires_grad
    assert not weights.requires_grad
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum().item(), 1.0)


@pytest.mark.parametrize("name", ["lenet", "paper resnet", "standard resnet"])
def test_the_update_is_that_of_the_losses_with_constant_weights(name: str) -> None:
    model, batch, clean = scene(name)
    w = unrolled_weights(model, batch, clean)
    plain = copy.deepcopy(model).double().train()
    expected_loss = (w * F.cross_entropy(plain(batch.images), batch.labels, reduction="none")).sum()
    expected = torch.autograd.grad(expected_loss, list(plain.parameters()))
    loss, _ = method_on(model.double()).loss(replace(batch, _draw_clean=lambda _: clean))
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(torch.autograd.grad(loss, list(model.parameters())), expected)


@pytest.mark.parametrize("name", ["convnet", "paper resnet", "standard resnet", "conv, batch norm, group norm"])
def test_running_statistics_move_as_in_a_plain_forward_of_the_training_batch(name: str) -> None:
    model, batch, clean = scene(name)
    model.double().train()
    model(clean.images * 3)  # so that they do not start from zero and one
    plain = copy.deepcopy(model)
    plain(batch.images)
    method_on(model).loss(replace(batch, _draw_clean=lambda _: clean)).loss.backward()
    expected = dict(plain.named_buffers())
    moving = [key for key in expected if "running" in key or "num_batches" in key]
    assert moving
    for key in moving:
        torch.testing.assert_close(model.get_buffer(key), expected[key])


def test_the_clean_pass_uses_batch_statistics_and_leaves_running_ones_alone() -> None:
    model, _, clean = scene("paper resnet")
    model.double().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradient = clean_gradient(model, clean.images, clean.labels)
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)
    loss = F.cross_entropy(model(clean.images), clean.labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(list(gradient.values()), list(expected))
    model(clean.images)
    assert model.body.stem[1].num_batches_tracked == 2  # batch norm tracks again afterwards


def test_batch_norm_tracks_again_when_the_clean_pass_fails() -> None:
    model, _, clean = scene("convnet")
    model.double().train()
    with pytest.raises(RuntimeError):
        clean_gradient(model, clean.images[:, :, :, :, None], clean.labels)
    model(clean.images)
    assert model.body.stage1[1].num_batches_tracked == 1


def test_dropout_masks_of_the_update_are_those_of_the_weights() -> None:
    """f and u come from one pass: with the pass's mask known, both equal those of the masked model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3)).double().train()
    batch = batch_of(8, (1, 8, 8), 3, 1)
    direction = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}

    def losses(scale: float) -> torch.Tensor:
        torch.manual_seed(7)
        moved = {name: parameter + scale * direction[name] for name, parameter in model.named_parameters()}
        return F.cross_entropy(functional_call(model, moved, (batch.images,)), batch.labels, reduction="none").detach()

    torch.manual_seed(7)
    z, dz = logits_along(model, batch.images, direction)
    f, u = F.cross_entropy(z, batch.labels, reduction="none"), slopes(z, dz, batch.labels)
    torch.testing.assert_close(f.detach(), losses(0.0))
    torch.testing.assert_close(u, (losses(1e-6) - losses(-1e-6)) / 2e-6, rtol=1e-6, atol=1e-6)


def contradicting_examples(n: int = 6) -> tuple[Examples, Examples]:
    """Return training images with label 1 that have label 0 in the clean set: their gradients are exactly opposite to the clean one."""
    picture = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).mul(15).repeat(n, 1, 1, 1)
    right, wrong = torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.int64)
    return Examples(picture, wrong, right), Examples(picture, right, right)


def test_all_zero_weights_make_a_zero_loss_with_a_zero_gradient() -> None:
    train, clean = contradicting_examples()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    bad, good = (Batch(Preprocessing().normalise(part.images), part.labels, torch.arange(6)) for part in (train, clean))
    loss, _ = method_on(model).loss(replace(bad, _draw_clean=lambda _: good))
    loss.backward()
    assert loss.item() == 0
    assert all((parameter.grad == 0).all() for parameter in model.parameters())


def test_with_all_zero_weights_momentum_and_weight_decay_still_act() -> None:
    train, clean = contradicting_examples()
    others = {"clean": clean, "test": clean, "hyper_validation": clean}
    task = replace(toy_task(), train=train, **others, classes=("right", "wrong"), transition_matrix=torch.eye(2).double())
    lr, momentum, decay, steps = 0.1, 0.9, 0.05, 4
    settings = Settings(Schedules(Schedule(steps, lr)), 6, Optimiser(momentum=momentum, weight_decay=decay))
    trainer = Trainer(L2RW(), lambda classes, _: nn.Sequential(nn.Flatten(), nn.Linear(16, classes)), task, settings, 0, CPU)
    weight, bias = (parameter.detach().clone() for parameter in trainer.method.parameters())
    trainer.run()
    velocity = torch.zeros_like(weight)
    for _ in range(steps):
        velocity = momentum * velocity + decay * weight
        weight = weight - lr * velocity
    torch.testing.assert_close([*trainer.method.parameters()], [weight, bias], check_stride=False)


def test_a_step_sees_clean_batch_size_clean_images_at_most_all() -> None:
    drawn = []

    class Spy(L2RW):
        def losses_and_weights(self, batch: Batch, clean: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            drawn.append((len(batch.labels), len(clean.labels)))
            return super().losses_and_weights(batch, clean)

    task = toy_task(hyper_validation=0)  # has 15 clean images
    for size in (4, 100):
        settings = Settings(Schedules(Schedule(2)), batch_size=20)
        Trainer(Spy(clean_batch_size=size), lambda classes, shape: ConvNet(classes, shape, width=2), task, settings, 0, CPU).run()
    assert drawn == [(20, 4)] * 2 + [(20, 15)] * 2
