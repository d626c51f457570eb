"""Execution of the README's commands and code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import benchmark.check
import benchmark.prepare
import benchmark.report
import benchmark.run
import benchmark.speed.__main__
import benchmark.status
import robust_benchmark
from benchmark import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = ["trials=1", "trainer.steps=3"]
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "benchmark.prepare": benchmark.prepare.main,
    "benchmark.run": benchmark.run.main,
    "benchmark.report": benchmark.report.main,
    "benchmark.check": benchmark.check.main,
    "benchmark.speed": benchmark.speed.__main__.main,
    "benchmark.status": benchmark.status.main,
}


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def python_commands() -> list[list[str]]:
    """The README's `python -m benchmark...` lines; CI itself runs the two that set up an environment."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("python -m benchmark.")]


def pictures(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(15):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / part / name / f"{number}.png")


def table(file: Path) -> None:
    """100 rows with labels, of which some are checked."""
    rows = [f"{number % 2 + number / 100},{number % 2},{number < 50}" for number in range(100)]
    file.write_text("\n".join(["height,label,checked", *rows]), encoding="utf-8")


def test_every_command_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pictures")
    table(tmp_path / "table.csv")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    data = os.environ.get("ROBUST_TRAINING_DATA")
    commands = python_commands()
    assert len(commands) >= 8
    for module, *arguments in commands:
        if "dataset=mnist49" in arguments and data is None:
            continue  # needs MNIST on disk
        tiny = [*TINY, *([f"data_dir={data}"] if "dataset=mnist49" in arguments else [])]
        assert COMMANDS[module](arguments + (tiny if module == "benchmark.run" and "--help" not in arguments else [])) == 0, arguments
        assert capsys.readouterr().out or {"--output", "--figure", "--html"} & {*arguments}
    assert r"\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert Image.open(tmp_path / "noise.png").size[0] > 500


def run_trimmed(root: Path, results: Path, **environment: str) -> str:
    """The README's example method, run from the checkout `root` by the command line; returns the printed table."""
    command = [sys.executable, "-m", "benchmark.run", "method=trimmed", "method.keep=0.5", *TINY, f"results_dir={results}"]
    done = subprocess.run(
        [*command, f"checkpoint_dir={results}/checkpoints"],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def example() -> str:
    (code,) = [block for block in blocks("python") if "@register" in block]
    return code


def test_the_readme_method_works_as_a_file_in_methods(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for folder in ("benchmark", "conf", "datasets", "methods", "robust_benchmark"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "methods" / "trimmed.py").write_text(example(), encoding="utf-8")
    assert "trimmed:keep=0.5" in run_trimmed(checkout, tmp_path / "results")


def test_the_readme_method_works_from_a_package_named_in_the_environment(tmp_path: Path) -> None:
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "trimmed.py").write_text(example(), encoding="utf-8")
    output = run_trimmed(ROOT, tmp_path / "results", PYTHONPATH=str(package.parent), ROBUST_TRAINING_METHODS="my_package.trimmed")
    assert "trimmed:keep=0.5" in output


def test_the_readme_method_works_from_a_package_with_an_entry_point(tmp_path: Path) -> None:
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "trimmed.py").write_text(example(), encoding="utf-8")
    metadata = tmp_path / "site" / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    (toml,) = blocks("toml")
    group, line = re.findall(r'"(robust_training\.methods)"\]\n(.*)\n', toml)[0]
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n", encoding="utf-8")
    assert "trimmed:keep=0.5" in run_trimmed(ROOT, tmp_path / "results", PYTHONPATH=str(package.parent))


def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run_grid = robust_benchmark.run_grid
    monkeypatch.setattr(robust_benchmark, "run_grid", lambda *overrides: run_grid(*overrides, *TINY))
    (code,) = [block for block in blocks("python") if "run_grid" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["trials"]) == len(names["earlier"]) == 4
    assert "l2rw" in capsys.readouterr().out


def test_the_readme_s_table_is_what_the_shipped_records_give() -> None:
    assert (ROOT / "results" / "tables" / "digits.md").read_text(encoding="utf-8") in README  # test_results.py makes it again


def test_the_two_set_up_commands_stand_in_the_readme_as_ci_runs_them() -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert [line.rpartition("&& ")[2] for line in lines] == ["python -m benchmark.run method=l2rw,reed noise=bgflip", "python -m pytest"]
