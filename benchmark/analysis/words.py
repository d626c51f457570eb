"""Names of options, values and settings for axes, legends and titles. This module imports no torch and draws nothing.

The dictionaries below contain names of this suite. Names of plug-ins follow the general rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.analysis.settings import setting_options
from benchmark.records.store import Record

OPTIONS = {
    "dataset.name": "Data set",
    "noise.ratio": "Class ratio",
    "imbalance.ratio": "Class ratio",
    "imbalance.rho": "Largest class over smallest",
    "split.clean_per_class": "Clean images per class",
    "split.clean_total": "Clean images",
    "split.hyper_validation": "Hyper-validation images",
    "split.clean_noise_rate": "Noise rate of the clean set",
    "noise.background": "Background class",
    "trainer.steps": "Training steps",
    "trainer.lr": "Learning rate",
    "trainer.batch_size": "Batch size",
    "dataset.preprocessing.pad": "Padding of random crops",
    "scale": "Share of the schedule",
}
NAMES = {  # values of options whose name ends in `.name`
    "mnist": "MNIST",
    "mnist_10k": "MNIST, 10,000 images",
    "mnist49": "MNIST 4 against 9",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "cifar10n": "CIFAR-10N",
    "cifar100n": "CIFAR-100N",
    "cifar10_jpeg": "CIFAR-10 as JPEG",
    "cifar10n_jpeg": "CIFAR-10N as JPEG",
    "clothing1m": "Clothing1M",
    "mini_webvision": "mini-WebVision",
    "food101n": "Food-101N",
    "animal10n": "ANIMAL-10N",
    "cnwl": "red mini-ImageNet",
    "imagenet_lt": "ImageNet-LT",
    "places_lt": "Places-LT",
    "inaturalist18": "iNaturalist 2018",
    "bgflip": "background flip",
    "uniflip": "uniform flip",
    "uniflip_released": "uniform flip as released",
    "symmetric": "uniform flip, own class included",
    "asymmetric": "asymmetric flip",
    "asymmetric_blocks": "flip to the next class of a block",
    "pairflip": "pair flip",
    "matrix": "flips by a matrix",
    "instance": "instance-dependent noise",
    "file": "labels of a file",
    "human": "labels by people",
    "exponential": "long tail",
    "step": "step imbalance",
    "majority": "one majority class",
    "lenet": "LeNet",
    "resnet32": "ResNet-32",
    "wrn28_10": "WRN-28-10",
}
OF_NAME = ("noise.rate", "noise.ratio", "imbalance.rho", "imbalance.ratio")  # their values follow the name: "background flip 40 %"
NOTHING = "none"  # the choice of a group without effect


def option_words(option: str) -> str:
    """The label of an option for an axis. An unknown option gives the last two parts of its dotted name.

    >>> option_words("noise.rate"), option_words("method.base.burn_in"), option_words("precision"), option_words("noise.name")
    ('Noise rate', 'Base burn in', 'Precision', 'Noise')
    """
    return OPTIONS.get(option) or _capital(_spaced(" ".join(option.removesuffix(".name").split(".")[-2:])))


def value_words(option: str, value: Any) -> str:
    """The value of an option in words.

    >>> value_words("noise.rate", 0.4), value_words("noise.ratio", 0.995), value_words("split.clean_total", 1000)
    ('40 %', '199:1', '1,000')
    """
    leaf = option.rpartition(".")[2]
    if leaf == "name":
        return NAMES.get(value, _spaced(str(value)))
    if isinstance(value, list):
        return "/".join(value_words(option, each) for each in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if leaf == "ratio" and 0 < value < 1:
        return f"{value / (1 - value):.3g}:1"
    if leaf == "rho":
        return f"{value:g}:1"
    return f"{100 * value:.4g} %" if is_share(option) and 0 <= value <= 1 else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def is_share(option: str) -> bool:
    """Whether the name of an option says that its values are shares, which are shown in percent.

    >>> is_share("noise.rate"), is_share("trainer.lr")
    (True, False)
    """
    return option.rpartition(".")[2] in ("rate", "noise_rate", "share", "rare", "scale") and option != "noise.scale"


def setting_words(records: Sequence[Record], without: str = "") -> list[str]:
    """For each record, the part of its setting that distinguishes the records. It always has the rates and ratios of noise and imbalance.

    without: an option to omit, because it is on an axis
    """
    configs = [record["config"] for record in records]
    return [_setting(leaves) for leaves in setting_options(configs, without, (*OF_NAME, "dataset.name", "imbalance.name", "noise.name"))]


def _setting(leaves: Mapping[str, Any]) -> str:
    """
    >>> _setting({"dataset.name": "digits", "noise.name": "bgflip", "noise.rate": 0.4, "split.clean_per_class": 5, "model.name": None})
    'Digits, background flip 40 %, clean images per class 5'
    """
    parts = {option: _phrase(option, value) for option, value in leaves.items() if value is not None}
    for option in OF_NAME:
        name = f"{option.partition('.')[0]}.name"
        if option in parts and name in parts:
            parts[name] = f"{parts[name]} {value_words(option, leaves[option])}"
            del parts[option]
    return _capital(", ".join(filter(None, parts.values())))


def _phrase(option: str, value: Any) -> str:
    if option.endswith(".name"):
        return {"noise.name": "no noise"}.get(option, "") if value == NOTHING else value_words(option, value)
    if option == "dataset.preprocessing.pad":
        return f"random crops by {value}" if value else "no random crops"
    words = option_words(option)
    return f"{words[:1].lower()}{words[1:]} {value_words(option, value)}"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
