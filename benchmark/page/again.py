"""The overrides that compose the configuration of a record. This module imports torch, like all composition."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from benchmark.analysis.settings import flatten
from benchmark.config import composed_options
from benchmark.identity import ADDED, PARTS, PLACES
from benchmark.names import expand, label, with_bases
from benchmark.overrides import written
from benchmark.signatures import Option
from methods import registry
from robust_benchmark.errors import UserError, unknown

GROUPS = ("dataset", "imbalance", "noise", "model", "trainer")
DETERMINING = (*PARTS, "split", "scale", "precision")
RESCALED = ("trainer.steps", "trainer.evaluate_every")


def method_overrides(method: Mapping[str, Any]) -> list[str]:
    """The overrides for the method of an identity. Raises UserError if this installation lacks a method."""
    for name in with_bases(method):
        if name not in registry.names():
            raise UserError(f"this installation has no method '{name}'")
    return expand(label(method))


def setting_overrides(config: Mapping[str, Any]) -> list[str]:
    """The overrides for the rest of an identity: its choices, and the options that differ from their defaults.

    Raises UserError if this installation lacks one of the choices or options.
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
        if value != _rescaled(option, defaults[option][0], scale)
        and "${" not in str(defaults[option][0])  # its default follows another option
    }
    return [*choices, *(f"{option}={_text(_before_scaling(option, value, scale))}" for option, value in changed.items())]


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an identity by dotted name, without the method's options and the names of choices."""
    leaves = flatten({part: value for part, value in config.items() if part != "method"})
    return {option: value for option, value in leaves.items() if not option.endswith(".name")}


@functools.cache
def _defaults(choices: tuple[str, ...]) -> dict[str, tuple[Any, Option | None]]:
    """The options of these choices that determine numbers."""
    options = composed_options(choices)
    parts = [part for part in DETERMINING if part != "method"]
    return {
        option: described
        for option, described in options.items()
        if option.partition(".")[0] in parts and option.rpartition(".")[2] not in PLACES
    }


def _rescaled(option: str, value: Any, scale: float) -> Any:
    """The value of an option after scaling (benchmark.options.rescale)."""
    return max(1, round(scale * value)) if option in RESCALED and scale != 1 else value


def _before_scaling(option: str, value: Any, scale: float) -> Any:
    """A value that scales to this one. It may differ from the original: at scale 0.1, both 1005 and 1000 steps become 100."""
    return max(1, round(value / scale)) if option in RESCALED else value


def _text(value: Any) -> str:
    return written(value) if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
