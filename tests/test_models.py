"""The classifiers: published parameter counts, TensorFlow's padding, the released code's residual units, the initial weights, the parts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import signal, stats
from torch import nn

from benchmark.models.classifier import Classifier
from benchmark.models.convnet import ConvNet
from benchmark.models.fastnet import FastNet
from benchmark.models.lenet import LeNet
from benchmark.models.mlp import MLP
from benchmark.models.preact_resnet import PreActResNet18, PreActUnit
from benchmark.models.resnet import PaperUnit, ResNet, SameConv2d, ShiftBatchNorm
from robust_benchmark.errors import UserError

CIFAR, MNIST = torch.Size([3, 32, 32]), torch.Size([1, 28, 28])
RESNET32: dict[str, Any] = {"units": 5, "widen": 1, "dropout": 0.0}
WRN28_10: dict[str, Any] = {"units": 4, "widen": 10, "dropout": 0.3}


def resnet(size: dict[str, Any], num_classes: int = 10, variant: str = "paper") -> ResNet:
    """A model without storage, for counting: WRN-28-10 has 36 million weights."""
    with torch.device("meta"):
        return ResNet(num_classes, CIFAR, **size, variant=variant)


def thin_wide_net(variant: str = "paper", dropout: float = 0.3) -> ResNet:
    """WRN-28-10's layers at a fifth of its width."""
    return ResNet(10, CIFAR, units=4, widen=2, dropout=dropout, variant=variant)


def modules_of(model: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


def executed(model: nn.Module) -> list[str]:
    """Return the layers that a training image passes, in this order: N(orm), R(eLU), D(ropout), C(onvolution)."""
    letters = {nn.BatchNorm2d: "N", nn.ReLU: "R", nn.Dropout: "D", nn.Conv2d: "C"}
    seen: list[str] = []
    for kind, letter in letters.items():
        for module in modules_of(model, kind):
            module.register_forward_hook(lambda *_, letter=letter: seen.append(letter))
    model(torch.zeros(2, 3, 8, 8))
    return seen


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's definition of SAME: ceil(side / stride) outputs, the odd pixel of padding after."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def same_pad(images: torch.Tensor, kernel: int, stride: int, value: float) -> torch.Tensor:
    height, width = images.shape[2:]
    return F.pad(images, (*same_padding(width, kernel, stride), *same_padding(height, kernel, stride)), value=value)


# ---- counts and shapes


@pytest.mark.parametrize(
    ("size", "variant", "num_classes", "count"),
    [
        (RESNET32, "paper", 10, 462_954),
        (RESNET32, "paper", 100, 468_804),
        (WRN28_10, "paper", 10, 36_211_178),
        (WRN28_10, "paper", 100, 36_268_868),
        (RESNET32, "standard", 10, 464_154),
        (RESNET32, "standard", 100, 470_004),
        (WRN28_10, "standard", 10, 36_479_194),
        (WRN28_10, "standard", 100, 36_536_884),
    ],
)
def test_residual_networks_have_the_published_number_of_parameters(
    size: dict[str, Any], variant: str, num_classes: int, count: int
) -> None:
    assert sum(parameter.numel() for parameter in resnet(size, num_classes, variant).parameters()) == count


def test_lenet_has_the_papers_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in LeNet(2, MNIST).parameters()) == 167_113


def test_convnet_has_the_parameters_of_its_layers() -> None:
    convolutions, norms, linear = 9 * 1 * 16 + 9 * 16 * 32, 2 * 16 + 2 * 32, 4 * 32 * 10 + 10
    assert sum(parameter.numel() for parameter in ConvNet(10, torch.Size([1, 8, 8])).parameters()) == convolutions + norms + linear


def test_fastnet_has_the_parameters_of_its_layers() -> None:
    convolutions = 9 * (3 * 12 + 12 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    stem_bias, norms, linear = 12, 2 * 2 * (32 + 64 + 128), 128 * 10 + 10
    count = sum(parameter.numel() for parameter in FastNet(10, CIFAR).parameters())
    assert count == convolutions + stem_bias + norms + linear == 291_674


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 17, 30)])
def test_fastnet_gives_a_logit_for_every_class(num_classes: int, shape: tuple[int, int, int]) -> None:
    assert FastNet(num_classes, torch.Size(shape), width=4)(torch.randn(4, *shape)).shape == (4, num_classes)


def test_blocks_of_fastnet_pool_after_their_first_convolution() -> None:
    model = FastNet(10, CIFAR, width=2)
    sides: list[int] = []
    for convolution in modules_of(model, nn.Conv2d):
        convolution.register_forward_hook(lambda _, inputs, __: sides.append(inputs[0].shape[2]))
    model(torch.zeros(2, *CIFAR))
    assert sides == [32, 32, 16, 16, 8, 8, 4]


def test_features_of_fastnet_are_averages_over_the_pixels() -> None:
    model, images = FastNet(10, CIFAR, width=2).eval(), torch.randn(4, *CIFAR)
    pixels: list[torch.Tensor] = []
    modules_of(model, nn.ReLU)[-1].register_forward_hook(lambda _, __, output: pixels.append(output))
    assert model.features(images).detach().numpy() == pytest.approx(pixels[0].detach().numpy().mean(axis=(2, 3)), abs=1e-6)


def test_fastnet_rejects_images_that_three_poolings_would_empty() -> None:
    with pytest.raises(UserError, match=r"^the smaller side of images for model=fastnet must be at least 8, not 7$"):
        FastNet(10, torch.Size([1, 9, 7]))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 17, 30)])
def test_lenet_and_convnet_give_a_logit_for_every_class(num_classes: int, shape: tuple[int, int, int]) -> None:
    for model in (LeNet(num_classes, torch.Size(shape)), ConvNet(num_classes, torch.Size(shape))):
        assert model(torch.randn(4, *shape)).shape == (4, num_classes)


@pytest.mark.parametrize("side", [4, 5])
def test_convnet_takes_images_of_four_pixels_on(side: int) -> None:
    assert ConvNet(3, torch.Size([1, side, side]))(torch.randn(2, 1, side, side)).shape == (2, 3)


@pytest.mark.parametrize("size", [RESNET32, WRN28_10])
@pytest.mark.parametrize("variant", ["paper", "standard"])
@pytest.mark.parametrize("num_classes", [2, 100])
def test_residual_networks_give_a_logit_for_every_class(size: dict[str, Any], variant: str, num_classes: int) -> None:
    assert resnet(size, num_classes, variant)(torch.empty(4, 3, 32, 32, device="meta")).shape == (4, num_classes)


@pytest.mark.parametrize("variant", ["paper", "standard"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48), (3, 30, 30), (3, 33, 50)])
def test_residual_networks_take_images_of_any_side(variant: str, shape: tuple[int, int, int]) -> None:
    model = ResNet(5, torch.Size(shape), units=1, variant=variant)
    assert model(torch.randn(2, *shape)).shape == (2, 5)


def test_an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no model variant 'papers'; nearest: paper"):
        ResNet(10, CIFAR, variant="papers")


# ---- LeNet


def lenet_by_definition(model: LeNet, images: torch.Tensor) -> torch.Tensor:
    """Section 2.2 of the protocol, layer by layer, with explicit asymmetric padding: the logit of class 1, (n,)."""
    weights = iter(model.parameters())
    for _ in range(3):
        images = F.conv2d(same_pad(images, 5, 1, 0.0), next(weights), next(weights))
        images = F.max_pool2d(same_pad(images, 3, 2, -math.inf), 3, 2).clamp(min=0)
    hidden = F.linear(images.flatten(1), next(weights), next(weights)).clamp(min=0)
    return F.linear(hidden, next(weights), next(weights))[:, 0]


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 17, 30), (1, 31, 9)])
def test_lenet_is_the_released_network_with_tensorflows_same_padding(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model, images = LeNet(2, torch.Size(shape)).double(), torch.rand(5, *shape, dtype=torch.float64)
    logits = model(images)
    assert torch.allclose(logits[:, 1] - logits[:, 0], lenet_by_definition(model, images), atol=1e-10)


def test_cross_entropy_of_the_two_class_lenet_is_sigmoid_cross_entropy() -> None:
    torch.manual_seed(0)
    model, images, labels = LeNet(2, MNIST).double(), torch.rand(20, 1, 28, 28, dtype=torch.float64), torch.arange(20) % 2
    logit = lenet_by_definition(model, images)
    sigmoid = F.binary_cross_entropy_with_logits(logit, labels.double(), reduction="none")
    assert torch.allclose(F.cross_entropy(model(images), labels, reduction="none"), sigmoid, atol=1e-10)
    assert torch.equal(model(images).argmax(dim=1) == 1, logit.sigmoid() > 0.5)


def test_lenets_logits_are_free_for_more_than_two_classes() -> None:
    assert (LeNet(3, MNIST)(torch.rand(4, 1, 28, 28)) != 0).all()


# ---- the released code's residual networks


@pytest.mark.parametrize(("size", "count"), [(RESNET32, 27), (WRN28_10, 22)])
def test_the_papers_networks_have_its_number_of_batch_norms(size: dict[str, Any], count: int) -> None:
    assert len(modules_of(resnet(size), nn.BatchNorm2d)) == count


def test_the_papers_batch_norm_learns_a_shift_and_no_scale() -> None:
    model = thin_wide_net()
    for norm in modules_of(model, nn.BatchNorm2d):
        assert [name for name, _ in norm.named_parameters()] == ["bias"]
    assert not [name for name, parameter in model.named_parameters() if name.endswith("weight") and parameter.ndim == 1]


def test_the_papers_batch_norm_is_its_formula_with_epsilon_one_thousandth() -> None:
    norm, images = ShiftBatchNorm(2), torch.randn(6, 2, 3, 3) * 0.05
    nn.init.constant_(norm.bias, 0.7)
    pixels = images.numpy()
    mean, variance = (moment(pixels, axis=(0, 2, 3), keepdims=True) for moment in (np.mean, np.var))
    assert norm(images).detach().numpy() == pytest.approx((pixels - mean) / np.sqrt(variance + 1e-3) + 0.7, abs=1e-5)


def test_moving_averages_of_the_papers_batch_norm_decay_by_0_999() -> None:
    norm, images = ShiftBatchNorm(1), torch.randn(8, 1, 4, 4) + 5
    for _ in range(3):
        norm(images)
    assert norm.running_mean.item() == pytest.approx((1 - 0.999**3) * images.mean().item(), rel=1e-4)


def test_the_papers_batch_norm_survives_saving_and_loading() -> None:
    saved, fresh, images = thin_wide_net(), thin_wide_net(), torch.randn(4, 3, 8, 8)
    saved(images)
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.eval()(images), saved.eval()(images))


def test_only_stage_one_lacks_the_leading_batch_norm_and_dropout_precedes_the_first_convolution() -> None:
    stem, first_stage, unit = ["C", "N", "R"], list("CNRC"), list("NRDCNRC")
    assert executed(thin_wide_net()) == [*stem, *first_stage * 4, *unit * 8, "N", "R"]


def test_the_papers_resnet32_has_no_dropout() -> None:
    assert "D" not in executed(ResNet(10, CIFAR, units=5, dropout=0.0))


def test_the_standard_wide_network_drops_between_the_convolutions_of_every_unit() -> None:
    seen = "".join(executed(thin_wide_net("standard")))
    assert seen.count("D") == 12
    assert seen.count("CNRDC") == 12


@pytest.mark.parametrize("variant", ["paper", "standard"])
def test_dropout_has_the_probability_asked_for(variant: str) -> None:
    assert {module.p for module in modules_of(thin_wide_net(variant, 0.25), nn.Dropout)} == {0.25}


@pytest.mark.parametrize("size", [RESNET32, WRN28_10])
def test_only_the_output_has_a_bias_besides_batch_norm(size: dict[str, Any]) -> None:
    model = resnet(size)
    assert all(convolution.bias is None for convolution in modules_of(model, nn.Conv2d))
    assert model.output.bias.shape == (10,)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(8, 8), (7, 7), (8, 5), (32, 32), (1, 2)])
def test_convolutions_pad_as_tensorflows_same(stride: int, sides: tuple[int, int]) -> None:
    convolution, images = SameConv2d(2, 3, stride).double(), torch.randn(2, 2, *sides, dtype=torch.float64)
    weight = convolution.weight.detach().numpy()
    padding = [same_padding(side, 3, stride) for side in sides]
    expected = [
        [
            sum(signal.correlate2d(np.pad(plane, padding), kernel, "valid") for plane, kernel in zip(image, kernels, strict=True))
            for kernels in weight
        ]
        for image in images.numpy()
    ]
    assert convolution(images).detach().numpy() == pytest.approx(np.array(expected)[:, :, ::stride, ::stride])


@pytest.mark.parametrize(("channels_in", "channels_out", "stride"), [(4, 4, 1), (4, 8, 2), (16, 160, 1)])
def test_the_papers_shortcut_averages_and_pads_channels_on_both_sides(channels_in: int, channels_out: int, stride: int) -> None:
    unit = PaperUnit(channels_in, channels_out, stride, 0.0, first_stage=False)
    for convolution in modules_of(unit, nn.Conv2d):
        nn.init.zeros_(convolution.weight)
    images = torch.randn(3, channels_in, 6, 6)
    before = (channels_out - channels_in) // 2
    expected = np.zeros((3, channels_out, 6 // stride, 6 // stride))
    for row in range(6 // stride):
        for column in range(6 // stride):
            block = images[:, :, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
            expected[:, before : before + channels_in, row, column] = block.numpy().mean(axis=(2, 3))
    assert unit(images).detach().numpy() == pytest.approx(expected, abs=1e-6)


def test_the_papers_unit_adds_its_convolutions_to_the_raw_input() -> None:
    torch.manual_seed(0)
    unit, images = PaperUnit(4, 4, 1, 0.0, first_stage=True).double(), torch.randn(3, 4, 6, 6, dtype=torch.float64)
    first, second = (parameter for parameter in unit.parameters() if parameter.ndim == 4)
    middle = F.conv2d(images, first, padding=1)
    mean, variance = middle.mean((0, 2, 3), keepdim=True), middle.var((0, 2, 3), unbiased=False, keepdim=True)
    residual = F.conv2d(((middle - mean) / (variance + 1e-3).sqrt()).clamp(min=0), second, padding=1)
    assert torch.allclose(unit(images), images + residual, atol=1e-10)


# ---- initial weights


def flat(weights: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat([weight.detach().flatten() for weight in weights]).numpy().astype(np.float64)


def test_lenet_starts_truncated_normal_of_deviation_a_tenth_with_zero_biases() -> None:
    torch.manual_seed(0)
    model = LeNet(2, MNIST)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert stats.kstest(flat([parameter]), stats.truncnorm(-2, 2, scale=0.1).cdf).pvalue > 1e-3
    weights = flat([parameter for parameter in model.parameters() if parameter.ndim > 1])
    assert np.abs(weights).max() <= 0.2
    assert weights.std() == pytest.approx(stats.truncnorm(-2, 2, scale=0.1).std(), rel=0.01)


def test_the_papers_convolutions_start_truncated_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    for convolution in modules_of(ResNet(10, CIFAR, units=1), nn.Conv2d):
        deviation = math.sqrt(2 / (9 * convolution.out_channels))
        expected = stats.truncnorm(-2, 2, scale=deviation)
        weights = flat([convolution.weight])
        assert np.abs(weights).max() <= 2 * deviation * (1 + 1e-6)
        assert stats.kstest(weights, expected.cdf).pvalue > 1e-3


def test_the_standard_networks_convolutions_start_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    for convolution in modules_of(ResNet(10, CIFAR, units=1, variant="standard"), nn.Conv2d):
        weights = flat([convolution.weight])
        fan_out = 9 * convolution.out_channels
        assert stats.kstest(weights, stats.norm(scale=math.sqrt(2 / fan_out)).cdf).pvalue > 1e-3


def test_the_output_layer_starts_uniform_by_fan_in_with_zero_bias() -> None:
    torch.manual_seed(0)
    output = ResNet(100, CIFAR, units=1).output
    assert stats.kstest(flat([output.weight]), stats.uniform(-0.2165, 2 * 0.2165).cdf).pvalue > 1e-3
    assert output.weight.abs().max().item() == pytest.approx(math.sqrt(3 / 64), rel=0.01)
    assert not output.bias.any()


@pytest.mark.parametrize("make", [lambda: LeNet(2, MNIST), lambda: ResNet(10, CIFAR, units=1), lambda: ConvNet(3, MNIST)])
def test_same_seed_same_initial_weights_and_another_seed_others(make: Callable[[], nn.Module]) -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(flat(list(make().parameters())))
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


# ---- features, output and stages

SPLIT: dict[str, tuple[Callable[[], Classifier], tuple[int, int, int]]] = {
    "convnet": (lambda: ConvNet(10, torch.Size((1, 8, 8))), (1, 8, 8)),
    "lenet": (lambda: LeNet(10, MNIST), (1, 28, 28)),
    "lenet of two classes": (lambda: LeNet(2, MNIST), (1, 28, 28)),
    "paper resnet": (lambda: ResNet(10, torch.Size((3, 8, 8)), units=2, dropout=0.3), (3, 8, 8)),
    "standard resnet": (lambda: ResNet(10, torch.Size((3, 8, 8)), units=2, variant="standard"), (3, 8, 8)),
    "standard wide resnet": (lambda: ResNet(10, torch.Size((3, 8, 8)), units=1, widen=2, dropout=0.3, variant="standard"), (3, 8, 8)),
    "mlp": (lambda: MLP(10, torch.Size((3, 8, 8)), hidden=[20, 7], dropout=0.5), (3, 8, 8)),
    "linear": (lambda: MLP(10, torch.Size((3, 8, 8)), hidden=[]), (3, 8, 8)),
    "preact resnet": (lambda: PreActResNet18(10, torch.Size((3, 8, 8)), width=4), (3, 8, 8)),
    "fastnet": (lambda: FastNet(10, torch.Size((3, 8, 8)), width=4), (3, 8, 8)),
}
STAGES = {
    "convnet": ["stage1", "stage2", "output"],
    "lenet": ["stage1", "stage2", "stage3", "hidden", "output"],
    "lenet of two classes": ["stage1", "stage2", "stage3", "hidden", "output"],
    "paper resnet": ["stem", "stage1", "stage2", "stage3", "output"],
    "standard resnet": ["stem", "stage1", "stage2", "stage3", "output"],
    "standard wide resnet": ["stem", "stage1", "stage2", "stage3", "output"],
    "mlp": ["hidden1", "hidden2", "output"],
    "linear": ["output"],
    "preact resnet": ["stem", "stage1", "stage2", "stage3", "stage4", "output"],
    "fastnet": ["stem", "block1", "block2", "block3", "output"],
}


def digest(tensors: Iterable[torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def assert_stages_partition_the_parameters(model: Classifier) -> None:
    owned = [id(parameter) for stage in model.stages().values() for parameter in stage.parameters()]
    assert sorted(owned) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("name", SPLIT)
def test_the_output_of_the_features_is_the_logits(name: str) -> None:
    make, shape = SPLIT[name]
    model, images = make().eval(), torch.randn(4, *shape)
    features = model.features(images)
    assert features.shape == (4, model.output.in_features)
    assert torch.equal(model.output(features), model(images))


@pytest.mark.parametrize("name", SPLIT)
def test_stages_run_from_the_input_to_the_output_and_each_parameter_belongs_to_one(name: str) -> None:
    model = SPLIT[name][0]()
    assert list(model.stages()) == STAGES[name]
    assert model.stages()["output"] is model.output
    assert_stages_partition_the_parameters(model)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convnet", "bd716a31a38596b2"),
        ("lenet", "a2b5a779060eb935"),
        ("lenet of two classes", "e62c11c5b6a9d33e"),
        ("paper resnet", "9a07b9bd321e4379"),
        ("standard resnet", "9840f056b77a4f34"),
        ("standard wide resnet", "316884cb273a31ed"),
    ],
)
def test_initial_weights_are_those_of_the_classifiers_before_they_were_split(name: str, expected: str) -> None:
    """The digests are those of the parameters of revision 8adbcb5466ea, in order."""
    torch.manual_seed(0)
    assert digest(SPLIT[name][0]().parameters()) == expected


def test_the_output_of_the_two_class_lenet_gives_the_logits_zero_and_z() -> None:
    model = LeNet(2, MNIST)
    features = torch.randn(5, 100)
    logits = model.output(features)
    assert torch.equal(logits[:, 0], torch.zeros(5))
    torch.testing.assert_close(logits[:, 1], features @ model.output.weight[0] + model.output.bias)


# ---- the multilayer perceptron


def test_the_mlp_is_its_formula() -> None:
    torch.manual_seed(0)
    model, images = MLP(3, torch.Size((2, 4, 4)), hidden=[6, 5]), torch.randn(7, 2, 4, 4)
    first, first_bias, second, second_bias, last, last_bias = (parameter.detach().numpy() for parameter in model.parameters())
    hidden = np.maximum(images.numpy().reshape(7, 32) @ first.T + first_bias, 0)
    expected = np.maximum(hidden @ second.T + second_bias, 0) @ last.T + last_bias
    assert model(images).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_the_mlp_takes_feature_vectors_and_drops_hidden_units_only() -> None:
    model = MLP(3, torch.Size([9]), hidden=[50, 50], dropout=0.5)
    assert model(torch.randn(4, 9)).shape == (4, 3)
    assert [module.p for module in modules_of(model, nn.Dropout)] == [0.5, 0.5]
    assert (model.features(torch.randn(100, 9)) == 0).float().mean() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 64}, r"hidden must be a list of widths, such as \[256, 256\], not 64"),
        ({"hidden": [64, 0]}, "a width of hidden must be at least 1, not 0"),
        ({"dropout": 1.5}, r"dropout 1.5 is not in \[0, 1\]"),
    ],
)
def test_the_mlp_rejects_invalid_widths_and_probabilities(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MLP(3, MNIST, **options)


# ---- the pre-activation ResNet-18


@pytest.mark.parametrize("num_classes", [10, 100])
def test_preact_resnet18_has_the_parameters_of_its_layers(num_classes: int) -> None:
    with torch.device("meta"):
        model = PreActResNet18(num_classes, CIFAR)
    count, channels = 27 * 64 + 2 * 64, 64
    for width in (64, 128, 256, 512):
        first = 2 * channels + 9 * channels * width + 2 * width + 9 * width * width + (channels * width if width > channels else 0)
        count += first + 2 * (2 * width + 9 * width * width)
        channels = width
    assert sum(parameter.numel() for parameter in model.parameters()) == count + 513 * num_classes
    assert count + 5130 == 11_171_274


def test_the_stages_of_preact_resnet18_halve_the_sides_three_times() -> None:
    images, sides = torch.randn(2, 3, 32, 32), []
    model = PreActResNet18(10, CIFAR, width=2)
    for name in ("stem", "stage1", "stage2", "stage3"):
        images = model.stages()[name](images)
        sides.append(images.shape[1:])
    assert sides == [(2, 32, 32), (2, 32, 32), (4, 16, 16), (8, 8, 8)]
    assert model.stages()["stage4"](images).shape == (2, 16)


@pytest.mark.parametrize(("channels_out", "stride"), [(4, 1), (6, 2)])
def test_a_preact_unit_is_its_formula(channels_out: int, stride: int) -> None:
    torch.manual_seed(0)
    unit, images = PreActUnit(4, channels_out, stride).double(), torch.randn(3, 4, 6, 6, dtype=torch.float64)

    def rectified_norm(x: torch.Tensor) -> torch.Tensor:
        return ((x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()).clamp(min=0)

    first, second, *projection = (parameter for parameter in unit.parameters() if parameter.ndim == 4)
    active = rectified_norm(images)
    residual = F.conv2d(rectified_norm(F.conv2d(active, first, stride=stride, padding=1)), second, padding=1)
    shortcut = F.conv2d(active, projection[0], stride=stride) if projection else active
    torch.testing.assert_close(unit(images), residual + shortcut)
