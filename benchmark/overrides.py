"""The overrides of a command line: their syntax, and which options can be swept."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException

from benchmark.folders import GROUPS, files, problems
from benchmark.identity import ADDED, PARTS
from benchmark.names import expand
from methods import registry
from robust_benchmark.errors import UserError, unknown

FORMS = (
    "options are name=value, name=value,value (a sweep), name=[value,value] (a list), name={key: value} (a mapping) and"
    " +launcher.extra.NAME=value; a value with other characters is in quotes, as in 'results_dir=\"runs (1)\"'; no other part of Hydra's"
    " grammar is accepted"
)
EXTRA = "launcher.extra."  # options of sbatch, which no configuration lists
DETERMINING = (*PARTS, *(name for name in ADDED if "." not in name), "split", "experiment")
BARE = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_/.][\w./-]*", re.ASCII | re.IGNORECASE)  # texts that Hydra reads as texts
QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


def written(text: str) -> str:
    """Return a text as the value of an override: in quotes if it has characters of Hydra's grammar, or none that Hydra accepts.

    >>> written("results/runs"), written("runs (1)"), written("null")
    ('results/runs', '"runs (1)"', '"null"')
    """
    return text if BARE.fullmatch(text) else QuotedString(text, Quote.double).with_quotes()


def option_of(override: str) -> str:
    """Return the dotted name of the option that an override sets."""
    return override.partition("=")[0].lstrip("+~")


def is_of_base(override: str) -> bool:
    """Return whether it sets an option of a method's base, which exists only when the base is known."""
    return option_of(override).startswith("method.base.")


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides without those that set no experiment or launcher. Raises UserError for invalid syntax."""
    given = [override for override in overrides if override not in ("experiment=null", "launcher=null")]
    return [_parsed(override) for override in given]


def _parsed(override: str) -> Override:
    refuse_name(override)
    option, equals, value = override.partition("=")
    if not (equals and re.fullmatch(r"\+*~?[\w.]+", option)) or option_of(option).partition(".")[0] == "hydra":
        raise _not_taken(override)
    bare = QUOTED.sub("''", value)
    if "${" in value or "???" in bare or re.search(r"(?<!\\)\(", bare):
        raise _not_taken(override)
    if option in GROUPS:
        _check_choices(option, value)
    try:
        (parsed,) = OverridesParser.create().parse_overrides([_escaped(override) if option == "method" else override])
    except HydraException as error:
        empty = re.search(r"(^|,)\s*(,|$)", bare)
        raise UserError(f"'{override}' has an empty value next to a comma; {FORMS}") if empty else _not_taken(override) from error
    _check_sweep(parsed, override)
    return parsed


def _not_taken(override: str) -> UserError:
    return UserError(f"'{override}' is not accepted: {FORMS}")


def refuse_name(override: str) -> None:
    """Raise UserError for an override of a name or an import path, which define a choice and belong only in its file."""
    option = option_of(override)
    last = option.rpartition(".")[2]
    if last.startswith("_") or (last == "name" and option != "experiment.name"):
        reason = "only the file of a choice defines it; to add your own, see docs/plugins.md"
        raise UserError(f"'{option}' cannot be set here, as in {override}: {reason}")
    if option.startswith("experiment.") and option != "experiment.name":
        reason = "it belongs in the experiment's file; name=value,value sweeps an option"
        raise UserError(f"'{option}' cannot be set here, as in {override}: {reason}")


def _check_choices(group: str, value: str) -> None:
    """Raise UserError with the nearest choice of a group."""
    known = choices_of(group)
    for label in value.split(",") if group != "method" else re.split(r",(?![^\[{]*[\]}])", value):
        name, *options = label.strip().split(":")
        if name not in known:
            raise no_choice(group, name, known)
        if group == "method" and not all(re.match(r"[\w.]+=", option) for option in options):
            raise UserError(f"'{label.strip()}' is not accepted: options of a method are :name=value, as in reed:beta=0.5")


def no_choice(group: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown choice, with the nearest one, and with problems of plug-ins."""
    if group == "method":
        registry.refuse_left_out(name)
    left_out = registry.problems() if group == "method" else []
    return UserError("; ".join([str(unknown(group, name, known)), *problems(), *left_out]))


def choices_of(group: str) -> list[str]:
    """Return the names of all choices of a group."""
    return [*(registry.names() if group == "method" else []), *(file.path.stem for file in files(group))]


def _escaped(override: str) -> str:
    """Return `method=reed:beta=0.5` in the form that Hydra's grammar accepts."""
    option, _, names = override.partition("=")
    return f"{option}={names.replace('=', chr(92) + '=')}"


def _check_sweep(parsed: Override, override: str) -> None:
    """Raise UserError for a sweep that is not a list of values, or of an option that does not change a trial's numbers."""
    if not parsed.is_sweep_override():
        return
    if parsed.value_type is not ValueType.SIMPLE_CHOICE_SWEEP:
        raise _not_taken(override)
    option = parsed.get_key_element().lstrip("+")
    if option.partition(".")[0] not in DETERMINING or option.startswith("experiment."):
        value = override.partition("=")[2]
        raise UserError(f"{option} is one value for the whole grid, not {value}: only options that change a trial's numbers can be swept")


def swept_values(parsed: Sequence[Override]) -> set[str]:
    """Return the swept options that are neither a group nor a base, and that no other override affects."""
    names = [override.get_key_element() for override in parsed]
    swept = {name for name, override in zip(names, parsed, strict=True) if override.is_sweep_override()}
    values = {name for name in swept if re.fullmatch(r"(?!method\.base|experiment)\w+(\.\w+)+", name)}
    return {name for name in values if sum(_overlap(name, other) for other in names) == 1}


def _overlap(name: str, other: str) -> bool:
    """Return whether one of two options contains the other; the choice of a group does not count."""
    return f"{other}.".startswith(f"{name}.") or (name.startswith(f"{other}.") and other not in GROUPS)


def combinations(parsed: Sequence[Override]) -> Iterator[list[str]]:
    """Return the Cartesian product of the comma-separated choices."""
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parsed
    ]
    for combination in itertools.product(*choices):
        yield list(itertools.chain(*map(expanded, combination)))


def expanded(override: str) -> list[str]:
    """Return the overrides that a choice of `method` represents."""
    option, _, name = override.partition("=")
    return expand(name.replace("\\", "")) if option == "method" else [override]
