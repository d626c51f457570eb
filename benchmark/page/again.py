"""The overrides that compose the configuration of a record again. Imports torch, as every composing does."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from benchmark.analysis.settings import flatten
from benchmark.config import composed_options
from benchmark.identity import ADDED, PARTS, PLACES
from benchmark.names import expand, label
from benchmark.signatures import Option
from methods import registry
from robust_benchmark.errors import UserError, unknown

GROUPS = ("dataset", "imbalance", "noise", "model", "trainer")
DETERMINING = (*PARTS, "split", "scale", "precision")
RESCALED = ("trainer.steps", "trainer.evaluate_every")
BARE = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_/.][\w./-]*", re.IGNORECASE)  # strings that Hydra takes for strings


def method_overrides(method: Mapping[str, Any]) -> list[str]:
    """What composes a method's part of an identity. Raises UserError where a method is not in this installation."""
    part: Mapping[str, Any] | None = method
    while part:
        if part["name"] not in registry.names():
            raise UserError(f"method '{part['name']}' is not in this installation")
        part = part.get("base")
    return expand(label(method))


def setting_overrides(config: Mapping[str, Any]) -> list[str]:
    """What composes the rest of an identity: its choices, and each option that differs from what they bring along.

    Raises UserError where this installation lacks a choice or an option of it.
    """
    choices = tuple(f"{group}={config.get(group, {'name': 'none'})['name']}" for group in GROUPS)
    defaults, given = _defaults(choices), _options(config)
    for option in given.keys() - defaults.keys():
        raise unknown("option", option, defaults)
    wanted = {option: given.get(option, ADDED.get(option, default)) for option, (default, _) in defaults.items()}
    scale = wanted["scale"]
    changed = {
        option: value
        for option, value in wanted.items()
        if value != _rescaled(option, defaults[option][0], scale) and "${" not in str(defaults[option][0])  # which follows another option
    }
    return [*choices, *(f"{option}={_text(_before_scaling(option, value, scale))}" for option, value in changed.items())]


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an identity by dotted name, less the method's and the names of choices."""
    leaves = flatten({part: value for part, value in config.items() if part != "method"})
    return {option: value for option, value in leaves.items() if not option.endswith(".name")}


@functools.cache
def _defaults(choices: tuple[str, ...]) -> dict[str, tuple[Any, Option | None]]:
    """The options with these choices that determine numbers."""
    options = composed_options(choices)
    parts = [part for part in DETERMINING if part != "method"]
    return {
        option: described
        for option, described in options.items()
        if option.partition(".")[0] in parts and option.rpartition(".")[2] not in PLACES
    }


def _rescaled(option: str, value: Any, scale: float) -> Any:
    """What `scale` makes of an option (benchmark.options.rescale)."""
    return max(1, round(scale * value)) if option in RESCALED and scale != 1 else value


def _before_scaling(option: str, value: Any, scale: float) -> Any:
    """The value that `scale` makes this one of: the scaled value is within a half of it, so dividing finds it."""
    return max(1, round(value / scale)) if option in RESCALED else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) and BARE.fullmatch(value) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
