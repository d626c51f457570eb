"""The options of `benchmark.tune` beside those of `benchmark.run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmark.overrides import option_of, parse
from benchmark.signatures import options_of
from robust_benchmark.errors import UserError, unknown

PREFIX = "tune."


@dataclass(frozen=True)
class TuneOptions:
    """How each method is tuned.

    budget: number of configurations of each method, its default among them, at least 1
    sampler: how Optuna proposes the others, one of tpe, random; its seed is the option `seed`
    trials: number of trials of the chosen configuration and of the default, with seeds that the search does not use, at least 1
    """

    budget: int = 20
    sampler: str = "tpe"
    trials: int = 3


def split(overrides: Sequence[str]) -> tuple[TuneOptions, list[str]]:
    """Return the options of the search, and the overrides of its configurations. Raises UserError."""
    known = options_of(TuneOptions)
    values = asdict(TuneOptions())
    own = [override for override in overrides if option_of(override).startswith(PREFIX)]
    for parsed in parse(own):
        name = parsed.get_key_element()
        option = name.removeprefix(PREFIX)
        if option not in known:
            raise unknown("option", name, [f"{PREFIX}{each}" for each in known])
        fault = known[option].fault(name, parsed.value())
        if fault:
            raise UserError(fault)
        values[option] = parsed.value()
    return TuneOptions(**values), [override for override in overrides if override not in own]
