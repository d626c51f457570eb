"""Methods are found by name and configured by their signature, and a user's methods behave like built-in ones."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmark import ROOT
from benchmark.config import cells
from methods import registry
from methods.base import Method
from methods.baseline import Baseline
from methods.registry import register
from robust_benchmark.errors import UserError
from tests.conftest import kept_in

MINE = '''
"""A user's own method."""
import torch
from methods.base import (Knowledge)
from methods.baseline import Baseline
from methods.registry import register

@register
class Mine(Baseline):
    """Baseline with a factor. And more words."""

    needs = Knowledge.CLEAN_SET

    def __init__(
        self, beta: float = 0.5, rounds: int = 3, layers: list[int] = [1, 2], rule: str | None = None, fast: bool = False
    ) -> None:
        super().__init__()
        self.beta = beta

    def loss(self, batch):
        return self.beta * super().loss(batch)
'''


def run_python(*arguments: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def package_with(folder: Path, **files: str) -> Path:
    package = folder / "mylab"
    package.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    return folder


def test_a_method_named_by_the_environment_variable_trains_as_a_built_in_one(tmp_path: Path) -> None:
    path = package_with(tmp_path, mine=MINE)
    options = ["method=finetune", "method.base=mine", "method.base.beta=0.25", "trials=1", "trainer.steps=16"]
    done = run_python("-m", "benchmark.run", *options, *kept_in(tmp_path), path=path, ROBUST_TRAINING_METHODS=" mylab.mine, ")
    assert done.returncode == 0, done.stderr
    assert "finetune:base=mine:base.beta=0.25" in done.stdout


def test_a_method_of_an_installed_entry_point_is_configured_by_its_signature(tmp_path: Path) -> None:
    path = package_with(tmp_path, mine=MINE)
    installed = path / "mylab-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[robust_training.methods]\nmine = mylab.mine\n")
    done = run_python("-m", "benchmark.run", "method=mine", "method.rounds=7", "method.layers=[4]", "--cfg", "job", path=path)
    assert done.returncode == 0, done.stderr
    expected = {"name": "mine", "beta": 0.5, "rounds": 7, "layers": [4], "rule": None, "fast": False}
    assert yaml.safe_load(done.stdout)["method"] == expected


CHECKS = """
from benchmark.config import cells
from robust_benchmark.errors import UserError
from methods import registry

def result_of(function, *arguments):
    try:
        return function(*arguments)
    except UserError as error:
        return error

print(result_of(registry.schema, "needy"))
print("mine" in registry.names(), registry.summary("mine"), registry.wraps("mine"))
print(result_of(registry.get, "mien"))
"""


def test_an_option_without_a_default_is_refused_by_name(tmp_path: Path) -> None:
    needy = MINE.replace("class Mine", "class Needy").replace("beta: float = 0.5, ", "beta: float, ")
    path = package_with(tmp_path, mine=MINE, needy=needy)
    done = run_python("-c", CHECKS, path=path, ROBUST_TRAINING_METHODS="mylab.mine,mylab.needy")
    assert done.returncode == 0, done.stderr
    refused, found, nearest = done.stdout.splitlines()
    assert refused == f"method 'needy' ({path}/mylab/needy.py) is left out: option 'beta' has no default; every option needs one"
    assert found == "True Baseline with a factor. And more words. False"
    assert nearest.startswith("no method 'mien'; nearest: mine (")


def test_built_in_methods_are_the_files_of_their_folder() -> None:
    files = {"baseline", "clean_only", "early_stopping", "finetune", "hard_mining", "l2rw", "proportion", "random", "reed", "resample"}
    files |= {"s_model", "weighted"}
    assert files <= set(registry.names())
    for name in files:
        assert registry.get(name).__module__ == f"methods.{name}"
        assert registry.summary(name).endswith(".")
    assert registry.names() == sorted(registry.names())


@pytest.mark.parametrize(("wrong", "nearest"), [("reeed", "reed"), ("l2r", "l2rw"), ("hardmining", "hard_mining")])
def test_a_wrong_name_is_answered_with_the_nearest(wrong: str, nearest: str) -> None:
    for ask in (registry.get, registry.schema, lambda name: cells([f"method={name}"])):
        with pytest.raises(UserError, match=rf"^no method '{wrong}'; nearest: {nearest} \(\d+ known"):
            ask(wrong)


def test_another_file_s_method_of_a_taken_name_is_refused_and_the_first_stays() -> None:
    taken = registry.get("reed")
    with pytest.raises(UserError, match=r"^two methods are named 'reed': methods\.reed\.Reed and elsewhere\.reed\.Other$"):
        register(type("Other", (Method,), {"__module__": "elsewhere.reed", "__qualname__": "Other"}))
    assert registry.get("reed") is taken


def test_registering_again_what_is_registered_is_no_mistake() -> None:
    reed = registry.get("reed")
    assert register(reed) is reed
    assert registry.get("reed") is reed


def defined(module: str, name: str = "Mine") -> type[Method]:
    return type(name, (Baseline,), {"__module__": module, "__qualname__": name})


@pytest.mark.usefixtures("no_method_stays")
def test_a_name_may_be_given_and_a_notebook_s_cell_that_runs_again_replaces_its_class() -> None:
    first, again, other = defined("__main__"), defined("__main__", "Renamed"), defined("mylab.losses")
    assert register("mine")(first) is first
    assert registry.get("mine") is first
    register("mine")(again)
    assert registry.get("mine") is again
    with pytest.raises(UserError, match=r"^two methods are named 'mine': __main__\.Renamed and mylab\.losses\.Mine$"):
        register("mine")(other)
    register("theirs")(other)
    with pytest.raises(UserError, match=r"^two methods are named 'theirs': mylab\.losses\.Mine and __main__\.Mine$"):
        register("theirs")(first)
    assert registry.get("theirs") is other


def test_a_notebook_cannot_take_a_built_in_name_even_before_that_method_was_imported(tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text(
        "from robust_benchmark import Method, UserError, register\n"
        "try:\n    register('l2rw')(type('Mine', (Method,), {}))\nexcept UserError as error:\n    print(error)\n"
    )
    done = run_python(str(tmp_path / "notebook.py"), path=ROOT)
    assert done.stdout == "two methods are named 'l2rw': methods.l2rw.L2RW and __main__.Mine\n", done.stderr


@pytest.mark.usefixtures("no_method_stays")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, r"^method Mine is defined in __main__, so it needs a name: @register\('mine'\)$"),
        ("L2RW-2", r"^method 'L2RW-2' must be named by lower-case letters, digits and underscores$"),
        ("", r"^method '' must be named by"),
    ],
)
def test_a_name_that_is_none_is_refused_in_a_sentence(name: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        register(defined("__main__")) if name is None else register(name)(defined("__main__"))


@pytest.mark.usefixtures("no_method_stays")
def test_a_name_of_a_configuration_file_is_refused() -> None:
    register("reed_soft")(defined("__main__"))
    with pytest.raises(UserError, match=r"^two choices of method are named 'reed_soft': __main__ and conf/method/reed_soft\.yaml$"):
        cells(["method=reed_soft"])


def test_the_signature_is_the_schema_with_types_and_defaults() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(registry.schema("s_model"))}
    assert fields == {"name": str, "init": str, "smoothing": float}
    options = registry.schema("s_model")()
    assert (options.name, options.init, options.smoothing) == ("s_model", "identity", 0.1)


def test_options_are_converted_to_their_types() -> None:
    (cell,) = cells(["method=reed", "method.beta=1", "method.soft=yes"])
    assert cell.identity["method"] == {"name": "reed", "beta": 1.0, "soft": True}
    assert isinstance(cell.identity["method"]["beta"], float)
    method = registry.build(cell.identity["method"])
    assert (method.beta, method.soft) == (1.0, True)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=reed", "method.beta=abc"], r"beta.*abc|abc.*beta"),
        (["method=reed", "method.bta=0.5"], r"no option 'method\.bta'; nearest: method\.beta"),
        (["method=hard_mining", "method.candidates=2.5"], r"2\.5"),
        (["method=finetune", "method.base=reeed"], r"no method 'reeed'; nearest: reed"),
        (["method=finetune", "method.base=reed", "method.base.bta=1"], r"no option 'method\.base\.bta'; nearest: method\.base\.beta"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_reported_in_a_sentence(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as message:
        cells(overrides)
    assert "\n" not in str(message.value)


def test_wrappers_are_those_with_a_base() -> None:
    wrappers = {"class_balanced", "early_stopping", "finetune", "logit_adjustment_post_hoc", "sam"}
    assert {name for name in registry.names() if registry.wraps(name)} == wrappers


LABELS = {
    "reed": ["method=reed"],
    "reed:beta=0.5": ["method=reed", "method.beta=0.5"],
    "reed_soft": ["method=reed", "method.soft=true", "method.beta=0.95"],
    "s_model_conf": ["method=s_model", "method.init=confusion"],
    "hard_mining_released": ["method=hard_mining_released"],
    "crt_released": ["method=crt", "method.bn=adapt"],
    "lws_released": ["method=lws", "method.bn=adapt"],
    "dividemix_asymmetric": ["method=dividemix", "method.penalty=true", "method.lambda_u=0"],
    "elr_plus_asymmetric": ["method=elr_plus", "method.beta=0.9", "method.lam=1"],
    "disc_asymmetric": ["method=disc", "method.m=0.95"],
    "js_asymmetric": ["method=js", "method.pi=0.3"],
    "baseline_es": ["method=early_stopping"],
    "baseline_es_ft": ["method=finetune", "method.base=early_stopping"],
    "weighted_ft": ["method=finetune", "method.base=weighted"],
    "finetune:base=early_stopping:base.base=reed:base.base.beta=0.3": [
        "method=finetune",
        "method.base=early_stopping",
        "method.base.base=reed",
        "method.base.base.beta=0.3",
    ],
}


@pytest.mark.parametrize("label", LABELS)
def test_a_configuration_has_one_name_however_it_is_composed_and_the_name_composes_it(label: str) -> None:
    (cell,) = cells(LABELS[label])
    assert cell.label == label
    assert [each.key for each in cells([f"method={label}"])] == [cell.key]


def test_equal_configurations_have_one_key_under_any_names() -> None:
    named, spelt = cells(["method=baseline_ft"]), cells(["method=finetune", "method.base=baseline"])
    assert named[0].key == spelt[0].key
    assert named[0].key != cells(["method=baseline"])[0].key
