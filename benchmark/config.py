"""From overrides on the command line to the cells of a grid, by Hydra."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmark.folders import CONF, GROUPS, files, problems, refuse_twin, search_path
from benchmark.identity import ADDED, PARTS, identity
from benchmark.names import expand, label
from benchmark.objects import NAMED, check_file
from benchmark.options import Experiment, LocalLauncher, RunConfig, SlurmLauncher, TrainerConfig, check, rescale
from benchmark.records.store import KEY, canonical, digest
from benchmark.template import Template, Unfit
from methods import registry
from robust_benchmark.errors import UserError, unknown


@dataclass(frozen=True)
class Cell:
    """One configuration with its trials.

    identity: what determines the numbers, plain data; key: its digest; label: the method's name

    choice: of `method`, as the command line has it; the label where options of the method are changed
    overrides: that compose this cell alone
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
        """The overrides that compose this identity: those of what lies outside it are left out."""
        return [override for override in self.overrides if _key(override).partition(".")[0] in (*PARTS, *ADDED, "split", "experiment")]

    @property
    def seeds(self) -> range:
        """The trials' seeds."""
        return range(self.config.seed, self.config.seed + self.config.trials)


def cells(overrides: Sequence[str]) -> list[Cell]:
    """The grid that `overrides` describe: any comma sweeps, and so do the experiment's `sweep` and `rows`; equal cells come once.

    Raises UserError for whatever is wrong with them, with the nearest right name.
    """
    with _hydra():
        found: dict[str, Cell] = {}
        templates: dict[tuple[str, ...], Template] = {}
        experiments: dict[tuple[str, ...], Experiment] = {}
        _refuse_names(overrides)
        parsed = _parse(overrides)
        swept = _swept_values(parsed)
        for combination in _combinations(parsed):
            _refuse_names(combination)
            fixed = tuple(override for override in combination if _key(override) not in swept)
            for more in _sweeps_of_experiment(combination, fixed, experiments):
                cell = _cell([*more, *combination], swept, templates)
                found.setdefault(cell.key, cell)
    return list(found.values())


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra initialised on conf/, with every registered method as a choice of `method`."""
    store = ConfigStore.instance()
    for name in {*registry.names()} - {file.path.stem for file in files("method")}:  # Hydra would take it for the schema of its twin
        store.store(group="method", name=name, node=registry.schema(name))
    for name, schema in (("trainer", TrainerConfig), ("local", LocalLauncher), ("slurm", SlurmLauncher)):
        store.store(group="schema", name=name, node=schema)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def _refuse_names(overrides: Sequence[str]) -> None:
    """Raises UserError for an override of a name or an import path, which say what a choice is and stand in its file alone."""
    for override in overrides:
        option = _key(override)
        last = option.rpartition(".")[2]
        if last.startswith("_") or (last == "name" and option != "experiment.name"):
            raise UserError(
                f"'{option}' cannot be set here: only its file says what a choice is; to add one of your own, see docs/plugins.md"
            )


def _parse(overrides: Sequence[str]) -> list[Override]:
    escaped = [_escaped(override) if _key(override) == "method" else override for override in overrides]
    try:
        return OverridesParser.create().parse_overrides(escaped)
    except OverrideParseException as error:
        raise UserError(f"'{error.override}' is not of the form name=value") from error


def _escaped(override: str) -> str:
    """`method=reed:beta=0.5` as Hydra's grammar takes it."""
    option, _, names = override.partition("=")
    return f"{option}={names.replace('=', chr(92) + '=')}"


def _swept_values(parsed: Sequence[Override]) -> set[str]:
    """The swept options that are no group and no base, and that no other override has to do with."""
    names = [override.get_key_element() for override in parsed]
    swept = {name for name, override in zip(names, parsed, strict=True) if override.is_sweep_override()}
    values = {name for name in swept if re.fullmatch(r"(?!method\.base|experiment|launcher)\w+(\.\w+)+", name)}
    return {name for name in values if sum(_overlap(name, other) for other in names) == 1}


def _overlap(name: str, other: str) -> bool:
    """Whether one of two options lies in the other; the choice of a group does not count."""
    return f"{other}.".startswith(f"{name}.") or (name.startswith(f"{other}.") and other not in GROUPS)


def _combinations(parsed: Sequence[Override]) -> list[list[str]]:
    """The Cartesian product of the comma-separated choices."""
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parsed
    ]
    return [list(itertools.chain(*map(_expanded, combination))) for combination in itertools.product(*choices)]


def _expanded(override: str) -> list[str]:
    """The overrides that a choice of `method` stands for."""
    option, _, name = override.partition("=")
    return expand(name.replace("\\", "")) if option == "method" else [override]


def _sweeps_of_experiment(
    overrides: Sequence[str], fixed: tuple[str, ...], experiments: dict[tuple[str, ...], Experiment]
) -> list[list[str]]:
    """The combinations of the experiment's own sweeps as overrides, without the sweeps of options that the user gives.

    experiments: those composed so far, by the `fixed` overrides that choose them
    """
    given = {_key(override) for override in overrides}
    if "experiment" not in given:
        return [[]]
    if fixed not in experiments:
        experiments[fixed] = _compose([override for override in overrides if not _is_of_base(override)]).experiment
    experiment = experiments[fixed]
    sweep: dict[str, Any] = {key: OmegaConf.to_container(choices) for key, choices in experiment.sweep.items()}
    sweep |= {"method": list(experiment.rows)} if experiment.rows else {}
    axes = [[_together(key, choice) for choice in choices] for key, choices in sweep.items() if given.isdisjoint(key.split(","))]
    return [list(itertools.chain(*combination)) for combination in itertools.product(*axes)]


def _together(keys: str, choice: Any) -> list[str]:
    """Overrides that set the comma-separated `keys` to one choice of theirs."""
    values = choice if "," in keys else [choice]
    pairs = zip(keys.split(","), values, strict=True)
    return [each for key, value in pairs for each in _expanded(f"{key}={value if isinstance(value, str) else json.dumps(value)}")]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_of_base(override: str) -> bool:
    return _key(override).startswith("method.base.")


def _cell(overrides: Sequence[str], swept: set[str], templates: dict[tuple[str, ...], Template]) -> Cell:
    """The cell of these overrides; the values that are `swept` are set in a template of the others."""
    values = [override for override in overrides if _key(override) in swept]
    fixed = tuple(override for override in overrides if _key(override) not in swept)
    try:
        if not values:
            raise Unfit
        if fixed not in templates:
            templates[fixed] = _template(fixed)
        config: RunConfig = templates[fixed].make(values)
    except Unfit:
        config = _object(_typed(overrides))
    check(config)
    rescale(config)
    whole = asdict(config)
    config.method = whole["method"]  # the class of its options is made while composing, so no other process could read it
    determined = identity({part: whole[part] for part in (*PARTS, "split", "scale", "precision")}, registry.added_options)
    name = label(determined["method"])
    choices = ["", *(override.partition("=")[2] for override in overrides if _key(override) == "method")]
    changed = any(_key(override).startswith("method.") for override in overrides)  # so that it is no row of an experiment's table
    return Cell(config, determined, digest(determined, KEY), name, name if changed else choices[-1], tuple(overrides))


def composed_choice(group: str, name: str) -> dict[str, Any]:
    """The options of a choice with its import path, as its file has them. Raises UserError where there is no such choice."""
    with _hydra():
        composed = _compose([f"{group}={name}"])
    return cast(dict[str, Any], OmegaConf.to_container(composed[group], resolve=True))


def _template(fixed: Sequence[str]) -> Template:
    """Raises Unfit where the configuration is none without the swept values."""
    try:
        return Template(_typed(fixed))
    except (UserError, OmegaConfBaseException) as error:
        raise Unfit from error


def _typed(overrides: Sequence[str]) -> DictConfig:
    """The composed configuration as one of RunConfig."""
    composed = _compose([override for override in overrides if not _is_of_base(override)])
    for part in PARTS:
        if not OmegaConf.is_dict(composed.get(part)):
            raise UserError(f"{part} must be one of its choices (see --help), not {composed.get(part)}")
    _resolve_bases(composed.method)
    for override in filter(_is_of_base, overrides):  # options of a base exist only once the base is known
        _set(composed, override)
        _resolve_bases(composed.method)
    for option in set(composed) - {option.name for option in fields(RunConfig)}:  # by Hydra's `+name=value`
        raise _unknown_option(str(option), [])
    try:
        return cast(DictConfig, OmegaConf.merge(OmegaConf.structured(RunConfig), composed))
    except OmegaConfBaseException as error:
        raise _user_error(error) from error


def _object(typed: DictConfig) -> RunConfig:
    try:
        return cast(RunConfig, OmegaConf.to_object(typed))
    except OmegaConfBaseException as error:
        raise _user_error(error) from error


def _compose(overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        if _key(override) in GROUPS:
            refuse_twin(_key(override), override.partition("=")[2])
    try:
        composed = compose("config", [*search_path(), *overrides], return_hydra_config=True)
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "method":
            registry.refuse_left_out(name)
        missing = _user_error(error) if error.options is None else unknown(group, name, error.options)
        left_out = registry.problems() if group == "method" else []
        raise UserError("; ".join([str(missing), *problems(), *left_out])) from error
    except ConfigCompositionException as error:
        raise _composition_error(error, overrides) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group replaced by a value
        raise _user_error(error) from error
    except YAMLError as error:
        raise _no_yaml(error) from error
    return _checked(composed)


def _checked(composed: DictConfig) -> DictConfig:
    """Without what is Hydra's own. Raises UserError where the file of a choice lacks what its group needs."""
    chosen = composed.hydra.runtime.choices
    refuse_twin("method", chosen.get("method") or "")
    with open_dict(composed):
        del composed["hydra"]
    for group in NAMED:
        if OmegaConf.is_dict(composed.get(group)) and chosen.get(group):
            check_file(group, chosen[group], cast(dict[str, Any], OmegaConf.to_container(composed[group])))
    return composed


def _no_yaml(error: YAMLError) -> UserError:
    """Names the file that cannot be parsed."""
    mark = getattr(error, "problem_mark", None)
    file, line = (mark.name, f" (line {mark.line + 1})") if mark else (getattr(error, "name", "a configuration file"), "")
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    return UserError(f"{file}{line} is not YAML: {reason}")


def _composition_error(error: ConfigCompositionException, overrides: Sequence[str]) -> UserError:
    """Names the nearest right option where the name of one is wrong."""
    cause = error.__cause__ or error
    wrong = re.search(r"override '?([\w.@/]+)", str(error))
    if wrong is None or not re.search(r"Could not override|not in", f"{error} {cause}"):
        return _user_error(cause)
    return _unknown_option(wrong[1].partition("@")[0], [override for override in overrides if _key(override) in GROUPS])


def _unknown_option(name: str, choices: Sequence[str]) -> UserError:
    """The error for an option that the configuration with these group `choices` has not."""
    config = OmegaConf.to_container(_compose(choices), resolve=False)
    options = {*_leaves(cast(dict[str, Any], config)), *GROUPS}
    options = {option for option in options if option.rpartition(".")[2] not in ("name", "_target_", "_partial_")}
    siblings = [option for option in options if "." in option and option.partition(".")[0] == name.partition(".")[0]]
    return unknown("option", name, siblings or {option.partition(".")[0] for option in options})


def _user_error(error: BaseException) -> UserError:
    """A library's error in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.partition(": ")[2] for line in lines if line.startswith("full_key: ")), None)
    return UserError(f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0])


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _resolve_bases(method: DictConfig) -> None:
    """Replace each `base` given by name, or by name and some options, by its whole configuration."""
    while "base" in method:
        given = method.base
        options = {"name": given} if isinstance(given, str) else cast(dict[str, Any], OmegaConf.to_container(given))
        if "name" not in options:
            raise UserError(f"method.base {json.dumps(options)} has no 'name'")
        base = _compose([f"method={options.pop('name')}"]).method
        for option in options.keys() - base.keys():
            raise unknown("option", f"method.base.{option}", [f"method.base.{key}" for key in base.keys() - {"name"}])
        try:
            method.base = OmegaConf.merge(base, options)
        except OmegaConfBaseException as error:
            raise _user_error(error) from error
        method = method.base


def _set(composed: DictConfig, override: str) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    key = parsed.get_key_element()
    try:
        OmegaConf.update(composed, key, parsed.value())
    except OmegaConfBaseException as error:
        known = list(_leaves({"method": OmegaConf.to_container(composed.method)}))
        raise (unknown("option", key, known) if key not in known else _user_error(error)) from error
