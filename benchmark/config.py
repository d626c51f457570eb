"""From overrides on the command line to the cells of a grid, with Hydra."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmark.described import described, faults, unknown_option
from benchmark.folders import CONF, GROUPS, files, refuse_twin, search_path
from benchmark.identity import ADDED, PARTS, identity
from benchmark.names import label
from benchmark.objects import NAMED, check_file
from benchmark.options import Experiment, LocalLauncher, RunConfig, SlurmLauncher, TrainerConfig, check, rescale
from benchmark.overrides import (
    EXTRA,
    FORMS,
    choices_of,
    combinations,
    expanded,
    is_of_base,
    no_choice,
    option_of,
    parse,
    swept_values,
)
from benchmark.records.store import KEY, canonical, digest
from benchmark.signatures import Option
from benchmark.template import Product, Template, Unfit
from methods import registry
from robust_benchmark.errors import UserError, unknown

MANY = 5  # number of mistakes after which no other cell is checked
DEEPEST = 10  # maximum nesting of bases


@dataclass(frozen=True)
class Cell:
    """One configuration with its trials.

    identity: the options that determine the numbers, plain data; key: its digest; label: the method's name

    choice: the choice of `method`, as on the command line; the label if options of the method are changed
    overrides: overrides that compose only this cell
    """

    config: RunConfig
    identity: dict[str, Any]
    key: str
    label: str
    choice: str
    overrides: tuple[str, ...]

    @property
    def canonical(self) -> str:
        """The identity as canonical JSON."""
        return canonical(self.identity)

    @property
    def determining_overrides(self) -> list[str]:
        """The overrides that compose this identity, without options outside it."""
        return determining(self.overrides)

    @property
    def seeds(self) -> range:
        """The trials' seeds."""
        return range(self.config.seed, self.config.seed + self.config.trials)


def determining(overrides: Iterable[str]) -> list[str]:
    """The overrides that determine an identity, without those of folders, devices and other options outside it."""
    return [override for override in overrides if option_of(override).partition(".")[0] in (*PARTS, *ADDED, "split", "experiment")]


def cells(overrides: Sequence[str]) -> list[Cell]:
    """Return the grid of `overrides`: commas sweep, and so do the experiment's `sweep` and `rows`; equal cells appear once.

    Raises UserError for an error in them, with the nearest valid name.
    """
    with _hydra():
        found: dict[str, Cell] = {}
        templates: dict[tuple[str, ...], Template] = {}
        product = Product()
        experiments: dict[tuple[str, ...], Experiment] = {}
        refused: dict[str, None] = {}
        parsed = parse(overrides)
        _refuse_additions(next(combinations(parsed)))
        swept = swept_values(parsed)
        for combination in combinations(parsed):
            fixed = tuple(override for override in combination if option_of(override) not in swept)
            for more in _sweeps_of_experiment(combination, fixed, experiments):
                try:
                    cell = _cell([*more, *combination], swept, templates, product)
                    found.setdefault(cell.key, cell)
                except UserError as error:
                    refused |= dict.fromkeys(error.sentences if isinstance(error, Mistakes) else [str(error)])
                    if len(refused) >= MANY:
                        raise Mistakes(list(refused)) from error
    _refuse(list(refused))
    return list(found.values())


def variants(cell: Cell, changes: Sequence[Sequence[str]]) -> list[Cell]:
    """Return the cell with the overrides of each of `changes` instead of its own ones of the same options. Raises UserError."""
    templates: dict[tuple[str, ...], Template] = {}
    product = Product()
    with _hydra():
        return [_cell(*_changed(cell, overrides), templates, product) for overrides in changes]


def _changed(cell: Cell, overrides: Sequence[str]) -> tuple[list[str], set[str]]:
    options = {option_of(override) for override in overrides}
    return [*(override for override in cell.overrides if option_of(override) not in options), *overrides], options


@contextmanager
def _hydra() -> Iterator[None]:
    """Initialise Hydra on conf/, with every registered method as a choice of `method`."""
    for name in {*registry.names()} - {file.path.stem for file in files("method")}:  # Hydra would use it as the schema of its twin
        _store("method", name, registry.schema(name))
    for name, schema in (("trainer", TrainerConfig), ("local", LocalLauncher), ("slurm", SlurmLauncher)):
        _store("schema", name, schema)
    store = ConfigStore.instance()
    vars(store)["__deepcopy__"] = lambda memo: store  # each composition copies its sources; those it loads from the store are copies anyway
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


_stored: dict[tuple[str, str], type] = {}


def _store(group: str, name: str, schema: type) -> None:
    """Store the schema of a choice, unless Hydra has it from an earlier call: storing all takes nearly as long as composing."""
    if _stored.get((group, name)) is not schema:
        ConfigStore.instance().store(group=group, name=name, node=schema)
        _stored[group, name] = schema


def _sweeps_of_experiment(
    overrides: Sequence[str], fixed: tuple[str, ...], experiments: dict[tuple[str, ...], Experiment]
) -> list[list[str]]:
    """Return the combinations of the experiment's own sweeps as overrides, without sweeps of options that the user gives.

    A sweep of several options replaces those of some of them, which another experiment may have set.

    experiments: the experiments composed so far, by the `fixed` overrides that choose them
    """
    given = {option_of(override) for override in overrides}
    if "experiment" not in given:
        return [[]]
    if fixed not in experiments:
        experiments[fixed] = _compose([override for override in overrides if not is_of_base(override)]).experiment
    experiment = experiments[fixed]
    sweep: dict[str, Any] = {key: OmegaConf.to_container(choices) for key, choices in experiment.sweep.items()}
    sweep |= {"method": list(experiment.rows)} if experiment.rows else {}
    options = {key: keys for key in sweep if given.isdisjoint(keys := set(key.split(",")))}
    swept = [key for key, keys in options.items() if not any(keys < others for others in options.values())]
    axes = [[_together(key, choice) for choice in sweep[key]] for key in swept]
    return [list(itertools.chain(*combination)) for combination in itertools.product(*axes)]


def _together(keys: str, choice: Any) -> list[str]:
    """Return overrides that set the comma-separated `keys`, or those that the choice names, to one of their choices."""
    values = choice if "," in keys else [choice]
    pairs = values.items() if isinstance(values, dict) else zip(keys.split(","), values, strict=True)
    return [each for key, value in pairs for each in expanded(f"{key}={value if isinstance(value, str) else json.dumps(value)}")]


def _refuse_additions(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that adds or removes an option, except for those of sbatch."""
    for override in overrides:
        option = option_of(override)
        if override[0] in "+~" and not override.startswith(f"+{EXTRA}"):
            known = _options(overrides)
            if option not in {*known, *GROUPS}:
                raise unknown_option(option, known)
            raise UserError(f"'{override}' is not accepted, because {option} exists: write {override.lstrip('+~')}; {FORMS}")


def composed_options(choices: Sequence[str]) -> dict[str, tuple[Any, Option | None]]:
    """Return all options of the default configuration with these choices: value and description, by dotted names. Raises UserError."""
    with _hydra():
        return _options(choices)


def _options(overrides: Sequence[str]) -> dict[str, tuple[Any, Option | None]]:
    """Return all options of the choices among the overrides."""
    composed = _compose([override for override in overrides if override.partition("=")[0] in GROUPS])
    return described(cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False)))


def _cell(overrides: Sequence[str], swept: set[str], templates: dict[tuple[str, ...], Template], product: Product) -> Cell:
    """Return the cell of these overrides; the `swept` values are set in a template of the others, else `product` gives known parts."""
    values = [override for override in overrides if option_of(override) in swept]
    fixed = tuple(override for override in overrides if option_of(override) not in swept)
    try:
        if not values:
            raise Unfit
        if fixed not in templates:
            templates[fixed] = _template(fixed)
        config: RunConfig = templates[fixed].make(values)
        if not templates[fixed].checked.issuperset(values):
            _refuse(faults(asdict(config)))
            templates[fixed].checked.update(values)
    except Unfit:
        config = product.made(overrides) or _composed(overrides, product)
    check(config)
    rescale(config)
    whole = asdict(config)
    config.method = whole["method"]  # composing reads the class of its options, so no other process could read it
    determined = identity({part: whole[part] for part in (*PARTS, "split", "scale", "precision")}, registry.added_options)
    name = label(determined["method"])
    choices = ["", *(override.partition("=")[2] for override in overrides if option_of(override) == "method")]
    changed = any(option_of(override).startswith("method.") for override in overrides)  # so that it is not a row of an experiment's table
    return Cell(config, determined, digest(determined, KEY), name, name if changed else choices[-1], tuple(overrides))


def composed_choice(group: str, name: str, data_dir: str | Path = "data") -> dict[str, Any]:
    """Return the options of a choice with its import path, from its file.

    data_dir: directory of published data sets
    Raises UserError if there is no such choice, or if its options have no default.
    """
    with _hydra():
        composed = _compose([f"{group}={name}"])
    composed.data_dir = str(data_dir)
    try:
        return cast(dict[str, Any], OmegaConf.to_container(composed[group], resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(f"{group}={name} has options without a default, such as a path") from error


def _composed(overrides: Sequence[str], product: Product) -> RunConfig:
    """Compose the configuration, and keep its parts in `product`. Raises UserError."""
    typed = _typed(overrides)
    config = _object(typed)
    product.keep(overrides, typed, config)
    return config


def _template(fixed: Sequence[str]) -> Template:
    """Return the template. Raises Unfit if the configuration is invalid without the swept values."""
    try:
        return Template(_typed(fixed))
    except (UserError, OmegaConfBaseException) as error:
        raise Unfit from error


def _typed(overrides: Sequence[str]) -> DictConfig:
    """Return the composed configuration as a RunConfig."""
    composed = _compose([override for override in overrides if not is_of_base(override)])
    _resolve_bases(composed.method)
    for override in filter(is_of_base, overrides):  # options of a base exist only when the base is known
        _set(composed, override)
        _resolve_bases(composed.method)
    _check(composed)
    try:
        return cast(DictConfig, OmegaConf.merge(OmegaConf.structured(RunConfig), composed))
    except OmegaConfBaseException as error:
        raise _user_error(error) from error


def _check(composed: DictConfig) -> None:
    """Raise UserError for options that are missing, unknown, or have an invalid value: all of them at once."""
    for part in (*PARTS, "split", "experiment"):
        if not OmegaConf.is_dict(composed.get(part)):
            raise UserError(f"{part} must have options, not be {composed.get(part)}")
    given = described(cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False)))
    _refuse([f"{name} has no default: give {name}=value" for name, (value, _) in given.items() if value == "???"])
    _refuse(faults(cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))))


class Mistakes(UserError):
    """Several mistakes at once, one sentence each."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = sentences


def _refuse(found: Sequence[str]) -> None:
    if found:
        raise Mistakes(found)


def _object(typed: DictConfig) -> RunConfig:
    try:
        return cast(RunConfig, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise _user_error(error) from error


def _compose(overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        if option_of(override) in GROUPS:
            refuse_twin(option_of(override), override.partition("=")[2])
    try:
        composed = compose("config", [*search_path(), *overrides], return_hydra_config=True)
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        raise (_user_error(error) if error.options is None else no_choice(group, name, error.options)) from error
    except ConfigCompositionException as error:
        raise _composition_error(error, overrides) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group replaced by a value
        raise _user_error(error) from error
    except YAMLError as error:
        raise _no_yaml(error) from error
    return _checked(composed)


def _checked(composed: DictConfig) -> DictConfig:
    """Return it without Hydra's own entries. Raises UserError if the file of a choice lacks a required entry of its group."""
    chosen = composed.hydra.runtime.choices
    refuse_twin("method", chosen.get("method") or "")
    with open_dict(composed):
        del composed["hydra"]
    for group in NAMED:
        if OmegaConf.is_dict(composed.get(group)) and chosen.get(group):
            check_file(group, chosen[group], cast(dict[str, Any], OmegaConf.to_container(composed[group])))
    return composed


def _no_yaml(error: YAMLError) -> UserError:
    """Return the error that names the file that cannot be parsed."""
    mark = getattr(error, "problem_mark", None)
    file, line = (mark.name, f" (line {mark.line + 1})") if mark else (getattr(error, "name", "a configuration file"), "")
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    return UserError(f"{file}{line} is not YAML: {reason}")


def _composition_error(error: ConfigCompositionException, overrides: Sequence[str]) -> UserError:
    """Return the error that names the nearest valid option if an option's name is wrong."""
    cause = error.__cause__ or error
    wrong = re.search(r"override '?([\w.@/]+)", str(error))
    if wrong is None:
        return _user_error(cause)
    given = next((override for override in overrides if option_of(override) == wrong[1].partition("@")[0]), "")
    if not given or option_of(given) in GROUPS:
        return _user_error(cause)
    return _mistake(given, _options(overrides)) or _user_error(cause)


def _mistake(override: str, known: Mapping[str, tuple[Any, Option | None]]) -> UserError | None:
    """Return the error of an override, for one of the `known` options or for none of them; None if there is no visible error."""
    name = option_of(override)
    if name not in known:
        return unknown_option(name, known)
    (parsed,) = OverridesParser.create().parse_overrides([override])
    option = known[name][1]
    fault = option.fault(name, parsed.value()) if option else ""
    return UserError(fault) if fault else None


def _user_error(error: BaseException) -> UserError:
    """Return a library's error in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.partition(": ")[2] for line in lines if line.startswith("full_key: ")), None)
    return UserError(f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0])


def _resolve_bases(method: DictConfig) -> None:
    """Replace each `base`, given by name or by name and some options, with its whole configuration."""
    chain: list[str] = []
    while "base" in method:
        options = _base_options(method.base)
        chain.append(options.pop("name"))
        if len(chain) > DEEPEST:
            raise UserError(f"method.base is circular: {', '.join(chain[:3])}, ...")
        base = _compose([f"method={chain[-1]}"]).method
        for option in options.keys() - base.keys():
            raise unknown("option", f"method.base.{option}", [f"method.base.{key}" for key in base.keys() - {"name"}])
        try:
            method.base = OmegaConf.merge(base, options)
        except OmegaConfBaseException as error:
            raise _user_error(error) from error
        method = method.base


def _base_options(given: Any) -> dict[str, Any]:
    """Return name and options of a base given by its name or by both. Raises UserError if it has no valid name."""
    options = cast(dict[str, Any], OmegaConf.to_container(given)) if OmegaConf.is_dict(given) else {"name": given}
    if "name" not in options:
        raise UserError(f"method.base {json.dumps(options)} has no 'name'")
    if options["name"] not in choices_of("method"):
        raise no_choice("method", str(options["name"]), choices_of("method"))
    return options


def _set(composed: DictConfig, override: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    try:
        OmegaConf.update(composed, parsed.get_key_element(), parsed.value())
    except OmegaConfBaseException as error:
        known = described(cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False)))
        raise _mistake(override, known) or _user_error(error) from error
