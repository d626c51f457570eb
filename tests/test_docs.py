"""The pages of the documentation agree with the code. tests/documents.py runs their code blocks."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.names import choices
from docs import findings, method_table
from methods import registry
from robust_benchmark import errors, files
from robust_benchmark.__main__ import COMMANDS

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])
PACKAGES = {"method": "add-method", "noise": "add-noise", "data": "add-data", "model": "add-model", "plugin": "plugins"}
SUITE = ("benchmark", "datasets", "methods", "robust_benchmark")
TEXT = (".py", ".yaml", ".toml")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def links(file: Path) -> Iterator[str]:
    """The local targets of a page's links."""
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(file: Path) -> None:
    for target in links(file):
        path, _, anchor = target.partition("#")
        there = (file.parent / path) if path else file
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], target


def test_the_tables_of_methods_are_what_the_code_and_the_records_give() -> None:
    page = method_table.PAGE.read_text(encoding="utf-8")
    assert method_table.updated(page) == page, "python -m docs.method_table makes the tables again"


@pytest.mark.parametrize("path", findings.PAGES, ids=lambda path: path.stem)
def test_the_tables_of_findings_are_what_the_records_give(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert findings.updated(page) == page, "python -m docs.findings makes the tables again"


def test_each_word_on_hyper_parameters_is_of_a_method_and_each_method_has_one_word() -> None:
    named = [name for names in method_table.HYPER_PARAMETERS.values() for name in names.split()]
    assert len(set(named)) == len(named)
    assert {*named} <= {*choices().values(), *registry.names()}
    assert method_table._origin("reed_soft_es", "early_stopping") == "shared"
    assert method_table._origin("peer_loss", "peer_loss") == "shared"
    assert method_table._origin("peer_loss_constant", "peer_loss") == "authors'"


def test_every_package_of_examples_has_its_page() -> None:
    assert sorted(PACKAGES) == sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_page_shows_every_file_of_its_package_as_it_is(package: str) -> None:
    shown = dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", page(PACKAGES[package]), re.DOTALL | re.MULTILINE))
    folder = ROOT / "examples" / package
    found = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in TEXT}
    assert len(found) >= 4
    assert shown == found


def run_trimmed(root: Path, results: Path, **environment: str) -> str:
    """The example of a method, run from the checkout `root`; returns the printed table."""
    command = [sys.executable, "-m", "benchmark.run", "method=trimmed", "method.keep=0.5", "trials=1", "trainer.steps=3", "processes=1"]
    done = subprocess.run(
        [*command, f"results_dir={results}", f"checkpoint_dir={results}/checkpoints"],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_method_works_as_a_file_in_methods(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for folder in (*SUITE, "conf"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "examples" / "method" / "trimmed_loss" / "trimmed.py", checkout / "methods")
    assert "trimmed:keep=0.5" in run_trimmed(checkout, tmp_path / "results")


def test_the_method_works_from_a_package_that_the_environment_names(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "method", tmp_path / "site")
    variables = {"PYTHONPATH": str(tmp_path / "site"), "ROBUST_TRAINING_METHODS": "trimmed_loss.trimmed"}
    assert "trimmed:keep=0.5" in run_trimmed(ROOT, tmp_path / "results", **variables)


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*(subclasses(each) for each in cls.__subclasses__()))


def test_troubleshooting_has_every_class_of_error() -> None:
    import benchmark.config
    import benchmark.records.store
    import methods.base
    from robust_benchmark.classifier import InvalidInput

    declared = [cls for module in (errors, files) for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, Exception)]
    ours = {cls for cls in {*declared, *subclasses(errors.UserError)} if cls.__module__.partition(".")[0] in SUITE}
    assert len(ours) >= 7
    assert {benchmark.config.Mistakes, InvalidInput} <= ours
    headings = re.findall(r"^### (\w+)$", page("troubleshooting"), re.MULTILINE)
    assert {cls.__name__ for cls in ours} | {methods.base.HeldOut.__name__} == set(headings)


def test_the_page_of_commands_has_every_command_and_every_built_in_choice() -> None:
    text = page("options")
    for module, _ in COMMANDS.values():
        assert f"`python -m {module.removesuffix('.__main__')}`" in text
    for group in ("dataset", "imbalance", "noise", "model", "trainer", "launcher"):
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{file.stem}`" in text, f"{group}={file.stem}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="the site needs pip install -e '.[docs]'")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, tmp_path / "site"]
    done = subprocess.run(sphinx, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()
