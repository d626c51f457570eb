"""Meta-gradients against backward through an unrolled training step, for everything that enters the training loss by the logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from methods.base import decayed_weights, normalised
from methods.meta_gradient import LossOfLogits, Parameters, clean_gradient, gradient, logits_along, lookahead, meta_objective, slopes

CLASSES, LR, MOMENTUM, DECAY = 4, 0.3, 0.9, 0.05
Images = tuple[torch.Tensor, torch.Tensor]
Case = Callable[[torch.Tensor, torch.Tensor], tuple[LossOfLogits, list[torch.Tensor]]]  # of images and labels: L_train and lam


def conv_net() -> nn.Module:
    layers = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.Tanh())
    return nn.Sequential(*layers, nn.Linear(6, CLASSES)).double().train()


def scene() -> tuple[nn.Module, Images, Images]:
    torch.manual_seed(0)
    train, clean = ((torch.randn(n, 2, 5, 5).double(), torch.randint(CLASSES, (n,))) for n in (9, 7))
    return conv_net(), train, clean


def losses_of(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(z, labels, reduction="none")


def mean(weights: torch.Tensor) -> torch.Tensor:
    return weights / len(weights)


def example_weights(images: torch.Tensor, labels: torch.Tensor) -> tuple[LossOfLogits, list[torch.Tensor]]:
    w = torch.rand(len(labels)).double().requires_grad_()
    return lambda z: (w * losses_of(z, labels)).sum(), [w]


def soft_labels(images: torch.Tensor, labels: torch.Tensor) -> tuple[LossOfLogits, list[torch.Tensor]]:
    q = torch.rand(len(labels), CLASSES).double().requires_grad_()  # rows need not sum to one
    return lambda z: F.cross_entropy(z, q), [q]


def label_network(images: torch.Tensor, labels: torch.Tensor) -> tuple[LossOfLogits, list[torch.Tensor]]:
    features = torch.cat([images.flatten(1), F.one_hot(labels, CLASSES)], dim=1)
    network = nn.Sequential(nn.Linear(features.shape[1], 8), nn.Tanh(), nn.Linear(8, CLASSES), nn.Softmax(dim=1)).double()
    return lambda z: F.cross_entropy(z, network(features)), list(network.parameters())


def weighting_network(detached: bool, scaled: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    def case(images: torch.Tensor, labels: torch.Tensor) -> tuple[LossOfLogits, list[torch.Tensor]]:
        network = nn.Sequential(nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 1), nn.Sigmoid()).double()

        def train_loss(z: torch.Tensor) -> torch.Tensor:
            f = losses_of(z, labels)
            return scaled(network((f.detach() if detached else f)[:, None])[:, 0]) @ f

        return train_loss, list(network.parameters())

    return case


def adjusted_logits(images: torch.Tensor, labels: torch.Tensor) -> tuple[LossOfLogits, list[torch.Tensor]]:
    shift, scale = torch.randn(CLASSES).double().requires_grad_(), torch.rand(CLASSES).double().requires_grad_()
    return lambda z: F.cross_entropy(z * scale + shift, labels), [shift, scale]


CASES: dict[str, Case] = {
    "example weights": example_weights,
    "soft labels": soft_labels,
    "a label-correcting network": label_network,
    "logit adjustment": adjusted_logits,
} | {
    f"a weighting network, {name}, {'detached' if detached else 'not detached'}": weighting_network(detached, scaled)
    for name, scaled in (("mean", mean), ("normalised", normalised))
    for detached in (True, False)
}
STEPS = {
    "plain": {},
    "momentum and weight decay": {"momentum": MOMENTUM, "weight_decay": DECAY},
    "Nesterov and weight decay": {"momentum": MOMENTUM, "weight_decay": DECAY, "nesterov": True},
}
LAST_LAYER = ("7.weight", "7.bias")


def random_buffers(model: nn.Module) -> Parameters:
    return {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}


def unrolled(
    model: nn.Module, train: Images, clean: Images, train_loss: LossOfLogits, lams: list[torch.Tensor], step: dict, buffers: Parameters
) -> tuple[torch.Tensor, ...]:
    """The gradient of the clean loss by lam, through a step of SGD that is part of the graph; it moves the parameters of `buffers`."""
    theta = {name: parameter.detach().requires_grad_() for name, parameter in model.named_parameters()}
    loss = train_loss(functional_call(model, theta, (train[0],)))
    moved = {}
    for name, buffer in buffers.items():
        (d,) = torch.autograd.grad(loss, theta[name], create_graph=True)
        if "weight_decay" in step and theta[name].ndim > 1:
            d = d + step["weight_decay"] * theta[name]
        b = step.get("momentum", 0) * buffer + d
        moved[name] = theta[name] - LR * (d + step["momentum"] * b if "nesterov" in step else b)
    return torch.autograd.grad(F.cross_entropy(functional_call(model, theta | moved, (clean[0],)), clean[1]), lams)


def by_forward_mode(
    model: nn.Module, train: Images, clean: Images, train_loss: LossOfLogits, lams: list[torch.Tensor], step: dict, buffers: Parameters
) -> tuple[torch.Tensor, ...]:
    at = {name: model.get_parameter(name) for name in buffers}
    theta, size = lookahead(model, gradient(model, train[0], train_loss, at), LR, buffers=buffers, **step)
    z, dz = logits_along(model, train[0], clean_gradient(model, *clean, at=theta))
    return torch.autograd.grad(meta_objective(train_loss, z, dz, size), lams)


def assert_same(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 0
        assert (one - other).abs().max() <= 1e-8 * other.abs().max()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("case", CASES)
def test_meta_gradients_equal_those_through_an_unrolled_step(case: str, step: str) -> None:
    model, train, clean = scene()
    problem = (model, train, clean, *CASES[case](*train), STEPS[step], random_buffers(model))
    assert_same(by_forward_mode(*problem), unrolled(*problem))


@pytest.mark.parametrize("case", CASES)
def test_a_lookahead_of_the_last_layer_alone_is_exact_too(case: str) -> None:
    model, train, clean = scene()
    buffers = {name: torch.randn_like(model.get_parameter(name)) for name in LAST_LAYER}
    problem = (model, train, clean, *CASES[case](*train), STEPS["Nesterov and weight decay"], buffers)
    assert_same(by_forward_mode(*problem), unrolled(*problem))


@pytest.mark.parametrize("step", STEPS)
def test_a_lookahead_moves_as_pytorch_does_and_leaves_the_model_alone(step: str) -> None:
    model, (images, labels), _ = scene()
    decayed = decayed_weights(model)
    decay = STEPS[step].get("weight_decay", 0.0)
    split = {share: [p for name, p in model.named_parameters() if (name in decayed) == bool(share)] for share in (1, 0)}
    groups = [{"params": parameters, "weight_decay": share * decay} for share, parameters in split.items()]
    optimiser = torch.optim.SGD(groups, LR, STEPS[step].get("momentum", 0.0), nesterov="nesterov" in STEPS[step])
    buffers = None
    for _ in range(3):
        g = gradient(model, images, lambda z: F.cross_entropy(z, labels))
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        theta, _ = lookahead(model, g, LR, buffers=buffers, **STEPS[step])
        assert all(parameter.equal(before[name]) for name, parameter in model.named_parameters())
        for name, parameter in model.named_parameters():
            parameter.grad = g[name]
        optimiser.step()
        torch.testing.assert_close(theta, {name: parameter.detach() for name, parameter in model.named_parameters()})
        buffers = {name: optimiser.state[p].get("momentum_buffer", torch.zeros_like(p)) for name, p in model.named_parameters()}


def test_the_learning_rate_may_lie_on_the_device() -> None:
    model, (images, labels), _ = scene()
    g = gradient(model, images, lambda z: F.cross_entropy(z, labels))
    by_number, by_tensor = (lookahead(model, g, lr, MOMENTUM, nesterov=True) for lr in (LR, torch.tensor(LR).double()))
    torch.testing.assert_close(by_tensor[0], by_number[0])
    assert by_tensor[1].item() == pytest.approx(by_number[1]) == pytest.approx(LR * (1 + MOMENTUM))


def test_a_lookahead_keeps_the_strides_of_the_parameters() -> None:
    """A convolution of one channel in channels-last memory is of either layout; sums choose the other, and slow the pass down."""
    model = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
    theta, _ = lookahead(model, {"weight": torch.ones(4, 1, 3, 3), "bias": torch.ones(4)}, LR)
    assert theta["weight"].stride() == model.weight.stride() != torch.empty(4, 1, 3, 3).stride()


def slopes_at(theta: Parameters | None, model: nn.Module, train: Images, clean: Images) -> torch.Tensor:
    return slopes(*logits_along(model, train[0], clean_gradient(model, *clean, at=theta)), train[1])


def test_slopes_are_the_meta_gradient_of_weights() -> None:
    model, train, clean = scene()
    train_loss, lams = example_weights(*train)
    theta, step = lookahead(model, gradient(model, train[0], train_loss), LR)
    (expected,) = unrolled(model, train, clean, train_loss, lams, {}, random_buffers(model))
    assert_same((-step * slopes_at(theta, model, train, clean),), (expected,))


def test_the_gradient_of_slopes_of_soft_labels_is_their_meta_gradient() -> None:
    model, train, clean = scene()
    train_loss, (q,) = soft_labels(*train)
    theta, step = lookahead(model, gradient(model, train[0], train_loss), LR)
    z, dz = logits_along(model, train[0], clean_gradient(model, *clean, at=theta))
    expected = unrolled(model, train, clean, train_loss, [q], {}, random_buffers(model))
    assert_same(torch.autograd.grad(-step * slopes(z, dz, q).mean(), q), expected)


def test_slopes_of_labels_are_those_of_certain_soft_labels() -> None:
    torch.manual_seed(0)
    z, dz, labels = torch.randn(5, CLASSES), torch.randn(5, CLASSES), torch.randint(CLASSES, (5,))
    torch.testing.assert_close(slopes(z, dz, F.one_hot(labels, CLASSES)), slopes(z, dz, labels))


def test_slopes_along_the_last_layer_are_the_products_with_its_features() -> None:
    model, (images, labels), clean = scene()
    v = clean_gradient(model, *clean, at={name: model.get_parameter(name) for name in LAST_LAYER})
    z, dz = logits_along(model, images, v)
    h = model[:-1](images)
    residuals = F.softmax(z, dim=1) - F.one_hot(labels, CLASSES)
    expected = (residuals * (h @ v["7.weight"].T + v["7.bias"])).sum(dim=1)
    assert_same((slopes(z, dz, labels),), (expected.detach(),))


def test_what_does_not_affect_the_loss_has_no_meta_gradient() -> None:
    model, train, clean = scene()
    labels = train[1].clamp(max=CLASSES - 2)
    class_weights = torch.rand(CLASSES).double().requires_grad_()
    z, dz = logits_along(model, train[0], clean_gradient(model, *clean))
    (found,) = torch.autograd.grad(meta_objective(lambda z: class_weights[labels] @ losses_of(z, labels), z, dz, LR), class_weights)
    assert found[-1] == 0
    assert (found[:-1] != 0).all()


def test_after_a_vanishing_step_slopes_are_those_at_the_parameters_themselves() -> None:
    model, train, clean = scene()
    g = gradient(model, train[0], lambda z: F.cross_entropy(z, train[1]))
    at_theta = slopes_at(None, model, train, clean)
    torch.testing.assert_close(slopes_at(lookahead(model, g, 0.0)[0], model, train, clean), at_theta, rtol=0, atol=0)
    torch.testing.assert_close(slopes_at(lookahead(model, g, 1e-9)[0], model, train, clean), at_theta, rtol=1e-6, atol=1e-8)
    assert (slopes_at(lookahead(model, g, LR)[0], model, train, clean) - at_theta).abs().max() > 1e-3


def test_of_the_clean_batch_itself_the_mean_slope_is_the_squared_length_of_its_gradient() -> None:
    model, _, clean = scene()
    v = clean_gradient(model, *clean)
    assert slopes_at(None, model, clean, clean).mean().item() == pytest.approx(sum(part.square().sum().item() for part in v.values()))


def test_an_example_that_the_clean_set_contradicts_has_a_negative_slope() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    nn.init.zeros_(model[1].weight)
    images = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [-1, 0, 0, 0]]).double()
    clean = (images, torch.tensor([0, 0, 1]))
    u = slopes_at(None, model, (images, torch.tensor([0, 1, 1])), clean)  # the second label is flipped
    assert (u > 0).tolist() == [True, False, True]
    assert u[1] < 0


def test_the_value_of_the_meta_objective_is_the_first_order_change_of_the_clean_loss() -> None:
    model, train, clean = scene()
    step, theta = 1e-6, {name: parameter.detach() for name, parameter in model.named_parameters()}
    g = gradient(model, train[0], lambda z: F.cross_entropy(z, train[1]))
    moved = lookahead(model, g, step)[0]
    z, dz = logits_along(model, train[0], clean_gradient(model, *clean, at=moved))
    after, before = (F.cross_entropy(functional_call(model, point, (clean[0],)), clean[1]).item() for point in (moved, theta))
    found = meta_objective(lambda z: F.cross_entropy(z, train[1]), z, dz, step)
    assert found.item() == pytest.approx(after - before, rel=1e-4)


def test_the_meta_objective_leaves_the_model_and_its_graph_to_the_update() -> None:
    model, train, clean = scene()
    train_loss, lams = CASES["a weighting network, normalised, not detached"](*train)
    z, dz = logits_along(model, train[0], clean_gradient(model, *clean))
    objective = meta_objective(train_loss, z, dz, LR)
    trained = list(model.parameters())
    assert torch.autograd.grad(objective, trained, retain_graph=True, allow_unused=True) == (None,) * len(trained)
    torch.autograd.grad(objective, lams)
    expected = torch.autograd.grad(F.cross_entropy(model(train[0]), train[1]), trained)
    torch.testing.assert_close(torch.autograd.grad(F.cross_entropy(z, train[1]), trained), expected)


def test_only_the_ordinary_pass_moves_running_averages_and_it_moves_them_once() -> None:
    model, train, clean = scene()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    theta, _ = lookahead(model, gradient(model, train[0], lambda z: F.cross_entropy(z, train[1])), LR)
    v = clean_gradient(model, *clean, at=theta)
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)
    logits_along(model, train[0], v)
    assert [int(norm.num_batches_tracked) for norm in (model[1], model[5])] == [1, 1]


def test_the_gradient_at_other_parameters_is_that_of_a_model_that_has_them() -> None:
    model, _, clean = scene()
    theta = random_buffers(model)
    expected_model = conv_net()
    expected_model.load_state_dict(theta, strict=False)
    for decay in (0.0, DECAY):
        found, expected = clean_gradient(model, *clean, decay, at=theta), clean_gradient(expected_model, *clean, decay)
        torch.testing.assert_close(found, expected)
    assert all(parameter.grad is None for parameter in model.parameters())
