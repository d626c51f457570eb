"""Finds the class of an observer by its name."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from robust_benchmark.entries import entry_points
from robust_benchmark.errors import UserError, unknown

ENTRY_POINTS = "robust_training.observers"
BUILT_IN = {"tensorboard": "benchmark.observers.tensorboard:TensorBoard"}
PATH = re.compile(r"\w+(\.\w+)*:\w+")  # module:Class


def check(names: Sequence[str]) -> None:
    """Raises UserError for unknown names. Imports no observer."""
    known = _known() if names else {}
    for name in names:
        if name not in known and not PATH.fullmatch(name):
            raise UserError(f"{unknown('observer', name, known)}, or module:Class")
        if name == "tensorboard" and find_spec("tensorboard") is None:
            raise UserError("observers=[tensorboard] needs the package tensorboard: pip install tensorboard")


def load(name: str) -> Callable[[], Any]:
    """The class with this name. Raises the errors of its import."""
    found: Callable[[], Any] = pkgutil.resolve_name(_known().get(name, name))
    return found


def _known() -> dict[str, str]:
    """module:Class of each named observer."""
    return {**BUILT_IN, **{entry.name: entry.value for entry in entry_points(ENTRY_POINTS)}}
