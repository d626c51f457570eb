"""The output of `--help` and `--cfg job`: each option with its value, type and meaning."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from omegaconf import OmegaConf

from benchmark.config import Cell, composed_options
from benchmark.described import described
from benchmark.folders import GROUPS, lines_of, problems, twins
from benchmark.overrides import FORMS, choices_of
from benchmark.signatures import Option, shown
from methods import registry
from robust_benchmark.errors import UserError, unknown
from robust_benchmark.imports import command

WIDTH = 140
COMMENT = 110  # columns of a comment in a configuration
CHOICES = ("method", "dataset", "imbalance", "noise", "model")  # groups with many options, which are shown one choice at a time


def usage() -> str:
    """Return the explanation that a command without arguments prints."""
    run = command("run")
    return "\n".join(
        [
            "Trains the missing trials of a grid of configurations and prints its table.",
            "",
            f"  {run} method=l2rw,reed noise=bgflip noise.rate=0.2,0.4 trials=5",
            "",
            f"{run} --help lists all choices and options, --help method=reed the options of one choice;",
            "--cfg job, among the options of a grid, prints its configuration and trains nothing.",
        ]
    )


def text(overrides: Sequence[str]) -> str:
    """Return the options of the named choices, or all choices and the options outside them. Raises UserError."""
    return "\n\n".join(_choice(override) for override in overrides) if overrides else _all()


def _all() -> str:
    lines = [usage(), "", _wrapped(f"Syntax: {FORMS}.", "")]
    try:
        lines += _shared()
    except UserError as error:  # a mistake in the folders of plug-ins, which the choices describe in more detail
        lines += ["", f"the options cannot be shown: {error}"]
    for group in GROUPS:
        choices = lines_of(group)
        width = max(map(len, choices), default=0)
        lines += ["", f"{group}=", *(f"  {name:{width}}  {line}" for name, line in sorted(choices.items()))]
    return "\n".join([*lines, *(f"\nwarning: {problem}" for problem in [*problems(), *registry.problems(), *twins()])])


def _shared() -> list[str]:
    """Return the options outside the choices of data, method and model."""
    options = composed_options([])
    shared = [name for name in options if name.partition(".")[0] not in (*CHOICES, "experiment")]
    lines = ["", "Options with their default values:", "", *(_line(name, *options[name]) for name in shared)]
    for launcher in choices_of("launcher"):
        lines += ["", f"Options of launcher={launcher}:", "", *_own("launcher", composed_options([f"launcher={launcher}"]))]
    return lines


def _choice(override: str) -> str:
    group, _, name = override.partition("=")
    if group not in GROUPS:
        raise UserError(f"--help accepts choices, such as --help method=reed, not {override}; the groups are {', '.join(GROUPS)}")
    if name not in choices_of(group):
        raise unknown(group, name, choices_of(group))
    lines = [f"{override}  {lines_of(group)[name]}"]
    if group != "experiment":
        lines += ["", *(_own(group, composed_options([override])) or ["It has no options."])]
    return "\n".join(lines)


def _own(group: str, options: Mapping[str, tuple[Any, Option | None]]) -> list[str]:
    """Return lines on the options of a group, without those that take their value from another one."""
    return [_line(name, *found) for name, found in options.items() if name.startswith(f"{group}.") and not str(found[0]).startswith("${")]


def _line(name: str, value: Any, option: Option | None) -> str:
    said = value if isinstance(value, str) and value else shown(value)
    return _wrapped(f"{name} (no default)  {_explained(option)}" if value == "???" else f"{name}={said}  {_explained(option)}", "  ")


def _wrapped(line: str, indent: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ", break_on_hyphens=False)


def _explained(option: Option | None) -> str:
    """Return type and meaning, with the range."""
    return "" if option is None else ": ".join(filter(None, [option.type, option.meaning]))


def commented(cell: Cell) -> str:
    """Return the configuration of a cell as YAML, with a comment at each option."""
    config = OmegaConf.structured(cell.config)
    options = described(cast(dict[str, Any], OmegaConf.to_container(config)))
    lines, path = [], [""]
    for line in OmegaConf.to_yaml(config).splitlines():
        stripped = line.lstrip(" ")
        if ":" in line and not stripped.startswith("-"):
            path[(len(line) - len(stripped)) // 2 :] = [stripped.partition(":")[0]]
        _, option = (None, None) if stripped.startswith("-") else options.get(".".join(path), (None, None))
        comment = textwrap.shorten(_explained(option), COMMENT, placeholder=" ...")
        lines.append(f"{line} # {comment}" if comment else line)
    return "\n".join([*lines, ""])
