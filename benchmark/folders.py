"""The folders of configuration files: conf/, and those of plug-ins, which have the layout of conf/.

A package names its folder by an entry point of the group `robust_training.conf`. The value is a package that contains the folder `conf`,
or a module with the folder beside it. The environment variable ROBUST_TRAINING_CONF names folders directly, separated as in PATH.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmark import ROOT
from methods import registry
from robust_benchmark.entries import entry_points
from robust_benchmark.errors import UserError

GROUPS = ("method", "dataset", "imbalance", "noise", "model", "trainer", "experiment", "launcher")
SPACES = "tune"  # the folder of search spaces, one file for each method
ENTRY_POINTS = "robust_training.conf"
VARIABLE = "ROBUST_TRAINING_CONF"
CONF = ROOT / "conf"


class Folder(NamedTuple):
    """origin: the package or the variable that names it; problem: the reason why it cannot be used, or ''."""

    path: Path
    origin: str
    problem: str = ""


class File(NamedTuple):
    """The configuration file of a choice. origin: of its folder, '' for conf/"""

    path: Path
    origin: str

    def __str__(self) -> str:
        return str(self.path if self.origin else self.path.relative_to(ROOT))


def problems() -> list[str]:
    """Return a sentence for each folder of a plug-in that cannot be used."""
    return [folder.problem for folder in _plugins() if folder.problem]


def search_path() -> list[str]:
    """Return the override that makes Hydra search the folders of plug-ins, after conf/; none if there are none."""
    paths = [folder.path.as_posix() for folder in _plugins() if not folder.problem]
    return [f"hydra.searchpath={json.dumps(paths, ensure_ascii=False)}"] if paths else []


def files(group: str) -> list[File]:
    """Return the files of a group, those of conf/ first."""
    return [File(path, folder.origin) for folder in _usable() for path in sorted((folder.path / group).glob("*.yaml"))]


def _places(group: str, name: str) -> list[File]:
    """Return possible paths of a choice of that name, those of conf/ first."""
    return [File(folder.path / group / f"{name}.yaml", folder.origin) for folder in _usable()]


def _usable() -> list[Folder]:
    return [Folder(CONF, ""), *(folder for folder in _plugins() if not folder.problem)]


def with_file(group: str, name: str) -> str:
    """Return the choice with its file, for messages."""
    file = next((str(file) for file in files(group) if file.path.stem == name), f"conf/{group}/{name}.yaml")
    return f"{group}={name} ({file})"


def twins() -> list[str]:
    """Return a sentence for each choice with two files. Choosing it is an error."""
    names = {(group, file.path.stem) for group in GROUPS for file in files(group)}
    return [sentence for group, name in sorted(names) if (sentence := _twin(group, name))]


def refuse_twin(group: str, name: str) -> None:
    """Raise UserError if two choices of a group have this name."""
    sentence = _twin(group, name)
    if sentence:
        raise UserError(sentence)


def _twin(group: str, name: str) -> str:
    registered = group == "method" and name in registry.names()
    places = [registry.get(name).__module__] if registered else []
    places += [str(file) for file in _places(group, name) if file.path.is_file()]
    return f"two choices of {group} are named '{name}': {places[0]} and {places[1]}" if len(places) > 1 else ""


def lines_of(group: str) -> dict[str, str]:
    """Return every choice of a group with its line in --help: the first comment of its file, or a method's summary, and its origin."""
    found = {}
    for name in registry.names() if group == "method" else []:
        module = registry.get(name).__module__
        found[name] = _marked(registry.summary(name), "" if module.startswith("methods.") else module.partition(".")[0])
    for file in files(group):
        text = file.path.read_text(encoding="utf-8", errors="replace")
        comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
        found[file.path.stem] = _marked(comments[0] if comments else "", file.origin)
    return found


def _marked(line: str, origin: str) -> str:
    return f"{line} [{origin}]" if origin else line


def _plugins() -> tuple[Folder, ...]:
    return _named(os.environ.get(VARIABLE, ""))


@functools.cache
def _named(variable: str) -> tuple[Folder, ...]:
    """Return the folders of entry points and of the environment variable, each once."""
    found = {folder.path: folder for folder in [*_of_entry_points(), *_of_variable(variable)]}
    return tuple(found.values())


def _of_variable(variable: str) -> Iterator[Folder]:
    for name in filter(None, variable.split(os.pathsep)):
        yield _checked(Path(name).resolve(), VARIABLE, VARIABLE)


def _of_entry_points() -> Iterator[Folder]:
    for entry in entry_points(ENTRY_POINTS):
        package = entry.dist.name if entry.dist else entry.name
        said = f"the entry point '{entry.name}' of {package}"
        try:
            path = _beside(entry)
        except (Exception, SystemExit) as error:  # importing their package may raise anything
            problem = f"{said} names '{entry.value}', which cannot be imported: {type(error).__name__}: {error}"
            yield Folder(Path(entry.value), package, problem)
        else:
            yield _checked(path, package, said)


def _beside(entry: EntryPoint) -> Path:
    """Return the folder `conf` in the entry point's package, or beside its module. Raises the errors of importing the enclosing package."""
    spec = find_spec(entry.module)
    if spec is None:
        raise ModuleNotFoundError(f"No module named '{entry.module}'")
    places = list(spec.submodule_search_locations or [])
    return (Path(places[0]) if places else Path(str(spec.origin)).parent).resolve() / "conf"


def _checked(path: Path, origin: str, said: str) -> Folder:
    if not path.is_dir():
        return Folder(path, origin, f"{said} names {path}, which is not a folder")
    if not any((path / group).is_dir() for group in (*GROUPS, SPACES)):
        return Folder(path, origin, f"{said} names {path}, which has none of the folders {', '.join((*GROUPS, SPACES))}")
    return Folder(path, origin)
