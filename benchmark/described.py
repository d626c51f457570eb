"""Descriptions of every option of a configuration, from the code that it configures, and checks of its value."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.folders import GROUPS, with_file
from benchmark.identity import UNTYPED
from benchmark.options import LocalLauncher, RunConfig, SlurmLauncher
from benchmark.signatures import Option, Options, options_of
from datasets.augment import Preprocessing
from methods import registry
from robust_benchmark.errors import UserError, unknown

LAUNCHERS: dict[str, type] = {"local": LocalLauncher, "slurm": SlurmLauncher}
OWN = ("name", "_target_", "_partial_", "base", "source", "preprocessing")  # the keys that define a choice, and those with other options
GIVEN = {"model": 2}  # arguments that no option gives: the number of classes and the shape of images


@dataclass(frozen=True)
class Section:
    """The options of one object. at: their dotted name; known: its options; given: the options of the configuration; of: the object"""

    at: str
    known: Options
    given: Mapping[str, Any]
    of: str

    def name(self, option: str) -> str:
        """Return the dotted name of one of them."""
        return f"{self.at}.{option}" if self.at else option

    @property
    def faults(self) -> Iterator[str]:
        """Return a sentence for each unknown option and each invalid value."""
        for name, value in self.given.items():
            if name in self.known and name not in OWN:
                yield from filter(None, [self.known[name].fault(self.name(name), value)])
            elif name not in OWN and not self.known.is_open:
                known = [self.name(each) for each in self.known if each not in OWN]
                yield f"{self.of} has {unknown('option', self.name(name), known)}"


def faults(config: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each unknown option and invalid value of a configuration, plain data. Raises UserError."""
    return [fault for section in sections(config) for fault in section.faults]


def described(config: Mapping[str, Any]) -> dict[str, tuple[Any, Option | None]]:
    """Return value and description of every option of a configuration, by its dotted name; None without a description. Raises UserError."""
    return {
        section.name(name): (value, section.known.get(name))
        for section in sections(config)
        for name, value in section.given.items()
        if (name not in OWN or (name == "base" and isinstance(value, str))) and name.rpartition(".")[2] != "name"
    }


def unknown_option(name: str, known: Mapping[str, Any]) -> UserError:
    """Return the error for an unknown option of a configuration whose options are `known`."""
    options = {*known, *GROUPS}
    siblings = [option for option in options if "." in option and option.partition(".")[0] == name.partition(".")[0]]
    return unknown("option", name, siblings or {option.partition(".")[0] for option in options})


def sections(config: Mapping[str, Any]) -> Iterator[Section]:
    """Return all options of a configuration, plain data. Raises UserError for an invalid method."""
    yield _of_run({name: value for name, value in config.items() if name not in (*UNTYPED, "method")})
    yield from _of_method("method", config["method"])
    dataset = config["dataset"]
    source, said = _of_target(dataset["source"]["_target_"]), with_file("dataset", dataset["name"])
    shared = Options(source)
    shared.is_open = True  # options that the file passes to the source, possibly under other names
    yield Section("dataset", shared, dataset, said)
    yield Section("dataset.source", source, dataset["source"], said)
    yield Section("dataset.preprocessing", options_of(Preprocessing), dataset["preprocessing"], said)
    for group in ("imbalance", "noise", "model"):
        yield _of_choice(group, config[group])


def _of_run(config: Mapping[str, Any]) -> Section:
    """Return all options that data classes describe."""
    known, launcher = Options(options_of(RunConfig)), config.get("launcher")
    if launcher:
        del known["launcher"]
        known |= {f"launcher.{name}": option for name, option in options_of(LAUNCHERS[launcher["name"]]).items()}
    return Section("", known, dict(_leaves(config, known)), "the configuration")


def _leaves(config: Mapping[str, Any], known: Options, at: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and f"{at}{name}" not in known:  # a mapping that is not an option itself
            yield from _leaves(value, known, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def _of_method(at: str, given: Mapping[str, Any]) -> Iterator[Section]:
    yield Section(at, options_of(registry.get(given["name"])), given, f"method '{given['name']}'")
    if isinstance(given.get("base"), dict):
        yield from _of_method(f"{at}.base", given["base"])


def _of_choice(group: str, given: Mapping[str, Any]) -> Section:
    """Return the options of a choice that its `_target_` accepts."""
    return Section(group, _of_target(given["_target_"], GIVEN.get(group, 0)), given, with_file(group, given["name"]))


@functools.cache
def _of_target(target: str, skipped: int = 0) -> Options:
    """Return the options of `target`, except for the first arguments; any options if its import fails: creating it gives the reason."""
    left = Options()
    left.is_open = True
    try:
        known = options_of(pkgutil.resolve_name(target))
    except (Exception, SystemExit):  # importing a plug-in may raise anything
        return left
    left.update(list(known.items())[skipped:])
    left.is_open = known.is_open
    return left
