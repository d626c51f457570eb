"""The identity of a cell: the options that determine its numbers, by name and value, without import paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from robust_benchmark.errors import UserError

PARTS = ("method", "dataset", "imbalance", "noise", "model", "trainer")
UNTYPED = ("dataset", "imbalance", "noise", "model")  # created by the `_target_` that they name
PLACES = ("root", "cache")  # options of a source and of a noise that give the location of files, not their content
CHECKS = ("train_md5", "test_md5")  # options of a source that reject other files and change no number

# Options that are newer than the first records, by their dotted names, with the value that reproduces the earlier behaviour. At that
# value an option is not part of an identity, so older keys do not change. A method's class has its own, in `added_options`.
ADDED: dict[str, Any] = {
    "scale": 1.0,
    "precision": "float32",
    "trainer.optimiser": "sgd",
    "trainer.nesterov": False,
    "trainer.betas": [0.9, 0.999],
    "trainer.clip_norm": 0.0,
    "trainer.ema": 0.0,
    "trainer.cosine": False,
    "trainer.final_share": 0.0,
    "trainer.warm_up": 0.0,
    "imbalance": {"name": "none"},
    "imbalance.images": "random",
    "imbalance.after_noise": False,
    "split.clean_noise_rate": 0.0,
    "split.clean_first": False,
    "dataset.true_labels": True,
    "dataset.source.true_labels": True,
    "dataset.source.train_size": None,
    "noise.counts": "exact",
    "noise.inputs": "standardised",
}


def identity(options: Mapping[str, Any], added_options: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the part of `options` (PARTS, split, and others in ADDED) that determines the numbers of a trial, as plain data.

    added_options: added options of a method, by its name
    Raises UserError for a number that is not finite.
    """
    found = {name: _plain(value, name, typed=name not in UNTYPED) for name, value in options.items()}
    found["dataset"]["source"] = _without_files(found["dataset"]["source"])
    found["noise"] = _without_files(found["noise"])
    found["method"] = without_added_options(found["method"], added_options)
    return _without(found, ADDED)


def without_added_options(method: Mapping[str, Any], added_options: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of a method and its bases, without those at the value that reproduces the earlier behaviour."""
    found = _without(dict(method), added_options(method["name"]))
    return found | {"base": without_added_options(found["base"], added_options)} if "base" in found else found


def _without_files(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in PLACES + CHECKS}


def _without(options: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` without each option of `added`, by its dotted name, that has the value given there."""
    left = options
    for name, before in added.items():
        left = _without_one(left, name.split("."), before)
    return left


def _without_one(options: dict[str, Any], path: list[str], before: Any) -> dict[str, Any]:
    first, *rest = path
    if first not in options:
        return options
    if rest:
        return {**options, first: _without_one(options[first], rest, before)}
    return options if options[first] != before else {name: value for name, value in options.items() if name != first}


def _plain(node: Any, name: str, typed: bool) -> Any:
    """Return `node` without import paths, and with whole floats as integers unless its options are typed, so 0 and 0.0 are equal."""
    if isinstance(node, dict):
        return {key: _plain(value, f"{name}.{key}", typed) for key, value in node.items() if not key.startswith("_")}
    if isinstance(node, list):
        return [_plain(value, name, typed) for value in node]
    if not isinstance(node, float):
        return node
    if not math.isfinite(node):
        raise UserError(f"{name} must be a finite number, not {node}")
    return int(node) if node.is_integer() and not typed else node
