"""What a cell is: the options that determine its numbers, by name and value and never by import path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from robust_benchmark.errors import UserError

PARTS = ("method", "dataset", "imbalance", "noise", "model", "trainer")
UNTYPED = ("dataset", "imbalance", "noise", "model")  # made by what their `_target_` names
PLACES = ("root", "cache")  # options of a source and of a noise that say where files lie, not what is in them

# Options that are younger than the first records, by their dotted names, with the value that they had before they existed. At that value
# an option is no part of an identity, so the keys of older records stay. Options of a method stand in its class, as `added_options`.
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
    "split.clean_noise_rate": 0.0,
    "dataset.true_labels": True,
    "dataset.source.true_labels": True,
    "dataset.source.train_size": None,
}


def identity(options: Mapping[str, Any], added_options: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """All of `options` (PARTS, split, and further ones of ADDED) that determines the numbers of a trial, as plain data.

    added_options: of a method, by its name
    Raises UserError for a number that is not finite.
    """
    found = {name: _plain(value, name, typed=name not in UNTYPED) for name, value in options.items()}
    found["dataset"]["source"] = _without_places(found["dataset"]["source"])
    found["noise"] = _without_places(found["noise"])
    found["method"] = without_added_options(found["method"], added_options)
    return _without(found, ADDED)


def without_added_options(method: Mapping[str, Any], added_options: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """A method's options, and its bases', less those that have the value from before they existed."""
    found = _without(dict(method), added_options(method["name"]))
    return found | {"base": without_added_options(found["base"], added_options)} if "base" in found else found


def _without_places(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in PLACES}


def _without(options: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """`options` less each option of `added`, by its dotted name, that has the value given there."""
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
    """`node` without import paths, and with whole floats as integers unless its options are typed, so that 0 and 0.0 are one value."""
    if isinstance(node, dict):
        return {key: _plain(value, f"{name}.{key}", typed) for key, value in node.items() if not key.startswith("_")}
    if isinstance(node, list):
        return [_plain(value, name, typed) for value in node]
    if not isinstance(node, float):
        return node
    if not math.isfinite(node):
        raise UserError(f"{name} must be a finite number, not {node}")
    return int(node) if node.is_integer() and not typed else node
