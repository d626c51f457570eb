"""Classifiers of torchvision, split into features and output."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from benchmark.models.classifier import Classifier
from robust_benchmark.errors import UserError, unknown

AUXILIARY = ("AuxLogits", "aux1", "aux2")  # further classifiers of inception_v3 and googlenet


class Torchvision(Classifier):
    """A classifier of torchvision by its name; its last linear layer is `output`.

    arch: torchvision's name, such as resnet50
    weights: None for random weights, or torchvision's name of pretrained ones, such as DEFAULT; then only the output layer is new

    One-channel images are repeated to three channels. Inception v3 and GoogLeNet have no auxiliary classifiers here. SqueezeNet's last 1x1
    convolution becomes a linear layer after the pool, so its logits have no ReLU. A vision transformer without pretrained
    weights is created for the size of the images.

    Raises UserError for an unknown `arch` or `weights`, for weights that cannot be downloaded, and for unsupported images:
    images with another number of channels than 1 and 3, or with a side that is too small or differs from the required one.
    """

    def __init__(self, num_classes: int, image_shape: torch.Size, arch: str = "resnet18", weights: str | None = None) -> None:
        if image_shape[0] not in (1, 3):
            raise UserError(f"torchvision's classifiers take images of 1 or 3 channels, not {image_shape[0]}")
        network = _random(arch, num_classes, image_shape) if weights is None else _pretrained(arch, weights)
        last = _without_output(network)
        super().__init__(network, last if weights is None else nn.Linear(last.in_features, num_classes))
        self._try(arch, image_shape)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images.expand(-1, 3, -1, -1))

    def stages(self) -> dict[str, nn.Module]:
        """Return the network's children that have parameters; if there are fewer than four, the parts of its sequences and lists instead.

        Parameters outside all children, such as a class token, form the stage "parameters".
        """
        own = dict(self.body.named_parameters(recurse=False))
        stages = _trained(dict(self.body.named_children()))
        if len(stages) < 4:
            stages = _trained({name: part for child in stages.items() for name, part in _parts(*child).items()})
        return {**({"parameters": nn.ParameterDict(own)} if own else {}), **stages, "output": self.output}

    @torch.no_grad()
    def _try(self, arch: str, image_shape: torch.Size) -> None:
        """Run one image, so that an unsupported shape is an error here."""
        try:
            self.eval()(torch.zeros(1, *image_shape))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise _unfit(arch, image_shape, error) from error
        self.train()


def _random(arch: str, num_classes: int, image_shape: torch.Size) -> nn.Module:
    options: dict[str, Any] = {"num_classes": num_classes}
    if arch in ("inception_v3", "googlenet"):
        options["init_weights"] = True  # the default, which torchvision warns about
    if arch.startswith("vit_"):
        options["image_size"] = image_shape[1]
    try:
        return _made(arch, **options)
    except AssertionError as error:
        raise _unfit(arch, image_shape, error) from error


def _pretrained(arch: str, weights: str) -> nn.Module:
    from torchvision.models import get_model_weights

    known = get_model_weights(_known(arch)).__members__
    if weights not in known:
        raise unknown(f"weights of torchvision's {arch}", str(weights), known)
    try:
        return _made(arch, weights=weights)
    except (OSError, RuntimeError) as error:  # no network connection, or a partial file
        raise _missing(f"{weights} of torchvision's {arch}", known[weights].url, error) from error


def _missing(weights: str, url: str, error: Exception) -> UserError:
    file, folder = os.path.basename(url), os.path.join(torch.hub.get_dir(), "checkpoints")
    reason = str(error).splitlines()[0]
    return UserError(f"the weights {weights} cannot be downloaded or read ({reason}); put the file {file} into {folder}")


def _made(arch: str, **options: Any) -> nn.Module:
    """Return the network, without auxiliary classifiers."""
    from torchvision.models import get_model

    network = get_model(_known(arch), progress=False, **options)
    if getattr(network, "aux_logits", False):
        network.aux_logits = False
        for name in AUXILIARY:
            setattr(network, name, None)
    return network


def _known(arch: str) -> str:
    from torchvision import models

    known = models.list_models(module=models)  # only classifiers: no detection, segmentation or quantised networks
    if arch not in known:
        raise unknown("classifier of torchvision", str(arch), known)
    return arch


def _without_output(network: nn.Module) -> nn.Linear:
    """Remove the layer that computes the logits: the network's last linear layer or convolution; return it as a linear layer."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    name, last = layers.popitem()
    network.set_submodule(name, nn.Identity())
    if isinstance(last, nn.Linear):
        return last
    linear = nn.Linear(last.in_channels, last.out_channels)
    linear.load_state_dict({"weight": last.weight.flatten(1), "bias": last.bias})
    return linear


def _unfit(arch: str, image_shape: torch.Size, error: Exception) -> UserError:
    shape = "x".join(map(str, image_shape))
    return UserError(f"torchvision's {arch} does not take images of {shape}: {str(error).splitlines()[0]}")


def _trained(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: module for name, module in modules.items() if any(True for _ in module.parameters())}


def _parts(name: str, module: nn.Module) -> dict[str, nn.Module]:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return {f"{name}.{inner}": part for inner, part in module.named_children()}
    return {name: module}
