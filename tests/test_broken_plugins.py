"""A plug-in with a mistake is left out, or ends its own trials, with a sentence that names method and file; everything else works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import ROOT, folders, run
from methods import registry
from tests.conftest import kept_in, records

HEAD = """
import abc, sys
import torch
import torch.nn.functional as F
from methods.base import Batch, Knowledge, Method, Phase, Update, Weighted
from methods.baseline import Baseline
from methods.registry import register
"""
GOOD = HEAD + "@register\nclass Mine(Baseline):\n    pass\n"


def method(body: str, base: str = "Baseline", options: str = "") -> str:
    made = f"    def __init__(self{options}):\n        super().__init__()\n" if options else ""
    return f"{HEAD}@register\nclass Mine({base}):\n{made}    {body}\n"


DECLARATIONS = {  # the content of a method's file, and the reason why it is left out
    "annotation": (method("pass", options=", beta: Flot = 1.0"), "cannot be imported: NameError: name 'Flot' is not defined (line 10)"),
    "late_annotation": (
        method("pass", options=", beta: 'Flot' = 1.0"),
        "the annotations of __init__ cannot be read: NameError: name 'Flot' is not defined",
    ),
    "no_option_type": (method("pass", options=", beta: torch.Tensor = None"), "an option has a type that no configuration can have"),
    "default_of_another_type": (method("pass", options=", beta: float = 'x'"), "a type that no configuration can have, or a default of an"),
    "import_error": ("import gone\n" + GOOD, "which cannot be imported: ModuleNotFoundError: No module named 'gone' (line 1)"),
    "syntax_error": (GOOD + "class (\n", "which cannot be imported: SyntaxError: invalid syntax (syntax_error.py, line 11)"),
    "exits": ("import sys\nsys.exit(3)\n" + GOOD, "which cannot be imported: SystemExit: 3 (line 2)"),
    "fails_after_it_is_registered": (GOOD + "1 / 0\n", "which cannot be imported: ZeroDivisionError: division by zero (line 11)"),
    "called_name": (method("pass", options=", name: str = 'x'"), "an option cannot have the name 'name'"),
    "no_method": (HEAD + "@register\nclass Mine:\n    pass\n", "@register is for a subclass of Method, not Mine"),
    "no_class": (HEAD + "@register\ndef mine():\n    pass\n", "@register is for a subclass of Method, not mine"),
    "reed": (GOOD, "two methods are named 'reed': methods.reed.Reed and mylab.reed.Mine"),
    "needs_text": (method("needs = 'clean_set'"), "`needs` must be a Knowledge, such as Knowledge.CLEAN_SET, not 'clean_set'"),
    "mutable": (method("pass", options=", kinds=set()"), "the default of option 'kinds' must be a number, a text, a boolean"),
    "abstract": (
        method("@abc.abstractmethod\n    def weigh(self): ...", "Baseline, abc.ABC"),
        "class Mine is abstract: it does not define weigh",
    ),
    "no_default": (method("pass", options=", beta: float"), "option 'beta' has no default; every option needs one"),
    "arguments": (method("pass", options=", *args"), "option '*args' of __init__ must have a name"),
    "misspelt": (method("def los(self, batch): ...", "Method"), "it defines neither `loss` nor `phases`; nearest: los"),
}

RUN_TIME = {  # and the sentence that ends its trial, where it has one after the method and its file
    "none": (method("def loss(self, batch): pass"), "the loss of phase 'main' of Mine must be a scalar tensor, or .* not None"),
    "vector": (
        method("def loss(self, batch): return F.cross_entropy(self.model(batch.images), batch.labels, reduction='none')"),
        r"the loss of phase 'main' of Mine must be a scalar tensor.* not a tensor of shape \(100,\)",
    ),
    "constant": (method("def loss(self, batch): return super().loss(batch).detach()"), "the loss .* must be differentiable by a parameter"),
    "short_weights": (
        method("def loss(self, batch): return Weighted(super().loss(batch), torch.ones(3))"),
        r"each of .* not \(3,\)",
    ),
    "whole_weights": (
        method("def loss(self, batch): return Weighted(super().loss(batch), torch.ones_like(batch.labels))"),
        r"a float weight for each of the 100 examples, not \(100,\) of torch.int64",
    ),
    "list_weights": (method("def loss(self, batch): return Weighted(super().loss(batch), [1.0] * 100)"), "a float weight .* not list"),
    "negative_weights": (
        method("def loss(self, batch): return Weighted(super().loss(batch), -torch.ones(100))"),
        "example weights must not be negative",
    ),
    "nan_weights": (
        method("def loss(self, batch): return Weighted(super().loss(batch), torch.full((100,), torch.nan))"),
        "example weights must be finite",
    ),
    "no_phases": (
        method("def phases(self, schedules): return []"),
        r"Mine.phases must give a list of phases with at least .*\[\]",
    ),
    "phases_of_text": (method("def phases(self, schedules): return ['main']"), "Mine.phases must give a list of phases .* not"),
    "steps_as_schedule": (
        method("def phases(self, schedules): return [Phase('main', 2, self.loss)]"),
        "the schedule of phase 'main' must be a Schedule of a whole number of steps, not 2",
    ),
    "other_phases_later": (
        method("def phases(self, schedules): return super().phases(schedules) * (2 if hasattr(self, 'model') else 1)"),
        "`phases` returns different steps before and after `setup`",
    ),
    "beyond_the_schedule": (
        method("def phases(self, schedules): return [Phase('main', schedules.main.part(0, 5), self.loss)]"),
        r"`phases` fails at .*: ValueError: a schedule of 2 steps has no steps \[0, 5\)",
    ),
    "wild_source": (
        method("def phases(self, schedules): return [Phase('main', schedules.main, self.loss, source=None)]"),
        "no source of a phase 'None'; nearest",
    ),
    "no_super": (
        method("def __init__(self):\n        self.layer = torch.nn.Linear(1, 1)"),
        r"`__init__` fails at .*: AttributeError: cannot assign module before Module.__init__\(\) call",
    ),
    "quiet_no_super": (method("def __init__(self): self.beta = 1"), r"`__init__` must call super\(\).__init__\(\) first"),
    "init_fails": (method("def __init__(self): raise ValueError('no luck')"), "`__init__` fails at .*: ValueError: no luck"),
    "needs_later": (
        method("def __init__(self):\n        super().__init__()\n        self.needs = 'x'"),
        "`needs` must be a Knowledge",
    ),
    "setup_fails": (method("def setup(self, make_model, view): raise KeyError('no luck')"), "`setup` fails at .*: KeyError: 'no luck'"),
    "no_model": (method("def setup(self, make_model, view): pass"), "`loss` fails at .*: AttributeError: 'Mine' object has no attribute"),
    "draws_clean": (
        method("def loss(self, batch): return super().loss(batch.draw_clean(5))"),
        "the clean set was asked for without Knowledge",
    ),
    "sees_clean": (method("def setup(self, make_model, view): view.clean_set"), "the clean set was asked for without Knowledge.CLEAN_SET"),
    "sees_rate": (
        method("def setup(self, make_model, view): view.noise_rate"),
        "the noise rate was asked for without Knowledge.NOISE_RATE",
    ),
    "exits_in_loss": (method("def loss(self, batch): sys.exit(4)"), "`loss` fails at .*: SystemExit: 4"),
    "loses_a_file": (method("def loss(self, batch): open('/gone')"), "`loss` fails at .*: FileNotFoundError: .*/gone"),
    "wild_part": (
        method("def phases(self, schedules): return [Phase('main', schedules.main, (Update(self.loss, ('modle',)),))]"),
        "no part with parameters in Mine 'modle'; nearest: model ",
    ),
    "far_sample": (
        method(
            "def phases(self, schedules):\n"
            "        return [Phase('main', schedules.main, self.loss, sample=lambda *_: torch.full((1, 9), 99999))]"
        ),
        r"`sample` must give int64 positions \(rows, width\) in 0 .. \d+, not in 99999 .. 99999",
    ),
    "list_sample": (
        method("def phases(self, schedules): return [Phase('main', schedules.main, self.loss, sample=lambda *_: [[0]])]"),
        "`sample` must give int64 positions .* not list",
    ),
    "joins_text": (
        method("def phases(self, schedules): return [Phase('main', schedules.main, self.loss, before=lambda view: 'more')]"),
        "`before` of phase 'main' must return Examples or None, not str",
    ),
    "narrow": (
        method("def predict(self, images): return self.model(images)[:, :2]"),
        r"`predict` gives .* \(\d+, 2\), not logits",
    ),
    "mute": (method("def predict(self, images): pass"), "`predict` gives NoneType, not logits"),
}
OWN_CODE = re.compile(" fails at |was asked for without|source of a phase|must be a Schedule")


def written(directory: Path, files: dict[str, str]) -> dict[str, str]:
    """The package mylab with these modules; the environment that names all of them."""
    package = directory / "mylab"
    package.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    named = ",".join(f"mylab.{name}" for name in files)
    return {**os.environ, "PYTHONPATH": str(directory), "OMP_NUM_THREADS": "1", "ROBUST_TRAINING_METHODS": named}


def command(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "benchmark.run", *map(str, arguments)]
    return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def small(directory: Path) -> list[str]:
    return [*kept_in(directory), "trials=1", "trainer.steps=2", "device=cpu", "processes=1", "model.width=2"]


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of reed and a good plug-in beside all broken ones, one of which is also an entry point."""
    directory = tmp_path_factory.mktemp("declared")
    environment = written(directory, {**{name: text for name, (text, _) in DECLARATIONS.items()}, "good": GOOD})
    installed = directory / "broken-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[robust_training.methods]\nmine = nothing.there\n")
    return directory, command(environment, *small(directory), "method=reed,good")


def test_methods_beside_broken_plug_ins_train(declared: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, done = declared
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(record["method"] for record in records(directory)) == ["good", "reed"]


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_broken_declaration_leaves_out_its_method_in_a_sentence(
    name: str, declared: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    directory, done = declared
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"warning: method '{name}' ")]
    assert lines, done.stderr
    shown = re.escape(f"warning: method '{name}' ({directory}/mylab/{name}.py) is left out: ")
    assert [re.match(f"{shown}.*{re.escape(DECLARATIONS[name][1])}", line) for line in lines] != [None], lines


def test_a_broken_entry_point_is_left_out(declared: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    said = "the entry point 'mine' names 'nothing.there', which cannot be imported: ModuleNotFoundError: No module named 'nothing'"
    assert f"\nwarning: method 'there' (nothing.there) is left out: {said}\n" in f"\n{declared[1].stderr}"


@pytest.mark.usefixtures("no_method_stays")
def test_help_and_a_choice_of_the_broken_method_give_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = written(tmp_path, {"exits": DECLARATIONS["exits"][0], "needs_text": DECLARATIONS["needs_text"][0]})
    monkeypatch.setenv(registry.VARIABLE, environment[registry.VARIABLE])
    monkeypatch.syspath_prepend(tmp_path)
    registry._import_all.cache_clear()  # as in a process that begins
    assert run.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "  reed " in shown
    said = f"({tmp_path / 'mylab' / 'needs_text.py'}) is left out: `needs` must be a Knowledge, such as Knowledge.CLEAN_SET"
    assert f"\nwarning: method 'needs_text' {said}, not 'clean_set'\n" in shown
    assert run.main(["method=finetune", "method.base=needs_text"]) == 2
    assert capsys.readouterr().err == f"error: method 'needs_text' {said}, not 'clean_set'\n"
    for name in ("mylab", "mylab.exits", "mylab.needs_text"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A grid of all that break the contract at run time, and reed."""
    directory = tmp_path_factory.mktemp("ended")
    environment = written(directory, {name: text for name, (text, _) in RUN_TIME.items()})
    return directory, command(environment, *small(directory), f"method={','.join(RUN_TIME)},reed")


def test_a_method_beside_those_that_break_the_contract_trains(ended: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, done = ended
    assert done.returncode == 1, done.stderr
    assert [record["method"] for record in records(directory)] == ["reed"]
    assert f"1 of {len(RUN_TIME) + 1} trials are in" in done.stdout


@pytest.mark.parametrize("name", RUN_TIME)
def test_a_contract_broken_at_run_time_ends_its_trial_in_a_sentence(
    name: str, ended: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    directory, done = ended
    file = re.escape(str(directory / "mylab" / f"{name}.py"))
    sentence = f"method '{name}' \\({file}\\): .*{RUN_TIME[name][1]}"
    assert re.search(f"^failed: {name}, seed 0: {sentence}.* \\(see .*failure\\)$", done.stderr, re.MULTILINE), done.stderr
    first = re.search(f"^{name}(, seed 0, failed| cannot train): {sentence}.*\n(.*)$", done.stderr, re.MULTILINE)
    assert first, done.stderr
    own = OWN_CODE.search(RUN_TIME[name][1]) is not None
    assert (first[2] == "Traceback (most recent call last):") == own
    if own:
        begin = re.escape(str(ROOT / "methods" / "baseline.py")) if name == "no_model" else file  # whose loss it inherits
        assert re.search(rf'{re.escape(first[0])}\n  File "{begin}", line \d+, in ', done.stderr)


# --- the other groups

CODE = """
import sys
from pathlib import Path
import torch
from torch import nn

class Wide(nn.Module):
    def __init__(self, num_classes, image_shape):
        super().__init__()
        self.layer = nn.Linear(image_shape.numel(), num_classes + 1)

    def forward(self, images):
        return self.layer(images.flatten(1))

class Tall(Wide):
    def forward(self, images):
        return super().forward(images)[:, :-1, None]

class Pair(Wide):
    def forward(self, images):
        return (super().forward(images), None)

class Failing(Wide):
    def forward(self, images):
        raise ValueError("no luck")

def no_module(num_classes, image_shape):
    return 7

def no_parameters(num_classes, image_shape):
    return nn.Identity()
"""


@pytest.mark.parametrize(
    ("group", "target", "words"),
    [
        ("model", "theirlab.Wide", r"theirlab.Wide maps a batch \(1, 1, 8, 8\) to torch.float32 \(1, 11\), not to logits \(1, 10\)"),
        ("model", "theirlab.Tall", r"theirlab.Tall maps a batch \(1, 1, 8, 8\) to torch.float32 \(1, 10, 1\), not to logits \(1, 10\)"),
        ("model", "theirlab.Pair", r"theirlab.Pair maps a batch \(1, 1, 8, 8\) to a tuple, not to logits \(1, 10\)"),
        ("model", "theirlab.no_module", "theirlab.no_module returns a int, but a torch.nn.Module with parameters is needed"),
        ("model", "theirlab.no_parameters", "theirlab.no_parameters returns a torch.*, but a torch.nn.Module with parameters is needed"),
        ("model", "theirexit.Wide", "theirexit.Wide: SystemExit: 5"),
        ("noise", "theirexit.Noise", "theirexit.Noise: SystemExit: 5"),
        ("imbalance", "theirexit.Imbalance", "theirexit.Imbalance: SystemExit: 5"),
        ("dataset", "theirexit.load", "theirexit.load: SystemExit: 5"),
    ],
)
def test_a_choice_that_cannot_be_made_or_used_is_a_sentence_and_others_work(
    group: str, target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _choice(group, target, tmp_path, monkeypatch)
    tiny = [*small(tmp_path)[:-1], "method=baseline"]
    assert run.main([*tiny, f"{group}=theirs"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: {group}=theirs \({re.escape(str(file))}\): {words}\n", error), error


def test_a_model_that_fails_names_its_file_and_its_own_traceback_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _choice("model", "theirlab.Failing", tmp_path, monkeypatch)
    assert run.main([*small(tmp_path)[:-1], "method=baseline", "model=theirs,lenet"]) == 1
    error = capsys.readouterr().err
    line = CODE.splitlines().index('        raise ValueError("no luck")') + 1
    assert f"model=theirs ({file}): `forward` fails at {tmp_path}/theirlab.py:{line}: ValueError: no luck\nTraceback" in error
    assert [record["config"]["model"]["name"] for record in records(tmp_path)] == ["lenet"]


def _choice(group: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the choice `theirs` of a group, in a folder that the variable names."""
    (tmp_path / "theirlab.py").write_text(CODE)
    (tmp_path / "theirexit.py").write_text("import sys\nsys.exit(5)\n")
    text = f"name: theirs\n_target_: {target}\n" + ("_partial_: true\n" if group == "model" else "")
    if group == "dataset":
        text = f"# @package _global_\ndataset:\n  name: theirs\n  source: {{_target_: {target}}}\n  preprocessing: {{pad: 0}}\n"
    file = tmp_path / "conf" / group / "theirs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "conf"))
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("theirlab", "theirexit"):
        sys.modules.pop(module, None)
    return file
