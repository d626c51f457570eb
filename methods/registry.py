"""The registry: `@register` makes a Method a choice of `method=`, configured by its `__init__` signature.

Built-in methods are the files of this folder. The registry finds others through the entry-point group `robust_training.methods`, or the
environment variable ROBUST_TRAINING_METHODS, a comma-separated list of modules to import. A notebook or a script defines its own method
with `@register("name")`, only for its own process.
"""

from __future__ import annotations

import copy
import difflib
import enum
import functools
import importlib
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field, make_dataclass
from importlib.util import find_spec
from typing import Any, TypeVar, get_type_hints, overload

import methods
from methods.base import Knowledge, Method
from robust_benchmark.blame import Owner, blaming, in_words, shown
from robust_benchmark.entries import entry_points
from robust_benchmark.errors import ContractError, UserError, unknown

ENTRY_POINTS = "robust_training.methods"
VARIABLE = "ROBUST_TRAINING_METHODS"
MethodClass = TypeVar("MethodClass", bound=type[Method])

_registered: dict[str, type[Method]] = {}
_left_out: dict[str, str] = {}  # reasons by the names of skipped methods, or of their files if these cannot be imported
_sound: set[type[Method]] = set()  # classes that `_sort_out` has checked
_schemas: dict[tuple[str, type[Method]], type] = {}  # options of methods as data classes, made once
_loading = False  # whether a plug-in import is running


@overload
def register(given: MethodClass) -> MethodClass: ...
@overload
def register(given: str) -> Callable[[MethodClass], MethodClass]: ...
def register(given: Any) -> Any:
    """Class decorator: `@register` names the method after its file, and `@register("name")` gives it that name.

    Raises UserError for a class that is not a Method, for an invalid name, and for a name in use, unless `__main__` defines its own class
    again. While plug-ins are loaded, such a class is skipped instead, so it does not affect others (see `problems`).
    """
    if isinstance(given, str):
        return functools.partial(_register, given)
    return _register(getattr(given, "__module__", "").rpartition(".")[2], given)


def _register(name: str, cls: MethodClass) -> MethodClass:
    here = getattr(cls, "__module__", "") == "__main__"
    if here:
        if name == "__main__":
            raise UserError(f"method {cls.__name__} is defined in __main__, so it needs a name: @register('{cls.__name__.lower()}')")
        _import_all()  # the names of files have priority
    refusal = _refusal(name, cls, here)
    if refusal and _loading:
        _leave_out(name, getattr(cls, "__module__", ""), refusal)
    elif refusal:
        raise UserError(refusal)
    else:
        _registered[name] = cls
        for reason in [reason for reason, other in _left_out.items() if here and other == name]:
            del _left_out[reason]  # of the class that this one replaces
    return cls


def _leave_out(name: str, module: str, reason: str) -> None:
    _left_out[f"method '{name}' ({_file(module)}) is left out: {reason}"] = name


def _refusal(name: str, cls: Any, here: bool) -> str:
    """Return the reason why the class cannot have this name, or ''."""
    if not isinstance(cls, type) or not issubclass(cls, Method):
        return f"@register is for a subclass of Method, not {getattr(cls, '__qualname__', repr(cls))}"
    if not re.fullmatch("[a-z0-9_]+", name):
        return f"method '{name}' must be named by lower-case letters, digits and underscores"
    taken = _registered.get(name, cls)
    if taken.__module__ != cls.__module__ or (taken.__qualname__ != cls.__qualname__ and not here):
        return f"two methods are named '{name}': {taken.__module__}.{taken.__qualname__} and {cls.__module__}.{cls.__qualname__}"
    return ""


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(methods.__path__, "methods."):
        importlib.import_module(module.name)
    named = filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(",")))
    theirs = [(module, VARIABLE) for module in named]
    theirs += [(entry.value.partition(":")[0].strip(), f"the entry point '{entry.name}'") for entry in entry_points(ENTRY_POINTS)]
    for module_name, source in theirs:
        _import_plugin(module_name, source)


def _import_plugin(module: str, source: str) -> None:
    """Import the module; if this fails, skip all its methods."""
    global _loading
    before, _loading = _loading, True
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        for name in [name for name, cls in _registered.items() if cls.__module__ == module]:
            del _registered[name]
        said = f"{source} names '{module}', which cannot be imported: {in_words(error)}{_line(error, module)}"
        _leave_out(module.rpartition(".")[2], module, said)
    finally:
        _loading = before


def _file(module: str) -> str:
    """Return the file of a module for messages, without importing it; the module's name if it has no file."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return shown(loaded)
    try:
        spec = find_spec(module)
    except (Exception, SystemExit):  # of the enclosing package
        spec = None
    return shown(spec.origin) if spec and spec.origin else module


def _line(error: BaseException, module: str) -> str:
    """Return ' (line 3)' if the module's own code raised the error; a SyntaxError already contains its line."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_globals.get("__name__") == module]
    return f" (line {lines[-1]})" if lines else ""


def _sort_out() -> None:
    """Skip classes of plug-ins that are not usable methods. This waits until all names in annotations are defined."""
    for name, cls in list(_registered.items()):
        fault = "" if cls in _sound or cls.__module__.startswith("methods.") else _fault(cls)
        if fault:
            _leave_out(name, cls.__module__, fault)
            del _registered[name]
        else:
            _sound.add(cls)


def _fault(cls: type[Method]) -> str:
    """Return the reason why the class is not a usable method, or ''."""
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return f"class {cls.__name__} is abstract: it does not define {', '.join(missing)}"
    if not isinstance(cls.needs, Knowledge | property):
        return _not_knowledge(cls.needs)
    if not isinstance(cls.added_options, Mapping):
        return f"`added_options` must be a mapping of options to values, not {cls.added_options!r}"
    if cls.loss is Method.loss and cls.phases is Method.phases:
        own = [name for name, value in vars(cls).items() if callable(value) and not name.startswith("__")]
        near = difflib.get_close_matches("loss", own, n=1)
        return "it defines neither `loss` nor `phases`" + (f"; nearest: {near[0]}" if near else "")
    return next(filter(None, map(_fault_of_option, inspect.signature(cls).parameters.values())), "") or _fault_of_types(cls)


def _not_knowledge(needs: object) -> str:
    return f"`needs` must be a Knowledge, such as Knowledge.CLEAN_SET, not {needs!r}"


def _fault_of_option(option: inspect.Parameter) -> str:
    if option.name == "name":
        return "an option cannot have the name 'name', which the method itself uses"
    if option.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        return f"option '{option}' of __init__ must have a name: no *arguments, no **options"
    if option.default is inspect.Parameter.empty and option.name != "base":
        return f"option '{option.name}' has no default; every option needs one"
    if not _is_plain(option.default) and option.name != "base":
        kind = type(option.default).__name__
        return f"the default of option '{option.name}' must be a number, a text, a boolean, None, or a list or dict of these, not a {kind}"
    return ""


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, bool | int | float | str | enum.Enum)


def _fault_of_types(cls: type[Method]) -> str:
    """Return a sentence on annotations that cannot be read, are not types of options, or do not fit their defaults."""
    from omegaconf import OmegaConf  # the command line needs it; a class used only from Python does not

    try:
        options = _schema("", cls)
    except Exception as error:  # evaluating an annotation may raise anything
        return f"the annotations of __init__ cannot be read: {in_words(error)}"
    try:
        OmegaConf.structured(options)
    except Exception as error:
        return f"an option has a type that no configuration can have, or a default of another type: {in_words(error)}"
    return ""


def problems() -> list[str]:
    """Return a sentence for each skipped method and module of a plug-in, with its file."""
    names()
    return list(_left_out)


def names() -> list[str]:
    """Return the names of all usable methods, sorted."""
    _import_all()
    _sort_out()
    return sorted(_registered)


def get(name: str) -> type[Method]:
    """Return the method class of that name. Raises UserError with the reason if it is skipped, else with the nearest name."""
    if name not in names():
        refuse_left_out(name)
        raise unknown("method", name, names())
    return _registered[name]


def refuse_left_out(name: str) -> None:
    """Raise UserError with the reason if a method of that name is skipped and no other method has the name."""
    reasons = [reason for reason, other in _left_out.items() if other == name]
    if reasons and name not in names():
        raise UserError(reasons[0])


def summary(name: str) -> str:
    """Return the first sentence of the method's docstring, on one line."""
    return inspect.cleandoc(get(name).__doc__ or "").partition("\n")[0]


def wraps(name: str) -> bool:
    """Return whether the method wraps another, its `base`."""
    return "base" in inspect.signature(get(name)).parameters


def only_here(config: Mapping[str, Any]) -> list[str]:
    """Return names of the methods in a configuration that no other process can import, because `__main__` defines them."""
    mine = [config["name"]] if get(config["name"]).__module__ == "__main__" else []
    return mine + (only_here(config["base"]) if "base" in config else [])


def added_options(name: str) -> Mapping[str, Any]:
    """Return options added after the first records of the method, with the value that reproduces the earlier behaviour (see Method)."""
    return get(name).added_options


def schema(name: str) -> type:
    """Return the method's options as a data class, made from its `__init__`: the options of the command line with types and defaults."""
    cls = get(name)
    if (name, cls) not in _schemas:
        _schemas[name, cls] = _schema(name, cls)
    return _schemas[name, cls]


def _schema(name: str, cls: type[Method]) -> type:
    hints = get_type_hints(cls.__init__)
    options: list[Any] = [("name", str, name)]
    for option in inspect.signature(cls).parameters.values():
        if option.name == "base":  # a method's name, or a mapping of its name and options
            options.append(("base", Any, "baseline"))
        else:
            default = field(default_factory=functools.partial(copy.deepcopy, option.default))
            options.append((option.name, hints.get(option.name, Any), default))
    return make_dataclass(cls.__name__, options)


def build(config: Mapping[str, Any]) -> Method:
    """Build the method that a resolved configuration describes: its name, its options, and recursively its `base`.

    Raises ContractError, which names the method, for any exception of its `__init__` other than UserError, and for an invalid result.
    """
    options = {str(key): value for key, value in config.items() if key != "name"}
    if "base" in options:
        options["base"] = build(options["base"])
    cls = get(config["name"])
    with naming(config):
        method = cls(**options)
        if "_parameters" not in vars(method):
            raise ContractError("`__init__` must call super().__init__() first")
        if not isinstance(method.needs, Knowledge):
            raise ContractError(_not_knowledge(method.needs))
    return method


def naming(config: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Context in which an error in the code of a method or of its bases names it and its file (see `blaming`)."""
    owners = _owners(config)
    return blaming([*owners, Owner(owners[-1].said, "methods")])  # the last one is for a plug-in that inherits the failing code


def _owners(config: Mapping[str, Any]) -> list[Owner]:
    """Return the owners, the innermost base first."""
    module = get(config["name"]).__module__
    bases = _owners(config["base"]) if "base" in config else []
    return [*bases, Owner(f"method '{config['name']}' ({_file(module)})", module.partition(".")[0])]
