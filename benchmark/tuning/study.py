"""The search of one method in one setting: Optuna proposes configurations, and noisy validation labels choose among them."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import trial
from benchmark.config import Cell, variants
from benchmark.records.grids import TrialId
from benchmark.records.store import Record, digest
from benchmark.tuning.options import TuneOptions
from benchmark.tuning.spaces import Distribution, Space, Value
from robust_benchmark.errors import UserError
from robust_benchmark.files import write

if TYPE_CHECKING:
    import optuna

CHOSEN_BY = "hyper_validation_accuracy_on_given_labels"
FIRST = 10  # configurations that TPE draws at random before it uses results
TOGETHER = 5  # configurations that TPE then proposes at once; a fixed number, because more processes must not change the search
SCHEMA = 1


@dataclass(frozen=True)
class Tried:
    """A configuration of a search. options: those that the search sets, by dotted name, none for the default; cell: it, with one trial"""

    options: Mapping[str, Value]
    cell: Cell


@dataclass
class Study:
    """The search of one cell's method. default: the cell; tried: its configurations so far; accuracies: theirs, NaN for a diverged trial

    The order of configurations depends only on the space, the sampler, its seed and the accuracies, so the same command repeats it.
    """

    default: Cell
    space: Space
    options: TuneOptions
    tried: list[Tried] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._optuna = _optuna_study(self.options.sampler, self.seed)
        self._optuna.enqueue_trial({option: self.default.config.method[option] for option in self.space})
        self._asked: list[optuna.Trial] = []

    @property
    def seed(self) -> int:
        """The seed of the sampler, of the trials of the search, and the one before those of the final trials."""
        return self.default.config.seed

    def ask(self) -> list[Cell]:
        """Return the next cells to train, one trial each; none if the budget is spent. The accuracies of earlier ones must be known."""
        number = self._next()
        distributions = {option: _distribution(each) for option, each in self.space.items()}
        self._asked = [self._optuna.ask(distributions) for _ in range(number)]
        proposed = [self._values(each.params) if self.tried or place else {} for place, each in enumerate(self._asked)]
        seeds = {"seed": self.seed, "trials": 1}
        cells = variants(self.default, [_overrides(options | seeds) for options in proposed])
        self.tried += [Tried(options, cell) for options, cell in zip(proposed, cells, strict=True)]
        return cells

    def _next(self) -> int:
        """The number of configurations to propose now."""
        left = self.options.budget - len(self.tried)
        if self.options.sampler == "random":
            return left
        return min(left, TOGETHER if self.tried else FIRST)

    def _values(self, params: Mapping[str, Value]) -> dict[str, Value]:
        return {f"method.{option}": self.space[option].rounded(value) for option, value in params.items()}

    def tell(self, records: Mapping[TrialId, Record]) -> None:
        """Report the records of the cells of the latest `ask`. A diverged trial counts as an accuracy of 0."""
        for asked, tried in zip(self._asked, self.tried[len(self.accuracies) :], strict=True):
            accuracy = records[tried.cell.key, self.seed]["metrics"].get(CHOSEN_BY, math.nan)
            self.accuracies.append(accuracy)
            self._optuna.tell(asked, 0.0 if math.isnan(accuracy) else accuracy)

    @property
    def chosen(self) -> Tried:
        """The configuration with the highest accuracy on noisy validation labels; the first one if several are equal."""
        scores = [-1.0 if math.isnan(each) else each for each in self.accuracies]
        return self.tried[scores.index(max(scores))]

    def finals(self) -> tuple[Cell, Cell]:
        """Return the default and the chosen configuration with the fresh seeds."""
        seeds = {"seed": self.seed + 1, "trials": self.options.trials}
        default, chosen = variants(self.default, [_overrides(seeds), _overrides({**self.chosen.options, **seeds})])
        return default, chosen

    def content(self) -> dict[str, Any]:
        """Return the description of the finished search, plain data."""
        configurations = [
            {"key": tried.cell.key, "options": dict(tried.options), CHOSEN_BY: None if math.isnan(accuracy) else accuracy}
            for tried, accuracy in zip(self.tried, self.accuracies, strict=True)
        ]
        return {
            "schema": SCHEMA,
            "method": self.default.label,
            "default": self.default.key,
            "overrides": self.default.determining_overrides,
            **self._asked_for(),
            "steps_per_trial": trial.steps(self.default),
            "configurations": configurations,
            "chosen_by": CHOSEN_BY,
            "chosen": {"key": self.chosen.cell.key, "options": dict(self.chosen.options)},
        }

    def _asked_for(self) -> dict[str, Any]:
        """Return what determines the search of this cell."""
        return {
            "space": {option: {each.kind: list(each.values)} for option, each in self.space.items()},
            "sampler": self.options.sampler,
            "budget": self.options.budget,
            "search_seed": self.seed,
            "final_seeds": list(range(self.seed + 1, self.seed + 1 + self.options.trials)),
        }

    @property
    def path(self) -> Path:
        """The path of its file, beside the records of the default configuration."""
        return trial.path(self.default, self.seed).with_name(f"study-{digest(self._asked_for(), 12)}.json")

    def write(self) -> Path:
        """Write the description of the finished search. Raises OSError."""
        write(self.path, json.dumps(self.content(), indent=1) + "\n")
        return self.path


def check_optuna() -> None:
    """Raise UserError if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise UserError("benchmark.tune needs Optuna: pip install optuna")


def _optuna_study(sampler: str, seed: int) -> optuna.Study:
    import optuna  # an optional package

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: optuna.samplers.BaseSampler = (
            optuna.samplers.RandomSampler(seed)
            if sampler == "random"
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST, constant_liar=True)
        )
    return optuna.create_study(direction="maximize", sampler=made)


def _distribution(given: Distribution) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if given.kind == "choices":
        return CategoricalDistribution(given.values)
    if given.kind == "integers":
        return IntDistribution(*given.values)
    low, high = given.values
    return FloatDistribution(low, high, log=given.kind == "log_uniform")


def _overrides(options: Mapping[str, Value]) -> list[str]:
    return [f"{option}={value if isinstance(value, str) else json.dumps(value)}" for option, value in options.items()]
