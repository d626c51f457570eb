"""The classifiers of torchvision: each is torchvision's own, in two parts; an unsupported input gives one sentence."""

from __future__ import annotations

import ast
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from benchmark import ROOT
from benchmark.models.zoo import Torchvision
from benchmark.objects import model_factory
from robust_benchmark.errors import UserError
from tests.test_dual import assert_exact, data
from tests.test_models import assert_stages_partition_the_parameters

SIDES = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "mnasnet0_5": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 32,
    "vit_b_32": 32,
}
ON_META = ("maxvit_t", "vgg16", "wide_resnet50_2", "mobilenet_v2", "swin_v2_t", "squeezenet1_0", "efficientnet_v2_s", "vit_l_16")


def made(arch: str, channels: int = 3, num_classes: int = 5, **options: Any) -> Torchvision:
    torch.manual_seed(0)
    return Torchvision(num_classes, torch.Size((channels, SIDES[arch], SIDES[arch])), arch, **options)


def torchvisions_own(arch: str) -> nn.Module:
    options: dict[str, Any] = {"init_weights": True} if arch in ("googlenet", "inception_v3") else {}
    if arch.startswith("vit_"):
        options["image_size"] = SIDES[arch]
    torch.manual_seed(0)
    return models.get_model(arch, num_classes=5, **options)


def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a separate folder for torch's downloads."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder))
    (folder / "checkpoints").mkdir()
    return folder / "checkpoints"


@pytest.mark.parametrize("arch", SIDES)
def test_the_parts_make_torchvisions_own_logits_and_stages_partition_the_parameters(arch: str) -> None:
    model, images = made(arch).eval(), torch.randn(2, 3, SIDES[arch], SIDES[arch])
    with torch.no_grad():
        features = model.features(images)
        logits = model(images)
        assert features.shape == (2, model.output.in_features)
        assert torch.equal(model.output(features), logits)
        if not arch.startswith("squeezenet"):
            assert torch.equal(torchvisions_own(arch).eval()(images), logits)
    assert logits.shape == (2, 5)
    assert model.stages()["output"] is model.output
    assert len(model.stages()) >= 4
    assert_stages_partition_the_parameters(model)


@pytest.mark.parametrize("arch", ON_META)
def test_large_classifiers_are_split(arch: str) -> None:
    with torch.device("meta"):
        model = Torchvision(5, torch.Size((3, 224, 224)), arch)
        features = model.features(torch.empty(2, 3, 224, 224))
    assert features.shape == (2, model.output.in_features)
    assert model.output(features).shape == (2, 5)
    assert_stages_partition_the_parameters(model)


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_classifiers_train_without_them(arch: str) -> None:
    model = made(arch)
    assert model.training
    assert model(torch.randn(2, 3, 75, 75)).shape == (2, 5)
    assert not [name for name, _ in model.named_parameters() if "aux" in name.lower()]


def test_squeezenets_logits_are_the_mean_of_its_last_convolution_over_the_pixels() -> None:
    model, own, images = made("squeezenet1_1").eval(), torchvisions_own("squeezenet1_1").eval(), torch.randn(2, 3, 32, 32)
    expected = own.classifier[1](own.features(images)).mean(dim=(2, 3))
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("arch", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_forward_mode_is_exact_through_torchvisions_networks(arch: str) -> None:
    assert_exact(made(arch, num_classes=3).double(), *data((3, 32, 32)))


def test_one_channel_is_repeated_to_three() -> None:
    model, images = made("shufflenet_v2_x0_5", channels=1).eval(), torch.randn(2, 1, 32, 32)
    assert torch.equal(model(images), model(images.repeat(1, 3, 1, 1)))


def test_pretrained_weights_leave_the_output_layer_alone_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = models.get_model("shufflenet_v2_x0_5")
    url = models.get_model_weights("shufflenet_v2_x0_5")["DEFAULT"].url
    torch.save(published.state_dict(), cached(tmp_path, monkeypatch) / url.rpartition("/")[2])
    model = made("shufflenet_v2_x0_5", weights="DEFAULT")
    expected = {name: value for name, value in published.state_dict().items() if not name.startswith("fc.")}
    torch.testing.assert_close(dict(model.body.state_dict()), expected, rtol=0, atol=0)
    assert model.output.weight.shape == (5, 1024)


def test_weights_that_cannot_be_downloaded_are_one_sentence_that_names_file_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    folder = cached(tmp_path, monkeypatch)
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=rf"weights DEFAULT of torchvision's resnet50 .* put the file resnet50-11ad3fa6.pth into {folder}"):
        Torchvision(5, torch.Size((3, 32, 32)), "resnet50", "DEFAULT")


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 32, 32), {"arch": "resnet5"}, "no classifier of torchvision 'resnet5'; nearest: resnet50"),
        ((3, 32, 32), {"arch": "fcn_resnet50"}, "no classifier of torchvision 'fcn_resnet50'; nearest: resnet50"),
        ((3, 32, 32), {"weights": "DEFALT"}, "no weights of torchvision's resnet18 'DEFALT'; nearest: DEFAULT"),
        ((2, 32, 32), {}, "images of 1 or 3 channels, not 2"),
        ((3, 32, 32), {"arch": "alexnet"}, "alexnet does not take images of 3x32x32: .*too small"),
        ((3, 30, 30), {"arch": "vit_b_16"}, "vit_b_16 does not take images of 3x30x30: .*patch size"),
        ((3, 32, 32), {"arch": "maxvit_t"}, "maxvit_t does not take images of 3x32x32"),
    ],
)
def test_what_torchvision_does_not_have_or_take_is_one_sentence(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    choice = {"name": "torchvision", "_target_": "benchmark.models.zoo.Torchvision", "_partial_": True, **options}
    with pytest.raises(UserError, match=message):
        model_factory(choice)(3, torch.Size(shape))


def test_torchvision_is_imported_only_when_a_network_is_made() -> None:
    statements = ast.parse((ROOT / "benchmark" / "models" / "zoo.py").read_text(encoding="utf-8")).body
    imports = [ast.unparse(statement) for statement in statements if isinstance(statement, ast.Import | ast.ImportFrom)]
    assert "import torch" in imports
    assert not [statement for statement in imports if "torchvision" in statement]
