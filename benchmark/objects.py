"""From the options of a choice to the object that its `_target_` creates."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from benchmark.folders import files, with_file
from datasets.imbalance import Imbalance
from datasets.noise import Corruption
from datasets.source import Source
from robust_benchmark.blame import Owner, blaming, in_words
from robust_benchmark.errors import UserError

KINDS = {"dataset": Source, "noise": Corruption, "imbalance": Imbalance}
OURS = ("benchmark", "torchvision")  # packages of the suite's models
NAMED = (*KINDS, "model", "trainer")  # groups whose choices appear in identities by the names in their files


def check_file(group: str, name: str, options: Mapping[str, Any]) -> None:
    """Raise UserError if the file of a choice of NAMED lacks a required entry of its group."""
    fault = _fault(group, name.rpartition("/")[2], options)
    if fault:
        raise UserError(f"{with_file(group, name)} {fault}")


def _fault(group: str, name: str, options: Mapping[str, Any]) -> str:
    others = [file.path.stem for file in files(group)] if group == "dataset" else []  # it may be a variant with other defaults
    if options.get("name") not in (name, *others):
        return f"must contain `name: {name}`, but has {options.get('name')!r}"
    if group == "trainer":
        return ""
    made, where = (options.get("source"), " in `source`") if group == "dataset" else (options, "")
    target = made.get("_target_") if isinstance(made, Mapping) else None
    if not isinstance(target, str) or "." not in target:
        return f"must name a class or a function with its module by `_target_`{where}, but has {target!r}"
    if group == "model" and options.get("_partial_") is not True:
        return "must contain `_partial_: true`, because a model is created when the number of classes is known"
    if group == "dataset" and not isinstance(options.get("preprocessing"), Mapping):
        return f"must give `preprocessing`, a mapping of options, but has {options.get('preprocessing')!r}"
    return ""


def make(group: str, options: Mapping[str, Any], name: str = "") -> Any:
    """Create the object of a choice of dataset (its `source`), noise or imbalance. Raises UserError, which names the file.

    name: name of the choice, if the options lack it
    """
    said = with_file(group, name or options["name"])
    made = _instantiated(said, options if name else {key: value for key, value in options.items() if key != "name"})
    if not isinstance(made, KINDS[group]):
        raise UserError(f"{said}: {options['_target_']} returns {_kind(made)}, but {_kind(KINDS[group])} is needed")
    return made


def model_factory(options: Mapping[str, Any]) -> Callable[[int, torch.Size], nn.Module]:
    """Return a factory of the models of a choice of `model`. It raises UserError with the file's name if the model is not usable."""
    said, target = with_file("model", options["name"]), options["_target_"]
    factory = _instantiated(said, {key: value for key, value in options.items() if key != "name"})
    try:
        _signature(target).bind(None, None, **{key: value for key, value in options.items() if key != "name" and not key.startswith("_")})
    except TypeError as error:
        raise UserError(f"{said}: {target} cannot be called with (num_classes, image_shape) and the file's options: {error}") from error

    package = target.partition(".")[0]

    def checked(num_classes: int, image_shape: torch.Size) -> nn.Module:
        with nullcontext() if package in OURS else blaming([Owner(said, package)]):
            return usable(factory(num_classes, image_shape), f"{said}: {target}", num_classes, image_shape)

    return checked


def usable(model: Any, said: str, num_classes: int, image_shape: torch.Size) -> nn.Module:
    """Return the model. Raises UserError unless it is a module with parameters that gives logits for an image. said: what returned it"""
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        raise UserError(f"{said} returns {_kind(model)}, but a torch.nn.Module with parameters is needed")
    _try(model, said, num_classes, image_shape)
    return model


@torch.no_grad()
def _try(model: nn.Module, said: str, num_classes: int, image_shape: torch.Size) -> None:
    """Raise UserError if the model gives no logits for an image. Changes neither the model nor random numbers."""
    with torch.random.fork_rng(devices=[]):
        found = model.eval()(torch.zeros(1, *image_shape))
    model.train()
    if not isinstance(found, torch.Tensor) or found.shape != (1, num_classes) or not found.is_floating_point():
        given = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, torch.Tensor) else _kind(found)
        raise UserError(f"{said} maps a batch (1, {', '.join(map(str, image_shape))}) to {given}, not to logits (1, {num_classes})")


def takes(target: str, option: str) -> bool:
    """Return whether `target` accepts an option. False if it cannot be imported; creating it gives the reason."""
    try:
        return option in _signature(target).parameters
    except (Exception, SystemExit):
        return False


def _signature(target: str) -> inspect.Signature:
    return inspect.signature(pkgutil.resolve_name(target))


def _kind(made: Any) -> str:
    cls = made if isinstance(made, type) else type(made)
    return f"a {cls.__module__}.{cls.__qualname__}".replace("a builtins.", "a ")


def _instantiated(said: str, options: Mapping[str, Any]) -> Any:
    """Create the object. A UserError within it passes through."""
    try:
        return instantiate(dict(options), _convert_="all")
    except SystemExit as error:
        raise UserError(f"{said}: {options['_target_']}: {in_words(error)}") from error
    except InstantiationException as error:
        reason: BaseException = error.__cause__ or error
        if str(reason).startswith("Error loading") and reason.__cause__:  # Hydra's own error around that of the import
            reason = reason.__cause__
        if isinstance(reason, UserError):
            raise reason from None
        text = (str(reason).splitlines() or [""])[0]
        kind = "" if reason is error else f"{type(reason).__name__}: "
        raise UserError(f"{said}: {options['_target_']}: {kind}{text}") from error
