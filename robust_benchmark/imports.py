"""The location of the suite's packages, and their import although other projects have packages with the same names.

In a checkout they are beside this package; in an installed wheel they are in its folder suite/, where no other import finds them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from robust_benchmark.errors import UserError

HERE = Path(__file__).resolve().parent
INSTALLED = (HERE / "suite").is_dir()
SUITE = HERE / "suite" if INSTALLED else HERE.parent
PACKAGES = ("benchmark", "methods", "datasets")


def command(name: str) -> str:
    """Return the shell command that starts the command of that name."""
    return f"robust-benchmark {name}" if INSTALLED else f"python -m benchmark.{name}"


def put_first() -> None:
    """Let this process, which is one of our commands, and its child processes find the suite's packages before all others."""
    os.environ.update(_variables())
    sys.path.insert(0, str(SUITE))


@contextmanager
def for_children() -> Iterator[None]:
    """Let child processes started in the `with` block find the suite's packages before all others; then restore this process."""
    variables = _variables()
    before = {name: os.environ[name] for name in variables.keys() & os.environ.keys()}
    put_first()  # also sys.path, which multiprocessing passes on to spawned processes
    try:
        yield
    finally:
        sys.path.remove(str(SUITE))
        for name in variables.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _variables() -> dict[str, str]:
    """Return an environment in which a new Python searches SUITE first, and then the paths of this process."""
    current = [os.getcwd()] if {"", os.getcwd()} & set(sys.path) else []
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    path = os.pathsep.join([str(SUITE), *current, *inherited])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # safe: `python -m` does not put the current directory first


def module(name: str, packages: Sequence[str] = PACKAGES) -> ModuleType:
    """Return the suite's module of that name, without any change of sys.path.

    packages: packages of the suite that it imports, which take their names in this process
    Raises UserError if this process has imported another package with one of these names.
    """
    for package in packages:
        if package in sys.modules and not _is_ours(package, getattr(sys.modules[package], "__file__", None)):
            raise UserError(
                f"this process has imported another package '{package}', but the benchmark needs this name; "
                "run the benchmark in a separate process: python -m robust_benchmark run ..."
            )
    for package in packages:
        if package not in sys.modules:
            _import(package)
    return importlib.import_module(name)


def _is_ours(package: str, file: str | None) -> bool:
    return file is not None and Path(file).resolve().parent == SUITE / package


def _import(package: str) -> None:
    """Import the suite's package from its location. Warns if this hides another installed package that is not imported yet."""
    other = importlib.util.find_spec(package)
    if other is not None and other.has_location and not _is_ours(package, other.origin):
        warnings.warn(f"from now on `import {package}` in this process gives the benchmark's package, not {other.origin}", stacklevel=4)
    folder = SUITE / package
    spec = importlib.util.spec_from_file_location(package, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[package] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])
