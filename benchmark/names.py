"""A name for each configuration of a method: the choice of `method=` that composes it, with the options that differ.

`reed_soft` and `reed:beta=0.5` are such names. Tables print them; `method=` and `--methods` accept them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from benchmark.folders import files
from benchmark.identity import without_added_options
from benchmark.records.store import canonical
from methods import registry


def label(method: Mapping[str, Any]) -> str:
    """Return the name of a method's part of an identity.

    >>> label({"name": "reed", "beta": 0.95, "soft": True}), label({"name": "reed", "beta": 0.5, "soft": False})
    ('reed_soft', 'reed:beta=0.5')
    """
    name, options = _name_and_options(method)
    return ":".join([name, *(f"{option}={_text(value)}" for option, value in options.items())])


def expand(name: str) -> list[str]:
    """Return the overrides that compose the configuration of that name.

    >>> expand("reed:beta=0.5")
    ['method=reed', 'method.beta=0.5']
    """
    choice, *options = name.split(":")
    return [f"method={choice}", *(f"method.{option}" for option in options)]


def with_bases(method: Mapping[str, Any]) -> list[str]:
    """Return the names of a method and of the methods that it wraps.

    >>> with_bases({"name": "sam", "base": {"name": "reed"}})
    ['sam', 'reed']
    """
    return [method["name"], *(with_bases(method["base"]) if "base" in method else [])]


def _name_and_options(method: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    known = choices().get(canonical(method))
    if known is not None:
        return known, {}
    defaults = vars(registry.schema(method["name"])())
    given = {**registry.added_options(method["name"]), **method}
    options = {option: value for option, value in given.items() if option not in ("name", "base") and value != defaults[option]}
    if "base" in method:
        base, of_base = _name_and_options(method["base"])
        options |= {"base": base} if base != defaults["base"] else {}
        options |= {f"base.{option}": value for option, value in of_base.items()}
    return method["name"], options


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def choices() -> dict[str, str]:
    """Return the choices of `method=` by the canonical JSON of their configurations.

    Among several choices with equal configurations, the registered method counts; for a wrapper around its default base, the first file.
    """
    classes = tuple((name, registry.get(name)) for name in registry.names())
    return _choices(classes, tuple((file.path.stem, file.path) for file in files("method")))


@functools.cache
def _choices(classes: tuple[tuple[str, type], ...], paths: tuple[tuple[str, Path], ...]) -> dict[str, str]:
    registered, files = dict(classes), dict(paths)
    found: dict[str, str] = {}
    for name in sorted({*registered, *files}, key=lambda name: (name not in registered or registry.wraps(name), name not in files, name)):
        try:
            found.setdefault(canonical(without_added_options(_composed(name, files), registry.added_options)), name)
        except Exception:  # YAML files can have many kinds of errors; this one is reported when the file is chosen
            continue
    return found


def _composed(name: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return Hydra's composition of the choice `name`, a hundred times as fast."""
    composed = _with_parents(name, files)
    return composed | {"base": _composed(composed["base"], files)} if isinstance(composed.get("base"), str) else composed


def _with_parents(name: str, files: Mapping[str, Path]) -> dict[str, Any]:
    if name not in files:
        return {"name": name, **vars(registry.schema(name)())}
    given = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(files[name])))
    parents = [parent for parent in given.pop("defaults", []) if parent != "_self_"]
    options = _with_parents(parents[0] if parents else given["name"], files)
    return options | {option: float(value) if isinstance(options[option], float) else value for option, value in given.items()}
