"""The wheel: its package names, and that it works from any directory, also beside other packages with the same names."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import robust_benchmark
from benchmark import ROOT
from robust_benchmark.__main__ import COMMANDS, main

SUITE = ("benchmark", "conf", "datasets", "methods")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
TINY = ["trials=1", "trainer.steps=3", "model.width=2", "device=cpu"]
OTHER = 'def load_dataset(name):\n    return f"their {name}"\n'  # stands in for Hugging Face's `datasets`
PLUG_IN = '''
import torch.nn.functional as F
from robust_benchmark import Batch, Method, register


@register("mine")
class Mine(Method):
    """Plain training."""

    def loss(self, batch: Batch):
        return F.cross_entropy(self.model(batch.images), batch.labels)
'''


def python(*arguments: object, path: list[Path], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python that sees `path`, and nothing of this checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ROBUST_TRAINING"))}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as building leaves files in it."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in (*SUITE, "robust_benchmark", "tests", "results/tables"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", tree, "--no-deps", "--no-build-isolation", "--wheel-dir", directory], check=True)
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", directory, wheel], check=True)
    return directory


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a package `datasets` of others, and a method of the user's."""
    directory = tmp_path_factory.mktemp("others")
    for package, file, text in (("datasets", "__init__", OTHER), ("my_package", "__init__", ""), ("my_package", "anything", PLUG_IN)):
        (directory / package).mkdir(exist_ok=True)
        (directory / package / f"{file}.py").write_text(text)
    return directory


def test_a_wheel_claims_one_name_and_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for folder in (*SUITE, "robust_benchmark") for path in (ROOT / folder).rglob("*") if path.is_file()]
    lies = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert {"conf/method/reed_soft.yaml", "benchmark/analysis/tables.py", "robust_benchmark/py.typed"} < lies
    assert names == {name if name.startswith("robust_benchmark/") else f"robust_benchmark/suite/{name}" for name in lies}


def test_an_installed_wheel_trains_from_any_directory_with_any_packages_installed(installed: Path, others: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("raise ImportError('another package of this name')")
    options = {"path": [others, installed], "cwd": tmp_path, "ROBUST_TRAINING_METHODS": "my_package.anything"}
    local = ["launcher=local", "launcher.processes=2", "method=mine,baseline"]
    spread = python("-m", "robust_benchmark", "run", *TINY, *local, **options)
    assert (spread.returncode, "2 of 2 trials" in spread.stdout) == (0, True), spread.stderr
    assert "robust-benchmark status" in spread.stderr
    here = python("-m", "robust_benchmark", "run", *TINY, "method=reed", **options)
    assert (here.returncode, "1 of 1 trials" in here.stdout) == (0, True), here.stderr
    reported = python(installed / "bin" / "robust-benchmark", "report", "results/runs", "--format", "csv", path=[installed], cwd=tmp_path)
    assert [row["method"] for row in csv.DictReader(reported.stdout.splitlines())] == ["baseline", "mine", "reed"], reported.stderr
    record = json.loads(next((tmp_path / "results").rglob("*.json")).read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert record["environment"]["revision"] == version  # there is no checkout to have a commit


def test_an_installed_wheel_takes_the_choices_of_another_package(installed: Path, others: Path, tmp_path: Path) -> None:
    example = ROOT / "examples" / "plugin"
    variables = {"ROBUST_TRAINING_METHODS": "mylab.capped", "ROBUST_TRAINING_CONF": str(example / "mylab" / "conf")}
    options = {"path": [example, others, installed], "cwd": tmp_path, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    chosen = ["dataset=bars", "noise=neighbour", "imbalance=thinned", "method=capped_low", "trials=1", "device=cpu"]
    done = python("-m", "robust_benchmark", "run", *chosen, **options)
    assert (done.returncode, "1 of 1 trials" in done.stdout) == (0, True), done.stderr
    record = json.loads(next((tmp_path / "results").rglob("*.json")).read_text())
    assert (record["method"], record["config"]["model"]["name"], "plugin" in record["fingerprint"]) == ("capped_low", "flat", True)


BESIDE = """
import datasets, json, sys
import robust_benchmark

def said(function, *arguments):
    try:
        return function(*arguments)
    except robust_benchmark.UserError as error:
        return str(error)

path = list(sys.path)
result = {
    "rows": len(robust_benchmark.load(sys.argv[1])),
    "torch": "torch" in sys.modules,
    "run_grid": said(robust_benchmark.run_grid, "method=reed"),
    "register": said(getattr, robust_benchmark, "register"),
}
import datasets
from datasets import load_dataset
print(json.dumps(result | {"theirs": load_dataset("data"), "file": datasets.__file__, "path": path == sys.path}))
"""


def test_load_works_beside_another_datasets_which_stays_untouched_and_training_says_why_it_cannot(
    installed: Path, others: Path, tmp_path: Path
) -> None:
    shipped = ROOT / "results" / "reference" / "digits" / "digits" / "uniflip"
    done = python("-c", BESIDE, shipped, path=[others, installed], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["rows"], result["torch"], result["path"]) == (len(list(shipped.rglob("*.json"))), False, True)
    assert (result["theirs"], result["file"]) == ("their data", str(others / "datasets" / "__init__.py"))
    for refused in (result["run_grid"], result["register"]):
        assert refused.startswith("this process has imported another package 'datasets'")
        assert "python -m robust_benchmark run" in refused
    assert not list(tmp_path.iterdir())


SPAWNED = """
import sys
from multiprocessing import get_context
import robust_benchmark

path = list(sys.path)
robust_benchmark.imports.module("benchmark.workers")._context = lambda: get_context("spawn")
trials = robust_benchmark.run_grid(*sys.argv[1:], "method=baseline", "processes=2", "trials=2")
print(*trials["status"], path == sys.path)
"""


def test_new_processes_of_a_notebook_that_train_for_it_find_the_suite(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets.py").write_text("raise ImportError('another package of this name')")
    done = python("-W", "ignore", "-c", SPAWNED, *TINY[1:], path=[installed], cwd=tmp_path)
    assert done.stdout == "done done True\n", done.stderr


def test_an_editable_install_makes_no_other_name_importable(tree: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build, tmp_path], cwd=tree, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(built).extractall(tmp_path)
    look = "import site, sys; from importlib.util import find_spec; site.addsitedir(sys.argv[1]); "
    look += f"print(*(name for name in {[*SUITE, 'tests', 'results']} if find_spec(name)), sep=','); "
    look += "from robust_benchmark.imports import SUITE; print(SUITE)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", look, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["", str(tree)], done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    show = "import sys, robust_benchmark; print(*{'torch', 'pandas', 'numpy', 'hydra', 'benchmark', 'datasets'} & sys.modules.keys())"
    assert python("-c", show, path=[ROOT], cwd=ROOT).stdout == "\n"


# --- the command


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_command_lists_its_commands_with_a_line_each(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    known = {"prepare", "run", "tune", "report", "status", "verify", "merge", "audit", "check", "speed"}
    assert lines.keys() == COMMANDS.keys() == known


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats"]) == 2
    known = "audit, check, merge, prepare, report, run, speed, status, tune, verify"
    assert capsys.readouterr().err == f"error: no command 'stats'; nearest: status (10 known: {known})\n"


def test_the_command_gives_arguments_on_and_the_exit_status_back() -> None:
    done = python("-m", "robust_benchmark", "run", "method=reeed", path=[ROOT], cwd=ROOT)
    assert (done.returncode, done.stderr[:39]) == (2, "error: no method 'reeed'; nearest: reed")


# --- Pythons that are not supported


@pytest.mark.parametrize(("argv", "error"), [("-m", "error: "), ("/bin/robust-benchmark", "error: "), ("-c", "ImportError: ")])
@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_unsupported_python_is_reported_in_a_sentence(argv: str, error: str, version: tuple[int, int]) -> None:
    pretend = f"import sys; sys.version_info = {version}; sys.argv[0] = {argv!r}; import robust_benchmark"
    done = python("-c", pretend, path=[ROOT], cwd=ROOT)
    said = f"{error}robust-training-benchmark needs Python 3.11 to 3.13, and this is {version[0]}.{version[1]}"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)
    assert ("Traceback" in done.stderr) == (error == "ImportError: ")


def test_what_an_old_python_imports_before_it_is_refused_is_written_for_it() -> None:
    for module in ("__init__", "__main__", "errors", "imports"):
        ast.parse((ROOT / "robust_benchmark" / f"{module}.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_the_supported_pythons_are_those_of_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (major, first), (_, last) = robust_benchmark.PYTHONS
    assert project["requires-python"] == f">={major}.{first},<{major}.{last + 1}"
