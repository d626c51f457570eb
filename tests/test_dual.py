"""Dual tensors against torch's own forward mode, central differences, and plain reverse mode, model by model and rule by rule."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.models.convnet import ConvNet
from benchmark.models.lenet import LeNet
from benchmark.models.mlp import MLP
from benchmark.models.preact_resnet import PreActResNet18
from benchmark.models.resnet import ResNet
from methods.dual import Dual, parts
from methods.meta_gradient import logits_along, slopes

Direction = dict[str, torch.Tensor]
Function = Callable[[torch.Tensor], torch.Tensor]


class Read(nn.Module):
    """A convolution with a bias, a function of its output h, and a fixed linear map of that to three logits.

    scaled: the function also gets the parameter `scale`, (4, 1, 1); else the modules by their names
    """

    def __init__(self, function: Callable[..., torch.Tensor], scaled: bool = False, **modules: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5) if scaled else None
        self.inner = nn.ModuleDict(modules)
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        h = self.convolution(images)
        out = self.function(h, **self.inner) if self.scale is None else self.function(h, self.scale)
        features = out.reshape(len(images), -1)
        readout = torch.arange(3 * features.shape[1], dtype=images.dtype).sin().view(3, -1)
        return F.linear(features, readout)


def direction_for(model: nn.Module) -> Direction:
    """A random direction of length 1 through the trained parameters."""
    generator = torch.Generator().manual_seed(1)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    direction = {name: torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) for name, parameter in trained.items()}
    length = torch.cat([v.flatten() for v in direction.values()]).norm()
    return {name: v / length for name, v in direction.items()}


def directional_derivative(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, direction: Direction
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies, (n,), with their graph, and their derivatives along the direction, (n,)."""
    z, dz = logits_along(model, images, direction)
    return F.cross_entropy(z, labels, reduction="none"), slopes(z, dz, labels)


def losses_of(model: nn.Module, parameters: Direction, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)  # dropout
    return F.cross_entropy(functional_call(model, parameters, (images,)), labels, reduction="none")


def by_differences(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, direction: Direction) -> torch.Tensor:
    theta, h = {name: parameter.detach() for name, parameter in model.named_parameters()}, 1e-6
    moved = ({**theta, **{name: theta[name] + step * v for name, v in direction.items()}} for step in (h, -h))
    after, before = (losses_of(copy.deepcopy(model), parameters, images, labels).detach() for parameters in moved)
    return (after - before) / (2 * h)


def by_forward_ad(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, direction: Direction) -> torch.Tensor:
    theta = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        duals = {name: forward_ad.make_dual(theta[name], v) for name, v in direction.items()}
        tangent = forward_ad.unpack_dual(losses_of(copy.deepcopy(model), {**theta, **duals}, images, labels)).tangent
        return torch.zeros(len(labels), dtype=images.dtype) if tangent is None else tangent.clone()


def assert_exact(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, torch_can: bool = True) -> None:
    """Value, gradient, running statistics and directional derivative of the dual pass are those of independent ones."""
    direction = direction_for(model)
    plain = copy.deepcopy(model)
    expected = losses_of(plain, dict(plain.named_parameters()), images, labels)
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    weights = torch.linspace(0.5, 2, len(labels), dtype=images.dtype)
    expected_gradients = torch.autograd.grad(expected @ weights, trained, allow_unused=True)
    slopes_by_differences = by_differences(model, images, labels, direction)
    slopes_by_forward_ad = by_forward_ad(model, images, labels, direction) if torch_can else None

    torch.manual_seed(3)
    losses, slopes = directional_derivative(model, images, labels, direction)
    torch.testing.assert_close(losses, expected)
    gradients = torch.autograd.grad(
        losses @ weights, [parameter for parameter in model.parameters() if parameter.requires_grad], allow_unused=True
    )
    torch.testing.assert_close(gradients, expected_gradients)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert slopes.abs().max() > 1e-4
    assert not slopes.requires_grad
    torch.testing.assert_close(slopes, slopes_by_differences, rtol=1e-5, atol=1e-6)
    if slopes_by_forward_ad is not None:
        torch.testing.assert_close(slopes, slopes_by_forward_ad, rtol=1e-10, atol=1e-12)


def data(shape: tuple[int, ...], classes: int = 3, n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64), torch.randint(0, classes, (n,), generator=generator)


def check_function(function: Function | nn.Module, torch_can: bool = True, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = function if isinstance(function, nn.Module) else Read(function)
    assert_exact(model.double().train(), *data((2, 6, 6)), torch_can=torch_can)


IN_PLACE = {
    "residual sum": lambda h: F.silu(h).add_(h),
    "residual sum by operator": lambda h: _iadd(F.silu(h), h),
    "product by operator": lambda h: _imul(F.silu(h), h),
    "functional relu": lambda h: F.relu(h * 1, inplace=True),
    "relu_": lambda h: (h * 1).relu_(),
    "torch.relu_": lambda h: torch.relu_(h * 1),
    "mul_, sub_, clamp_": lambda h: (h * 1).mul_(2).sub_(h.sin()).clamp_(min=-1),
    "write of an entry": lambda h: _set(h * 1, (slice(None), 0), 0.5),
    "write of a dual entry": lambda h: _set(h * 1, (slice(None), 0), h[:, 1].sin()),
    "writes into a fresh buffer": lambda h: _set(torch.zeros_like(h), (slice(None), slice(0, 2)), h[:, 2:]),
    "a sum into a fresh buffer": lambda h: torch.zeros_like(h).add_(h.sin()),
    "copy_ into a fresh buffer": lambda h: torch.empty_like(h).copy_(h),
}

# in-place functions change their argument, which a model may continue to use
ALIASING = {
    "relu in place": lambda h: _then(h * 1, lambda x: F.relu(x, inplace=True)),
    "relu module in place": lambda h: _then(h * 1, nn.ReLU(inplace=True)),
    "leaky relu in place": lambda h: _then(h * 1, lambda x: F.leaky_relu(x, 0.1, inplace=True)),
    "elu in place": lambda h: _then(h * 1, nn.ELU(inplace=True)),
    "silu in place": lambda h: _then(h * 1, nn.SiLU(inplace=True)),
    "relu6 in place": lambda h: _then(h * 1, nn.ReLU6(inplace=True)),
    "dropout in place": lambda h: _then(h * 1, nn.Dropout(0.4, inplace=True)),
    "add_": lambda h: _then(h * 1, lambda x: x.add_(h.sin())),
    "a view's in-place change": lambda h: _then(h * 1, lambda x: x.flatten(1).mul_(h.flatten(1))),
    "a copy's in-place change": lambda h: _then(h * 1, lambda x: (x + 1.0).mul_(3)),
    "an in-place sum on a shifted copy": lambda h: _then(h * 1, lambda x: (0.5 + x).add_(h.sin())),
}


def _iadd(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a += b
    return a


def _imul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a *= b
    return a


def _set(a: torch.Tensor, where: object, value: object) -> torch.Tensor:
    a[where] = value
    return a


def _then(x: torch.Tensor, function: Function) -> torch.Tensor:
    out = function(x)
    return torch.cat([out.flatten(1), x.flatten(1)], dim=1)


ELEMENTWISE = {
    "relu": F.relu,
    "torch.relu": torch.relu,
    "Tensor.relu": lambda h: h.relu(),
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "leaky relu": F.leaky_relu,
    "softplus": F.softplus,
    "exp and log": lambda h: (h.exp() + 1).log(),
    "power": lambda h: h**2,
    "negation": lambda h: -h,
    "product with itself": lambda h: h * h,
    "quotient": lambda h: h / (1 + h * h),
    "where": lambda h: torch.where(h > 0, h, 0.1 * h),
    "clamp": lambda h: h.clamp(-0.5, 0.5),
    "maximum": lambda h: torch.maximum(h, h.flip(1)),
    "softmax": lambda h: F.softmax(h, dim=1),
    "log softmax": lambda h: h.log_softmax(dim=1),
    "cumulative sum": lambda h: h.cumsum(dim=1),
}

SUMS = {
    "out of place": lambda h: h.sin() + h,
    "torch.add": lambda h: torch.add(h.sin(), h),
    "Tensor.add": lambda h: h.sin().add(h),
    "scaled by alpha": lambda h: torch.add(h.sin(), h, alpha=0.3),
    "scaled by alpha, method": lambda h: h.sin().add(h, alpha=0.3),
    "keyword": lambda h: torch.add(h, other=h.sin()),
    "number on the right": lambda h: h + 1.5,
    "number on the left": lambda h: 1.5 + h,
    "constant tensor": lambda h: torch.ones(6, 6, dtype=h.dtype) + h,
    "broadcast": lambda h: h.mean(dim=(2, 3), keepdim=True) + h.sin(),
    "difference": lambda h: h.sin() - 2 * h,
}

SHAPES = {
    "flatten": lambda h: torch.flatten(h, 1).sin(),
    "Tensor.flatten": lambda h: h.flatten(start_dim=2).sin(),
    "reshape": lambda h: torch.reshape(h, (5, -1)).sin(),
    "view": lambda h: h.view(5, 2, 2, 36).sin(),
    "view of a broadcast sum": lambda h: (torch.zeros(5, 4, 6, 6, dtype=h.dtype) + h.mean(dim=(0, 2, 3), keepdim=True)).view(5, -1).sin(),
    "permute": lambda h: h.permute(0, 2, 3, 1).contiguous().sin(),
    "torch.permute": lambda h: torch.permute(h, (0, 3, 1, 2)).sin(),
    "transpose": lambda h: torch.transpose(h, 1, 2).sin(),
    "Tensor.transpose": lambda h: h.transpose(1, 3).sin(),
    "mT": lambda h: h.mT.sin(),
    "mean": lambda h: torch.mean(h, dim=(2, 3)).sin(),
    "Tensor.mean": lambda h: h.mean(2, keepdim=True).sin(),
    "sum": lambda h: torch.sum(h, dim=1).sin(),
    "Tensor.sum": lambda h: h.sum(dim=-1).sin(),
    "indexing": lambda h: h[:, 1:3, ::2].sin(),
    "indexing by a list": lambda h: h[:, [2, 0, 0]].sin(),
    "indexing by a mask": lambda h: h[:, torch.tensor([True, False, True, False])].sin(),
    "squeeze": lambda h: h[:, :1].squeeze(1).unsqueeze(-1).sin(),
    "expand": lambda h: h.mean(dim=1, keepdim=True).expand(-1, 4, -1, -1) * h,
    "chunks": lambda h: torch.mul(*h.chunk(2, dim=1)),
    "split": lambda h: torch.mul(*torch.split(h, 2, dim=1)),
    "unbind": lambda h: torch.stack(h.unbind(1)[:2], dim=1).sin(),
    "unpacking": lambda h: _product(*h.transpose(0, 1)),
    "a loop over a tensor": lambda h: torch.stack([image.sin() for image in h]),
    "concatenation": lambda h: torch.cat([h.sin(), h], dim=1),
    "stack": lambda h: torch.stack([h.sin(), h], dim=1),
    "roll and flip": lambda h: h.roll(1, dims=2).flip(3).sin(),
    "size arithmetic": lambda h: h.view(h.size(0), h.shape[1] * h.size(2), -1).sin() * h.numel() / h.dim(),
}

REDUCTIONS = {
    "maximum along a dimension": lambda h: h.max(dim=1).values,
    "amax": lambda h: h.amax(dim=(2, 3)),
    "variance": lambda h: h.var(dim=(2, 3)),
    "norm": lambda h: F.normalize(h.flatten(1), dim=1),
    "logsumexp": lambda h: h.logsumexp(dim=1),
    "top-k": lambda h: h.flatten(1).topk(5, dim=1).values,
    "sort": lambda h: h.flatten(1).sort(dim=1)[0],
}

POOLS = {
    "average": lambda h: F.avg_pool2d(h, 2).sin(),
    "average, padded": lambda h: F.avg_pool2d(h, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False).sin(),
    "adaptive average": lambda h: F.adaptive_avg_pool2d(h, 4).sin(),
    "adaptive average to one": lambda h: nn.AdaptiveAvgPool2d(1)(h).sin(),
    "maximum": lambda h: F.max_pool2d(h, 2).sin(),
    "maximum, padded": lambda h: F.max_pool2d(h, 3, stride=2, padding=1, ceil_mode=True).sin(),
    "maximum, dilated": lambda h: nn.MaxPool2d(2, dilation=2)(h).sin(),
    "maximum with indices": lambda h: nn.MaxPool2d(2, return_indices=True)(h)[0].sin(),
    "maximum of unbatched images": lambda h: F.max_pool2d(h[:, 0], 2).sin(),
    "torch.max_pool2d": lambda h: torch.max_pool2d(h, 2).sin(),
    "maximum, one-dimensional": lambda h: F.max_pool1d(h.flatten(2), 3).sin(),
    "adaptive maximum": lambda h: F.adaptive_max_pool2d(h, 2).sin(),
    "pixel shuffle": lambda h: F.pixel_shuffle(h, 2).sin(),
    "interpolation": lambda h: F.interpolate(h, scale_factor=2, mode="bilinear").sin(),
}

PADS = {
    "zeros": lambda h: F.pad(h, (1, 2, 0, 1)).sin(),
    "channels": lambda h: F.pad(h, (0, 0, 0, 0, 2, 1)).sin(),
    "a constant": lambda h: F.pad(h, (1, 1), value=3.0).sin(),
    "reflection": lambda h: F.pad(h, (1, 1, 1, 1), mode="reflect").sin(),
    "circular": lambda h: F.pad(h, (1, 1, 1, 1), mode="circular").sin(),
    "nothing": lambda h: F.pad(h, (0, 0)).mul_(h.sin()),
}

PRODUCTS = {
    "einsum": lambda h: torch.einsum("nchw,ndhw->ncd", h, h),
    "matrix product": lambda h: h @ h.mT,
    "batched matrix product": lambda h: torch.bmm(h.flatten(2), h.flatten(2).mT),
    "linear of a dual weight": lambda h: F.linear(h, h[0, 0]),
    "convolution with a dual weight": lambda h: F.conv2d(h, h[:4, :, :3, :3]),
    "attention": lambda h: F.softmax(h @ h.mT / 6**0.5, dim=-1) @ h,
}


def _product(first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    for other in others:
        first = first * other
    return first


GROUPS = {
    "in place": IN_PLACE,
    "aliasing": ALIASING,
    "elementwise": ELEMENTWISE,
    "sum": SUMS,
    "shape": SHAPES,
    "reduction": REDUCTIONS,
    "pool": POOLS,
    "pad": PADS,
    "product": PRODUCTS,
}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, functions in GROUPS.items() for name in functions])
def test_value_gradient_and_tangent_of_a_function_are_exact(group: str, name: str) -> None:
    check_function(GROUPS[group][name])


SCALED = {
    "multiplication": lambda h, scale: h * scale,
    "multiplication from the left": lambda h, scale: scale * h,
    "division": lambda h, scale: h / scale,
    "sum": lambda h, scale: (h + scale).sin(),
    "power": lambda h, scale: h.abs() ** scale,
    "a parameter expanded": lambda h, scale: torch.cat([h, scale.expand(len(h), -1, 6, 6).sin()], dim=1),
    "constants plus a parameter, viewed": lambda h, scale: h.flatten(1) + (PICTURE + scale).view(len(h), -1).sin(),
    "constants plus a parameter, changed in place": lambda h, scale: (PICTURE + scale).mul_(h).sin(),
    "constants plus a parameter, rectified": lambda h, scale: F.relu(PICTURE + scale) + h,
    "a batch norm's scale and shift": lambda h, scale: F.batch_norm(h, None, None, scale.flatten(), scale.flatten().sin(), training=True),
    "a batch norm's scale alone": lambda h, scale: F.batch_norm(PICTURE, None, None, scale.flatten(), training=True).sin() + h,
    "a batch norm's shift alone": lambda h, scale: F.batch_norm(PICTURE, None, None, None, scale.flatten(), training=True).sin() + h,
    "a batch norm's shift alone, then in place": lambda h, scale: F.batch_norm(PICTURE, None, None, None, scale.flatten(), True).mul_(h),
    "a convolution's bias alone": lambda h, scale: F.conv2d(PICTURE, torch.ones(4, 4, 1, 1).double(), scale.flatten()).sin() + h,
    "a linear layer's bias alone": lambda h, scale: F.linear(h, torch.eye(6).double(), scale.sum().expand(6)).sin(),
}
PICTURE = torch.linspace(-1, 1, 5 * 4 * 6 * 6, dtype=torch.float64).view(5, 4, 6, 6).cos()  # no parameter's work


@pytest.mark.parametrize("name", SCALED)
def test_a_bare_parameter_is_followed(name: str) -> None:
    torch.manual_seed(0)
    check_function(Read(SCALED[name], scaled=True))


class Squared(nn.Module):
    """A user's layer with parameters, built only from functions without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(6, 3))
        self.b = nn.Parameter(torch.randn(6, 3))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,wr,wr->nchr", h**2, self.a, self.b.exp()).logsumexp(dim=2)


class Attention(nn.Module):
    """Self-attention as vision transformers write it, with q, k, v from one product."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.fused = fused

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        tokens = h.flatten(2).transpose(1, 2)  # (n, 36, 4)
        n, length, width = tokens.shape
        q, k, v = self.qkv(tokens).reshape(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)  # (n, heads, 36, 2)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v)
        return torch.softmax(q @ k.transpose(-2, -1) / 2**0.5, dim=-1) @ v


MODULES = {
    "group norm": nn.GroupNorm(2, 4),
    "layer norm": nn.LayerNorm([4, 6, 6]),
    "layer norm of the last dimension": nn.LayerNorm(6, bias=False),
    "instance norm": nn.InstanceNorm2d(4, affine=True),
    "batch norm": nn.BatchNorm2d(4),
    "batch norm without affine": nn.BatchNorm2d(4, affine=False),
    "batch norm without running statistics": nn.BatchNorm2d(4, track_running_stats=False),
    "batch norm with cumulative averages": nn.BatchNorm2d(4, momentum=None),
    "batch norm of vectors": nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.BatchNorm1d(5)),
    "batch norm of sequences": nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(4)),
    "dropout": nn.Dropout(0.4),
    "channel dropout": nn.Dropout2d(0.4),
    "no dropout": nn.Dropout(0.0),
    "relu in place": nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
    "prelu": nn.PReLU(4),
    "strided convolution": nn.Conv2d(4, 3, 3, stride=2, groups=1, bias=False),
    "grouped convolution": nn.Conv2d(4, 4, 3, groups=2, dilation=2),
    "circular convolution": nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"),
    "same convolution": nn.Conv2d(4, 3, 3, padding="same"),
    "transposed convolution": nn.ConvTranspose2d(4, 2, 2, stride=2),
    "one-dimensional convolution": nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 5)),
    "three-dimensional convolution": nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 3, 2)),
    "linear": nn.Linear(6, 3),
    "linear without a bias": nn.Linear(6, 3, bias=False),
    "an unknown module": Squared(),
    "attention by products": Attention(fused=False),
}


@pytest.mark.parametrize("name", MODULES)
def test_value_gradient_and_tangent_of_a_module_are_exact(name: str) -> None:
    check_function(Read(lambda h, module: module(h).sin(), module=copy.deepcopy(MODULES[name])))


def test_fused_attention_is_exact() -> None:
    check_function(Read(lambda h, module: module(h).sin(), module=Attention(fused=True)))


def test_torch_multi_head_attention_is_exact() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def attend(h: torch.Tensor, module: nn.Module) -> torch.Tensor:
        tokens = h.flatten(2).transpose(1, 2)
        return module(tokens, tokens, tokens)[0]

    check_function(Read(attend, module=attention))


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_evaluation_mode_uses_its_running_statistics(affine: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, affine=affine)
    model = Read(lambda h, norm: norm(h).sin(), norm=norm).double().train()
    images, labels = data((2, 6, 6))
    model(images * 2 + 1)
    if affine:
        nn.init.normal_(norm.weight)
    assert_exact(model.eval(), images, labels)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_frozen_batch_norm_inside_a_training_model_is_exact(inplace: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(48, 3)).double().train()
    model[1].eval().requires_grad_(False)
    assert_exact(model, *data((2, 6, 6)))


MODELS = {
    "lenet": (lambda: LeNet(3, torch.Size((1, 20, 20))), (1, 20, 20)),
    "convnet": (lambda: ConvNet(3, torch.Size((2, 6, 6)), width=4), (2, 6, 6)),
    "paper resnet": (lambda: ResNet(3, torch.Size((2, 8, 8)), units=1), (2, 8, 8)),
    "paper resnet with dropout": (lambda: ResNet(3, torch.Size((2, 8, 8)), units=1, dropout=0.3), (2, 8, 8)),
    "standard resnet": (lambda: ResNet(3, torch.Size((2, 8, 8)), units=1, variant="standard"), (2, 8, 8)),
    "standard wide resnet": (lambda: ResNet(3, torch.Size((2, 8, 8)), units=1, widen=2, dropout=0.3, variant="standard"), (2, 8, 8)),
    "preact resnet": (lambda: PreActResNet18(3, torch.Size((2, 8, 8)), width=2), (2, 8, 8)),
    "mlp with dropout": (lambda: MLP(3, torch.Size((2, 6, 6)), hidden=[9, 8], dropout=0.3), (2, 6, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_value_gradient_and_tangent_of_a_model_are_exact(name: str) -> None:
    torch.manual_seed(0)
    make_model, shape = MODELS[name]
    assert_exact(make_model().double().train(), *data(shape))


def test_the_tangent_is_that_of_torch_func_jvp() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)).double()
    images, labels = data((2, 6, 6))
    theta = {name: parameter.detach() for name, parameter in model.named_parameters()}
    direction = direction_for(model)
    expected_f, expected_u = jvp(lambda parameters: losses_of(model, parameters, images, labels), (theta,), (direction,))
    f, u = directional_derivative(model, images, labels, direction)
    torch.testing.assert_close(f.detach(), expected_f)
    torch.testing.assert_close(u, expected_u)


def test_what_torch_cannot_differentiate_forward_is_refused_and_not_guessed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(72, 3))).double()
    with pytest.raises(NotImplementedError, match="_weight_norm"):
        directional_derivative(model, *data((2, 6, 6)), direction_for(model))


def test_a_transformer_layer_is_exact() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True, norm_first=True)
    model = Read(lambda h, layer: layer(h.flatten(2).transpose(1, 2)), layer=layer)
    check_function(model)


def test_weights_shared_by_two_layers_are_followed_through_both() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    check_function(Read(lambda h, first, second: second(first(h).sin()), first=first, second=second))


def test_a_direction_along_some_parameters_only_leaves_the_others_still() -> None:
    torch.manual_seed(0)
    model = ConvNet(3, torch.Size((2, 6, 6)), width=4).double().train()
    images, labels = data((2, 6, 6))
    for name, v in direction_for(model).items():
        expected = by_differences(model, images, labels, {name: v})
        _, slopes = directional_derivative(model, images, labels, {name: v})
        torch.testing.assert_close(slopes, expected, rtol=1e-5, atol=1e-7)


CONSTANTS = {
    "detached": lambda h: h.detach(),
    "flattened": lambda h: _constant(lambda h: h.flatten(1), h),
    "averaged": lambda h: _constant(lambda h: h.mean(dim=1), h),
    "shifted": lambda h: _constant(lambda h: h + 1, h),
    "convolved": lambda h: _constant(lambda h: F.conv2d(h, torch.ones(2, 4, 1, 1, dtype=h.dtype)), h),
    "without a rule": lambda h: _constant(torch.sin, h),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_what_a_model_detaches_or_computes_without_gradients_is_a_constant(name: str) -> None:
    """<grad f_i, v> has no part that backward does not see."""
    torch.manual_seed(0)
    model = Read(lambda h: torch.cat([h.flatten(1), CONSTANTS[name](h).flatten(1)], dim=1).sin()).double()
    images, labels = data((2, 6, 6))
    direction, trained = direction_for(model), list(model.parameters())
    f = losses_of(model, dict(model.named_parameters()), images, labels)
    rows = [torch.autograd.grad(loss, trained, retain_graph=True) for loss in f]
    losses, slopes = directional_derivative(model, images, labels, direction)
    torch.testing.assert_close(losses, f)
    torch.testing.assert_close(torch.autograd.grad(losses.sum(), trained), tuple(sum(column) for column in zip(*rows, strict=True)))
    expected = torch.stack([sum((g * v).sum() for g, v in zip(row, direction.values(), strict=True)) for row in rows])
    torch.testing.assert_close(slopes, expected)


def _constant(function: Function, h: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return function(h)


def test_a_dual_looks_like_its_value() -> None:
    value = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    dual = Dual.make(value, torch.ones(2, 3, dtype=torch.float64))
    assert isinstance(dual, torch.Tensor)
    assert (dual.shape, dual.ndim, dual.dtype, dual.device) == (value.shape, 2, torch.float64, value.device)
    assert (dual.dim(), dual.size(1), dual.numel(), len(dual)) == (2, 3, 6, 2)
    assert dual.requires_grad
    assert (dual.sum() > 0).item() == (value.sum() > 0).item()


def test_a_plain_tensor_has_no_tangent() -> None:
    value = torch.ones(2)
    assert parts(value) == (value, None)
    assert Dual.make(value, None) is value


def kept_bytes(forward: Callable[[], object]) -> int:
    """Return the memory of the tensors that `forward` saves for backward."""

    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    alive: weakref.WeakSet[Saved] = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> Saved:
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        result = forward()
    storages = {saved.tensor.untyped_storage().data_ptr(): saved.tensor.untyped_storage().nbytes() for saved in alive}
    assert result is not None
    return sum(storages.values())


LARGE = {
    "paper resnet": lambda: ResNet(10, torch.Size((3, 12, 12)), units=2),
    "paper resnet with dropout": lambda: ResNet(10, torch.Size((3, 12, 12)), units=2, dropout=0.3),
    "standard resnet": lambda: ResNet(10, torch.Size((3, 12, 12)), units=2, variant="standard"),
    "standard wide resnet": lambda: ResNet(10, torch.Size((3, 12, 12)), units=1, widen=2, dropout=0.3, variant="standard"),
    "lenet": lambda: LeNet(10, torch.Size((3, 12, 12))),
    "convnet": lambda: ConvNet(10, torch.Size((3, 12, 12))),
    "preact resnet": lambda: PreActResNet18(10, torch.Size((3, 12, 12)), width=4),
    "mlp": lambda: MLP(10, torch.Size((3, 12, 12)), dropout=0.3),
    "residual sums in place, group norm": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), *(InPlaceUnit() for _ in range(4)), nn.Flatten(), nn.Linear(800, 10)
    ),
}


class InPlaceUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.convolution = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        out = self.convolution(F.relu(self.norm(h), inplace=True))
        out += h
        return out


@pytest.mark.parametrize("name", LARGE)
def test_nothing_more_is_kept_for_backward_than_in_a_plain_forward(name: str) -> None:
    torch.manual_seed(0)
    model = LARGE[name]().train()
    images, labels = torch.randn(16, 3, 12, 12), torch.randint(0, 10, (16,))
    direction = direction_for(model)
    plain = kept_bytes(lambda: F.cross_entropy(model(images), labels, reduction="none"))
    dual = kept_bytes(lambda: directional_derivative(model, images, labels, direction))
    assert plain > 0
    assert dual <= 1.1 * plain
