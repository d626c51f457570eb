"""The options of a class, function or data class: type and default from its signature, range and meaning from its docstring.

A docstring describes an option in a line `name: meaning`, with indented continuation lines. `a, b: meaning` describes two options, and
`a: meaning; b: meaning` one after the other. A comma followed by `in [0, 1]`, `in (0, 1]`, `at least 1`, `above 0` or `one of x, y, z`
is the range; for a list, it applies to each entry.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from robust_benchmark.errors import unknown

REQUIRED: Any = inspect.Parameter.empty
WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    types.NoneType: ("null", "null"),
    dict: ("a mapping", "mappings"),
    list: ("a list", "lists"),
}
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
RANGE = re.compile(
    rf"(?:^|, )(?:in (?P<left>[\[(])(?P<low>{NUMBER}), (?P<high>{NUMBER})(?P<right>[\])])"
    rf"|at least (?P<least>{NUMBER})|above (?P<above>{NUMBER})|one of (?P<names>\w+(?:, \w+)*))"
)


class Range(NamedTuple):
    """Numbers between low and high; `closed` says whether each end is included."""

    low: float
    high: float
    closed: tuple[bool, bool]

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int | float):
            return False
        above = number >= self.low if self.closed[0] else number > self.low
        return above and (number <= self.high if self.closed[1] else number < self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"of at least {self.low:g}" if self.closed[0] else f"above {self.low:g}"
        return f"in {'[' if self.closed[0] else '('}{self.low:g}, {self.high:g}{']' if self.closed[1] else ')'}"


@dataclass(frozen=True)
class Option:
    """kind: its annotation, Any without one; default: REQUIRED without a default; names: the allowed texts, empty if there is no limit"""

    kind: Any
    default: Any
    meaning: str = ""
    range: Range | None = None
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The type and range, such as 'a number in [0, 1] or null'."""
        if not self.names:
            return _spoken(self.kind, self.range)
        return f"{'a list, each ' if get_origin(self.kind) is list else ''}one of {', '.join(self.names)}"

    @property
    def type(self) -> str:
        """The type as in `allowed`, without the range; '' if the meaning gives it, or if there is none."""
        spoken = _spoken(self.kind, None)
        return "" if self.names or spoken == "a value" else spoken

    def fault(self, name: str, value: Any) -> str:
        """Return a sentence if the option `name` must not have this value, else ''."""
        leaves = list(_leaves(value))
        wrong = [each for each in leaves if self.names and isinstance(each, str) and each not in self.names]
        if wrong:
            return str(unknown(name, wrong[0], self.names))
        in_range = self.range is None or all(each in self.range for each in leaves if _is_number(each))
        if value == "" and self.default != "":
            return f"{name} must be {self.allowed}, not empty"
        if _fits(self.kind, value) and in_range:
            return ""
        whole = isinstance(value, float) and in_range  # such as 2.0, which `shown` writes as the whole number that it is not
        return f"{name} must be {self.allowed}, not {value if whole else shown(value)}"


class Options(dict[str, Option]):
    """Options by name. is_open: other names are accepted too, by **options."""

    is_open = False


def options_of(target: Callable[..., Any]) -> Options:
    """Return the options of a class, a function or a data class, in order; a nested data class gives its options, by dotted names."""
    return _options_of(target)


@functools.cache
def _options_of(target: Callable[..., Any]) -> Options:
    found = Options()
    for name, kind, default in _parameters(target, found):
        if is_dataclass(kind):
            found |= {f"{name}.{inner}": option for inner, option in _options_of(kind).items()}  # type: ignore[arg-type]  # it is a class
        else:
            found[name] = Option(kind, default)
    for name, meaning in _meanings(target, found).items():
        within, names = _range(meaning)
        found[name] = Option(found[name].kind, found[name].default, meaning, within, names)
    return found


def _parameters(target: Callable[..., Any], found: Options) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, annotation and default of each."""
    if is_dataclass(target):
        hints = get_type_hints(target)
        for field in fields(target):
            yield field.name, hints[field.name], field.default_factory() if field.default_factory is not MISSING else field.default
        return
    hints = _hints(target)
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found.is_open = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            yield parameter.name, hints.get(parameter.name, Any), parameter.default


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations; none if one of them names an object that does not exist at run time."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # a plug-in's annotation may raise anything
        return {}


def _meanings(target: Callable[..., Any], known: Mapping[str, Option]) -> dict[str, str]:
    """Return meanings by name, from the docstrings of the target and of the classes from which it inherits options."""
    docs = [each.__doc__ for each in (reversed(target.__mro__) if inspect.isclass(target) else [target])]
    return {name: meaning for doc in docs for name, meaning in _entries(inspect.cleandoc(doc or ""), known)}


def _entries(doc: str, known: Mapping[str, Option]) -> Iterator[tuple[str, str]]:
    entries: list[str] = []
    is_open = False
    for line in doc.splitlines():
        if _names(line, known):
            entries.append(line)
            is_open = True
        elif is_open and line.startswith(" "):
            entries[-1] += " " + line.strip()
        else:
            is_open = False
    for entry in entries:
        for part in _parts(entry, known):
            meaning = part.partition(": ")[2]
            yield from ((name, meaning.rstrip(".")) for name in _names(part, known))


def _parts(entry: str, known: Mapping[str, Option]) -> list[str]:
    """Split an entry at each semicolon that starts another one."""
    parts: list[str] = []
    for part in entry.split("; "):
        if _names(part, known) or not parts:
            parts.append(part)
        else:
            parts[-1] += f"; {part}"
    return parts


def _names(text: str, known: Mapping[str, Option]) -> list[str]:
    """Return the options with which an entry starts."""
    names = text.partition(": ")[0].split(", ")
    return names if ": " in text and all(name in known for name in names) else []


def _range(meaning: str) -> tuple[Range | None, tuple[str, ...]]:
    found = RANGE.search(meaning)
    if found is None:
        return None, ()
    if found["names"]:
        return None, tuple(found["names"].split(", "))
    if found["left"]:
        return Range(float(found["low"]), float(found["high"]), (found["left"] == "[", found["right"] == "]")), ()
    return Range(float(found["least"] or found["above"]), math.inf, (found["above"] is None, True)), ()


def _fits(kind: Any, value: Any) -> bool:
    """Return whether a value, plain data, has the annotated kind; any value is accepted if plain data cannot have this kind."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(each, value) for each in inner)
    if origin is Literal:
        return value in inner
    if kind in (list, tuple) or origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(inner[0] if inner else Any, each) for each in value)
    if kind is dict or origin in (dict, Mapping):
        return isinstance(value, dict)
    if kind is float:
        return _is_number(value) and math.isfinite(value)
    if kind is int:
        return _is_number(value) and isinstance(value, int)
    return not isinstance(kind, type) or kind not in WORDS or isinstance(value, kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the entries of a list and of its nested lists; another value is its own only leaf."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _spoken(kind: Any, within: Range | None, many: bool = False) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_spoken(each, within, many) for each in inner))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (list, tuple, Sequence):
        return f"{'lists' if many else 'a list'} of {_spoken(inner[0], within, many=True)}"
    words = WORDS.get(dict if origin in (dict, Mapping) else kind if isinstance(kind, type) else None)
    if words is None:
        return "values" if many else "a value"
    return f"{words[many]} {within}" if within and kind in (int, float) else words[many]


def shown(value: Any) -> str:
    """Return a value in the form of messages and --help."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    text = f"{value:g}" if isinstance(value, float) else f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:70]}... ({len(text)} characters)"
