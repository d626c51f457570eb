"""Runs the code blocks of README.md and docs/*.md. Each page runs in an empty directory, from its first block to its last.

bash: The commands of the suite run. A grid runs with one trial of three steps, a search with two configurations. If the comment of a
    command starts with one of NOT_HERE, the command does not run; the test parses its options and composes its grid. Other commands are
    only parsed by bash. A shipped figure must have the size that its command draws. The comment "exit status 2" gives the expected
    status; then the next text block must equal the output, where ... matches any text.
python: The code is executed, or it is a doctest if it starts with >>>. `run_grid` also trains one trial of three steps. A comment
    `<!-- invisible-code-block: python` before a block contains its preparation.
yaml, toml: The text is parsed.
A block below a line that contains only a file name must equal this file of examples/.
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sybil import Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

import benchmark.audit.__main__
import benchmark.check
import benchmark.merge
import benchmark.prepare
import benchmark.report
import benchmark.run
import benchmark.speed.__main__
import benchmark.status
import benchmark.tune
import benchmark.verify
import robust_benchmark
from benchmark import ROOT
from benchmark.config import cells
from docs.trials import composed
from methods import registry
from robust_benchmark.commands import guarded
from tests.shipped import option

TINY = ("trials=1", "trainer.steps=3", "processes=1")
MORE = {
    "benchmark.run": TINY,
    "benchmark.tune": ("tune.trials=1", "tune.budget=2", "trainer.steps=3", "processes=1"),
    "benchmark.speed": ("--rounds", "1", "--repeats", "1"),
    "benchmark.check": ("--no-cost",),
    "benchmark.audit": ("trainer.steps=3", "--folds", "2", "--methods", "gce"),
}
STATUS = re.compile(r"exit status (\d+)")
NOT_HERE = ("needs ", "downloads", "takes ")
MAINS: dict[str, Callable[[list[str]], int]] = {
    "benchmark.prepare": benchmark.prepare.main,
    "benchmark.run": benchmark.run.main,
    "benchmark.tune": benchmark.tune.main,
    "benchmark.report": guarded(lambda arguments: benchmark.report.show(arguments, composed)),
    "benchmark.check": benchmark.check.main,
    "benchmark.speed": benchmark.speed.__main__.main,
    "benchmark.status": benchmark.status.main,
    "benchmark.audit": benchmark.audit.__main__.main,
    "benchmark.merge": benchmark.merge.main,
    "benchmark.verify": benchmark.verify.main,
}
SUITE = re.compile(r"(?:python -m (?P<module>benchmark\.\w+)|robust-benchmark (?P<command>\w+)) ?(?P<arguments>.*)")
EXAMPLE = re.compile(r"pip install \./examples/(?P<folder>\w+)")


class Parsed(Exception):
    """Raised after a command has parsed its options."""


# --- the directory of a page


def begin(namespace: dict[str, Any]) -> None:
    """Change to a new directory with the files that the pages assume: pictures, a table, and the shipped records."""
    stack = namespace["stack"] = contextlib.ExitStack()
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    stack.enter_context(contextlib.chdir(directory))
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setattr(registry, "_registered", {name: registry.get(name) for name in registry.names()})
    run_grid = robust_benchmark.run_grid
    patch.setattr(robust_benchmark, "run_grid", lambda *overrides: run_grid(*overrides, *TINY))
    pictures(directory / "pictures")
    table(directory / "table.csv")
    for folder in ("results/tables", "docs/figures"):
        (directory / folder).mkdir(parents=True)
    for shipped in ("reference", "evidence", "transition"):
        (directory / "results" / shipped).symlink_to(ROOT / "results" / shipped)
    namespace["__name__"] = "page"


def end(namespace: dict[str, Any]) -> None:
    """Leave and remove the directory."""
    namespace["stack"].close()


def pictures(root: Path) -> None:
    """Write 30 random training pictures and 30 test pictures of two classes."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(15):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / part / name / f"{number}.png")


def table(file: Path) -> None:
    """Write 100 rows with labels; 50 labels are checked."""
    rows = [f"{number % 2 + number / 100},{number % 2},{number < 50}" for number in range(100)]
    file.write_text("\n".join(["height,label,checked", *rows]), encoding="utf-8")


# --- blocks


def shell(example: Example) -> None:
    """Run the commands of a block in order."""
    subprocess.run(["bash", "-n"], input=example.parsed, text=True, check=True)
    for line in example.parsed.replace("\\\n", " ").splitlines():
        piped, _, comment = line.partition(" #")
        command = piped.partition(" | ")[0]
        if found := EXAMPLE.fullmatch(command.strip()):
            example.namespace["site"] = installed(ROOT / "examples" / found["folder"])
        elif found := SUITE.fullmatch(command.strip()):
            module, arguments = found["module"] or f"benchmark.{found['command']}", shlex.split(found["arguments"])
            if comment.strip().startswith(NOT_HERE) or "--watch" in arguments:  # --watch does not end by itself
                read(module, arguments)
            else:
                status = STATUS.search(comment)
                check(command, int(status[1]) if status else 0, module, arguments, example.namespace)


def check(command: str, wanted: int, module: str, arguments: list[str], namespace: dict[str, Any]) -> None:
    """Run the command. If it must fail, store its output for the next text block."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors) if wanted else contextlib.nullcontext():
        status = run(module, arguments, namespace.get("site"))
    assert status == wanted, f"{command.strip()} ends with status {status}: {errors.getvalue()}"
    if wanted:
        namespace["output"] = errors.getvalue()
    elif module == "benchmark.report" and (figure := option(arguments, "--figure")):
        compare_sizes(Path(figure).with_suffix(".png"))


def compare_sizes(figure: Path) -> None:
    """Compare the figure that a command has drawn with the shipped one, if there is one."""
    if (ROOT / figure).exists():
        assert abs(np.subtract(Image.open(figure).size, Image.open(ROOT / figure).size)).max() <= 2, figure


def text(example: Example) -> None:
    """Compare a text block with the output of the previous command, if that command had to fail."""
    output = example.namespace.pop("output", None)
    if output is not None:
        pattern = ".*".join(map(re.escape, example.parsed.strip().split("...")))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), output


def python(example: Example) -> None:
    """Execute a block, or run it as a doctest."""
    if not example.parsed.startswith(">>>"):
        compile(example.parsed, example.path, "exec")
        with contextlib.suppress(ModuleNotFoundError):  # the package is not installed
            PythonEvaluator(["annotations"])(example)
        return
    session = doctest.DocTestParser().get_doctest(example.parsed, example.namespace, example.path, example.path, example.line)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session, clear_globs=False).failed == 0
    example.namespace |= session.globs  # a session works on a copy, and later blocks use its names


def run(module: str, arguments: list[str], site: Path | None) -> int:
    """Run the shortened command. If it needs a package in `site`, it runs in a separate process."""
    if module == "benchmark.report" and "results/runs" in arguments and not Path("results/runs").exists():
        robust_benchmark.run_grid("method=l2rw,baseline", "noise=uniflip", "noise.rate=0,0.4")  # so that there are records
    shows = any(each in arguments for each in ("--help", "--cfg"))
    arguments = [*arguments, *(() if shows else MORE.get(module, ()))]
    if site is None:
        return MAINS[module](arguments)
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (site, ROOT))), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", module, *arguments], env=os.environ | variables, check=False).returncode


def read(module: str, arguments: list[str]) -> None:
    """Compose the grid of a command (of an experiment only plain training), or parse its options."""
    if module in ("benchmark.run", "benchmark.prepare"):
        whole = any(each.startswith("method=") for each in arguments)
        cells(arguments if whole else [*arguments, "method=baseline"])
    else:
        with reading():
            MAINS[module](arguments)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """In this context, a command ends after it has parsed its options."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Parsed):
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, _read_and_leave)
        yield


def _read_and_leave(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> None:
    _, rest = parser.parse_known_intermixed_args(arguments)
    assert not rest, rest
    raise Parsed


def installed(package: Path) -> Path:
    """The directory of a package installed from a copy, because the build writes files beside its sources."""
    copy, site = Path("source") / package.name, Path("site").absolute()
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, copy], check=True)
    return site


def file_of(example: Example) -> str | None:
    """The name of the file that the block shows, if the line above is a file name."""
    above = example.document.text[: example.region.start].rstrip().rpartition("\n")[2]
    found = re.fullmatch(r"`([\w./]+)`", above)
    return found[1] if found else None


def shown(then: Callable[[Example], object]) -> Callable[[Example], None]:
    """Check that a block below a file name equals this file in examples/. `then` evaluates all other blocks.

    The result of `then` is dropped, because Sybil takes a result for a failure.
    """

    def evaluate(example: Example) -> None:
        file = file_of(example)
        if file is None:
            then(example)
            return
        known = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob(f"*/{file}")]
        assert str(example.parsed) in known, f"no {file} in examples/ has this content"

    return evaluate


PARSERS = [
    CodeBlockParser("bash", shell),
    CodeBlockParser("text", text),
    CodeBlockParser("python", shown(python)),
    CodeBlockParser("yaml", shown(lambda example: yaml.safe_load(example.parsed))),
    CodeBlockParser("toml", shown(lambda example: tomllib.loads(example.parsed))),
]
