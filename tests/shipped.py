"""The commands of the shipped tables and figures, as their pages show them."""

from __future__ import annotations

from docs.regenerate import PAGES, commands_of

COMMANDS = [command for page in PAGES for command in commands_of(page)]


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def output_of(command: list[str], name: str) -> str:
    output = option(command, name)
    assert output is not None
    return output


def table_of(command: list[str]) -> str:
    return output_of(command, "--output")


def figure_of(command: list[str]) -> str:
    return output_of(command, "--figure")


TABLES = [command for command in COMMANDS if "--output" in command]
FIGURES = [command for command in COMMANDS if "--figure" in command and "--output" not in command]
