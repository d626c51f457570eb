"""The trainings of an audit: conf/audit.yaml chooses methods, model and schedule, and the user's overrides come after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from omegaconf import OmegaConf

from benchmark.audit.data import Audited
from benchmark.config import Cell, cells
from benchmark.folders import CONF
from benchmark.overrides import choices_of, option_of
from methods import registry
from methods.base import Knowledge
from robust_benchmark.errors import UserError

FEWEST_STEPS = 200
EVALUATIONS = 10  # of each training, whose mean is the running evidence
ELSEWHERE = {  # options of benchmark.run that an audit does not read, and what it has instead
    "method": "--methods names the methods of an audit",
    "seed": "--seed is the seed of an audit",
    "processes": "--processes is the number of training processes of an audit",
    "results_dir": "--out is the folder of all results of an audit",
    "checkpoint_dir": "--out is the folder of all results of an audit",
    **dict.fromkeys(
        ("trials", "experiment", "launcher", "observers", "keep", "rerun", "claim_seconds", "side_by_side"), "it does not apply to an audit"
    ),
}
OF_DATA = ("dataset", "imbalance", "noise", "split")  # groups that make a data set; an audit takes yours as it is
READ_OF_DATA = ("dataset.size", "dataset.features", "dataset.preprocessing")  # their options that an audit of your data reads
VARIANT = "_estimated"  # the ending of a choice that estimates what its method needs


def defaults() -> dict[str, Any]:
    """Return the content of conf/audit.yaml."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(CONF / "audit.yaml")))


def first_cell(choices: Sequence[str], overrides: Sequence[str]) -> Cell:
    """Return the configuration of plain training, for the options of the data set."""
    return cells([*_without(choices, overrides), *overrides, f"method={defaults()['methods'][0]}"])[0]


def check_own(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that would change the user's own data, because an audit would ignore it."""
    for override in overrides:
        option = option_of(override)
        if option.partition(".")[0] in OF_DATA and ".".join(option.split(".")[:2]) not in READ_OF_DATA:
            raise UserError(
                f"'{override}' is not accepted: an audit takes your data and labels as they are; --label names the column of labels,"
                f" --clean gives trusted examples, and {', '.join(READ_OF_DATA)} are its options of the data"
            )


def plan(data: Audited, choices: Sequence[str], overrides: Sequence[str], methods: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """Return a configuration for each method, and sentences on replaced methods.

    choices: overrides that the user's `overrides` replace; methods: names of choices; empty takes the defaults for this data
    Raises UserError for an override of `method` or with several values, and for a method that needs what this data has not.
    """
    known, given = defaults(), [*_without(choices, overrides), *overrides]
    _check(overrides, given)
    chosen, notes = _possible(methods or [*known["methods"], *(known["methods_with_clean"] if data.trusted is not None else [])], data)
    config = cells([*given, f"method={chosen[0]}"])[0].config
    options = {option_of(each) for each in given}
    if "trainer.steps" not in options:
        epochs = math.ceil(known["epochs"] * len(data) / config.trainer.batch_size)
        steps = min(config.trainer.steps, max(FEWEST_STEPS, epochs))
        given += [f"trainer.steps={steps}"]
    else:
        steps = config.trainer.steps
    if "trainer.evaluate_every" not in options:
        given += [f"trainer.evaluate_every={max(1, steps // EVALUATIONS)}"]
    return cells([*given, f"method={','.join(chosen)}"]), notes


def _check(overrides: Sequence[str], given: Sequence[str]) -> None:
    for override in overrides:
        if (reason := ELSEWHERE.get(option_of(override).partition(".")[0])) is not None:
            raise UserError(f"'{override}' is not accepted: {reason}")
    if len(cells([*given, f"method={defaults()['methods'][0]}"])) > 1:
        raise UserError(f"an audit has one configuration, and the overrides {' '.join(overrides)} have several values")


def _possible(methods: Sequence[str], data: Audited) -> tuple[list[str], list[str]]:
    """Return the methods that this data allows, each once, and sentences on those that a variant replaces."""
    chosen, notes = [], []
    for name in dict.fromkeys(methods):
        needs = _needs(name)
        variant = f"{name}{VARIANT}"
        if needs & Knowledge.OF_TRUTH and variant in choices_of("method") and not _needs(variant) & Knowledge.OF_TRUTH:
            notes.append(f"{name} needs the {_words(needs)}, which is unknown here: {variant} replaces it")
            name, needs = variant, _needs(variant)
        if needs & Knowledge.OF_TRUTH:
            raise UserError(f"method {name} needs the {_words(needs)}, which derives from true labels, and these are unknown")
        if Knowledge.CLEAN_SET in needs and data.trusted is None:
            raise UserError(f"method {name} needs trusted examples: give --clean")
        chosen.append(name)
    return list(dict.fromkeys(chosen)), notes


def _needs(name: str) -> Knowledge:
    return registry.build(cells([f"method={name}"])[0].identity["method"]).needs


def _words(needs: Knowledge) -> str:
    return " and ".join(name.replace("_", " ") for name in (needs & Knowledge.OF_TRUTH).names())


def _without(choices: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the choices whose options the overrides do not give."""
    given = {option_of(each) for each in overrides}
    return [each for each in choices if option_of(each) not in given]
