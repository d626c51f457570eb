"""The registry: `@register` on a Method makes it a choice of `method=`, configured by its `__init__` signature.

Built-in methods are the files of this folder. Others are found by the entry-point group `robust_training.methods`, or by the
environment variable ROBUST_TRAINING_METHODS, a comma-separated list of modules to import. A notebook or a script defines its own under
`@register("name")`, for its process alone.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from typing import Any, TypeVar, get_type_hints, overload

import methods
from methods.base import Method
from robust_benchmark.entries import entry_points
from robust_benchmark.errors import UserError, unknown

ENTRY_POINTS = "robust_training.methods"
VARIABLE = "ROBUST_TRAINING_METHODS"
MethodClass = TypeVar("MethodClass", bound=type[Method])

_registered: dict[str, type[Method]] = {}


@overload
def register(given: MethodClass) -> MethodClass: ...
@overload
def register(given: str) -> Callable[[MethodClass], MethodClass]: ...
def register(given: Any) -> Any:
    """Class decorator: `@register` makes the class a method named after its file, and `@register("name")` one of that name.

    Raises UserError where another has the name, unless `__main__` defined that one and defines it again, or for a name that is none.
    """
    if isinstance(given, str):
        return functools.partial(_register, given)
    return _register(given.__module__.rpartition(".")[2], given)


def _register(name: str, cls: MethodClass) -> MethodClass:
    here = cls.__module__ == "__main__"
    if here:
        if name == "__main__":
            raise UserError(f"method {cls.__name__} is defined in __main__, so it needs a name: @register('{cls.__name__.lower()}')")
        _import_all()  # those of files have their names first
    if not re.fullmatch("[a-z0-9_]+", name):
        raise UserError(f"method '{name}' must be named by lower-case letters, digits and underscores")
    taken = _registered.setdefault(name, cls)
    if taken.__module__ != cls.__module__ or (taken.__qualname__ != cls.__qualname__ and not here):
        raise UserError(f"two methods are named '{name}': {taken.__module__}.{taken.__qualname__} and {cls.__module__}.{cls.__qualname__}")
    _registered[name] = cls
    return cls


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(methods.__path__, "methods."):
        importlib.import_module(module.name)
    named = filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(",")))
    theirs = [(module, VARIABLE) for module in named]
    theirs += [(entry.module, f"the entry point '{entry.name}'") for entry in entry_points(ENTRY_POINTS)]
    for module_name, source in theirs:
        try:
            importlib.import_module(module_name)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{source} names '{module_name}', which cannot be imported: {type(error).__name__}: {error}") from error


def names() -> list[str]:
    """Names of all methods, sorted."""
    _import_all()
    return sorted(_registered)


def get(name: str) -> type[Method]:
    """The method class of that name. Raises UserError with the nearest name."""
    if name not in names():
        raise unknown("method", name, names())
    return _registered[name]


def summary(name: str) -> str:
    """The first sentence of the method's docstring, on one line."""
    return inspect.cleandoc(get(name).__doc__ or "").partition("\n")[0]


def wraps(name: str) -> bool:
    """Whether the method wraps another, its `base`."""
    return "base" in inspect.signature(get(name)).parameters


def only_here(config: Mapping[str, Any]) -> list[str]:
    """Names of the methods in a configuration that no other process can import, as `__main__` defines them."""
    mine = [config["name"]] if get(config["name"]).__module__ == "__main__" else []
    return mine + (only_here(config["base"]) if "base" in config else [])


def added_options(name: str) -> Mapping[str, Any]:
    """Options that are younger than the first records of the method, with the value they had before (see Method)."""
    return get(name).added_options


def schema(name: str) -> type:
    """The method's options as a data class, made from its `__init__`: what the command line may set, with types and defaults."""
    cls = get(name)
    hints = get_type_hints(cls.__init__)
    options: list[Any] = [("name", str, name)]
    for option in inspect.signature(cls).parameters.values():
        if option.name == "base":  # a method's name, or a mapping of its name and options
            options.append(("base", Any, "baseline"))
        elif option.default is inspect.Parameter.empty:
            raise UserError(f"option '{option.name}' of method '{name}' has no default; every option needs one")
        else:
            kind = hints.get(option.name, Any)
            options.append((option.name, kind, field(default_factory=functools.partial(_copy, option.default))))
    return make_dataclass(cls.__name__, options)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def build(config: Mapping[str, Any]) -> Method:
    """The method that a resolved configuration describes: its name, its options, and so on for its `base`."""
    options = {str(key): value for key, value in config.items() if key != "name"}
    if "base" in options:
        options["base"] = build(options["base"])
    return get(config["name"])(**options)
