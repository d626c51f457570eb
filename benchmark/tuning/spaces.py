"""The search space of a method: the file conf/tune/<method>.yaml, or <method>.yaml in the folder `tune` of a plug-in.

The file maps options of the method to distributions:

    beta: {uniform: [0.5, 0.99]}
    lam: {log_uniform: [0.3, 30]}
    stages: {integers: [2, 8]}
    soft: {choices: [false, true]}

It is not part of a method's code, so it changes no fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmark.config import Cell
from benchmark.folders import SPACES, File, files, refuse_twin
from benchmark.overrides import option_of
from benchmark.signatures import Option, options_of, shown
from methods import registry
from robust_benchmark.errors import UserError, unknown

RANGES = ("uniform", "log_uniform", "integers")
KINDS = (*RANGES, "choices")
DIGITS = 4  # significant digits of a number that is tried, so that names of configurations stay short

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Distribution:
    """The values of one option. kind: one of KINDS; values: the lowest and the highest number, or the choices"""

    kind: str
    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        if self.kind == "choices":
            return value in self.values
        return isinstance(value, int | float) and self.values[0] <= value <= self.values[1]

    def rounded(self, value: Value) -> Value:
        """Return the value with few digits, inside the range."""
        if self.kind not in ("uniform", "log_uniform"):
            return value
        low, high = self.values
        return min(max(float(f"{value:.{DIGITS}g}"), float(low)), float(high))


Space = dict[str, Distribution]


def space_of(cell: Cell) -> Space:
    """Return the search space of the cell's method, without options that the command line sets.

    Raises UserError if there is none, for a mistake in its file, and if it lacks the value of the cell, which is one of the configurations.
    """
    method: Mapping[str, Any] = cell.config.method
    file = _file(method["name"])
    given = {option_of(override) for override in cell.overrides}
    space = {option: found for option, found in _read(file, method["name"]).items() if f"method.{option}" not in given}
    if not space:
        raise UserError(f"the command line sets every option in the search space of method '{method['name']}' ({file})")
    for option, distribution in space.items():
        if method[option] not in distribution:
            values = f"{distribution.kind} {shown(distribution.values)}"
            raise UserError(f"{file}: {option} is {values}, without the value of {cell.label}, which is {shown(method[option])}")
    return space


def _file(method: str) -> File:
    refuse_twin(SPACES, method)
    known = {file.path.stem: file for file in files(SPACES)}
    if method not in known:
        tunable = ", ".join(sorted(known))
        raise UserError(f"method '{method}' has no search space: add conf/{SPACES}/{method}.yaml (docs/tune.md), or choose from {tunable}")
    return known[method]


def _read(file: File, method: str) -> Space:
    try:
        given = OmegaConf.to_container(OmegaConf.load(file.path))
    except (YAMLError, OmegaConfBaseException, OSError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(given, dict) or not given:
        raise UserError(f"{file} must map options of method '{method}' to distributions")
    known = options_of(registry.get(method))
    found = {}
    for option, distribution in ((str(name), each) for name, each in given.items()):
        if option not in known or option == "base":
            raise UserError(f"{file}: {unknown('option', option, [name for name in known if name != 'base'])}")
        found[option] = _distribution(f"{file}: {option}", distribution)
        _check_values(file, f"method.{option}", known[option], found[option])
    return found


def _distribution(said: str, given: Any) -> Distribution:
    """Return the distribution. Raises UserError, which begins with `said`."""
    if not isinstance(given, dict) or len(given) != 1:
        raise UserError(f"{said} must have one distribution, such as {{uniform: [0, 1]}}, not {given}")
    ((kind, values),) = given.items()
    if kind not in KINDS:
        raise UserError(f"{said}: {unknown('distribution', str(kind), KINDS)}")
    if not isinstance(values, list) or not values or not all(isinstance(each, Value) for each in values):
        raise UserError(f"{said}: {kind} needs a list of values, not {values}")
    if kind in RANGES and not _is_range(kind, values):
        above = " above 0" if kind == "log_uniform" else ""
        raise UserError(f"{said}: {kind} needs the lowest and the highest number{above}, not {values}")
    return Distribution(kind, tuple(values))


def _is_range(kind: str, values: Sequence[Any]) -> bool:
    number = int if kind == "integers" else int | float
    if len(values) != 2 or not all(isinstance(each, number) and not isinstance(each, bool) for each in values):
        return False
    return values[0] < values[1] and (kind != "log_uniform" or values[0] > 0)


def _check_values(file: File, name: str, option: Option, distribution: Distribution) -> None:
    """Raise UserError if the method does not accept one of the values; for a range, the ends are tested."""
    for value in distribution.values:
        fault = option.fault(name, value)
        if fault:
            raise UserError(f"{file}: {fault}")
