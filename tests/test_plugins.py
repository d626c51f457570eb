"""External packages provide choices of every group, and an error in one is one sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from benchmark import ROOT, folders, run
from benchmark.config import cells
from benchmark.records.store import Record
from robust_benchmark.errors import UserError
from tests.conftest import kept_in, records

EXAMPLE = ROOT / "examples" / "plugin"
DOCS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
COMMAND = "dataset=bars noise=neighbour imbalance=thinned model=flat method=capped trainer=brief trials=1"


def command(*arguments: object, path: Path, module: str = "benchmark.run", **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROBUST_TRAINING")}
    environment = inherited | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    whole = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def places(directory: Path) -> list[str]:
    return [*kept_in(directory), "device=cpu", "processes=1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example package, installed."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--target", target, source], check=True)
    return target


# --- the example


def test_the_docs_run_the_command_that_is_tested() -> None:
    assert f"python -m benchmark.run {COMMAND}\n" in DOCS


def run_of_example(site: Path, directory: Path, *more: str) -> Record:
    done = command(*COMMAND.split(), *places(directory), *more, path=site)
    assert done.returncode == 0, done.stderr
    (record,) = records(directory)
    return record


def test_an_installed_package_brings_a_choice_of_every_group_and_a_change_of_its_code_makes_its_records_stale(
    site: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(site, tmp_path / "site")
    first = run_of_example(copy, tmp_path)
    assert first["status"] == "done"
    assert {part: first["config"][part]["name"] for part in ("dataset", "noise", "imbalance", "model", "method", "trainer")} == {
        "dataset": "bars",
        "noise": "neighbour",
        "imbalance": "thinned",
        "model": "flat",
        "method": "capped",
        "trainer": "brief",
    }
    assert "unknown" not in first["fingerprint"].values()
    module = copy / "mylab" / "noise.py"
    module.write_text(f"# a comment\n{module.read_text()}")
    assert run_of_example(copy, tmp_path, "rerun=stale") == first
    module.write_text(f"{module.read_text()}\nX = 1\n")
    assert run_of_example(copy, tmp_path) == first
    again = run_of_example(copy, tmp_path, "rerun=stale")
    assert {part for part in first["fingerprint"] if again["fingerprint"][part] != first["fingerprint"][part]} == {"plugin"}
    assert again["metrics"] == first["metrics"]


def test_its_numbers_follow_from_what_its_files_say(site: Path, tmp_path: Path) -> None:
    record = run_of_example(site, tmp_path)
    true, given = (record["data"][name] for name in ("train_true_labels_per_class", "train_labels_per_class"))
    flipped = record["data"]["wrong_labels_per_true_class"]
    assert sum(flipped) == record["data"]["wrong_labels"]["train"] == round(0.3 * sum(true))
    assert given == [true[label] - flipped[label] + flipped[label - 1] for label in range(4)]
    assert true[0] < 0.7 * min(true[1:])


def test_an_experiment_and_a_variant_of_a_method_are_choices_too(site: Path) -> None:
    done = command("experiment=bars", "trials=1", "--cfg", "job", path=site)
    assert done.returncode == 0, done.stderr
    configs = list(yaml.safe_load_all(done.stdout))
    assert {(each["method"]["name"], each["method"].get("cap"), each["imbalance"]["name"]) for each in configs} == {
        (*method, imbalance) for method in (("baseline", None), ("capped", 2.0), ("capped", 1.5)) for imbalance in ("none", "thinned")
    }


def test_help_says_where_a_choice_is_from(site: Path) -> None:
    lines = command("--help", path=site).stdout.splitlines()
    marked = [line.split()[0] for line in lines if line.endswith("[mylab]")]
    assert sorted(marked) == sorted(["bars", "neighbour", "thinned", "flat", "capped", "capped_low", "brief", "bars"])


def test_the_name_of_a_variant_is_its_label(site: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.py").write_text(
        "from benchmark.config import cells\nfor cell in cells(['method=capped,capped_low,capped:cap=0.5']):\n    print(cell.label)\n"
    )
    done = command(path=Path(f"{site}{os.pathsep}{tmp_path}"), module="labels")
    assert done.stdout.split() == ["capped", "capped_low", "capped:cap=0.5"], done.stderr


# --- folders of the environment variable

NOISE = "# Theirs\nname: theirs\n_target_: datasets.noise.UniformFlip\nrate: 0.1\n"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of configuration files that the variable names, with one noise, beside one that does not exist."""
    folder = tmp_path / "their conf"
    written(folder, "noise/theirs.yaml", NOISE)
    monkeypatch.setenv(folders.VARIABLE, os.pathsep.join(["", str(folder), str(folder), str(tmp_path / "gone")]))
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_folder_that_the_variable_names_is_searched_after_conf(conf: Path) -> None:
    (cell,) = cells(["noise=theirs"])
    assert cell.identity["noise"] == {"name": "theirs", "rate": 0.1}
    assert [cell.identity["noise"]["name"] for cell in cells(["noise=theirs,uniflip"])] == ["theirs", "uniflip"]


def test_a_choice_that_names_a_class_of_the_benchmark_has_its_code_and_no_plug_in(conf: Path) -> None:
    from benchmark import trial

    (theirs,), (ours,) = cells(["noise=theirs"]), cells(["noise=uniflip"])
    assert trial.code_of(theirs) == trial.code_of(ours)


CAREFUL = "# @package _global_\nnoise: {_target_: datasets.noise.UniformFlip, name: careful, rate: 0.3}\nmethod: {beta: 0.3}\n"
TIED = "name: reed\nbeta: ${noise.rate}\n"


@pytest.mark.parametrize(
    ("file", "text", "sweep"),
    [
        ("noise/careful.yaml", CAREFUL, ["method=reed,reed_soft", "noise=bgflip,careful"]),
        ("method/tied.yaml", TIED, ["method=reed,tied", "noise=theirs,uniflip"]),
        ("method/tied.yaml", TIED, ["method=tied,reed", "noise=theirs,uniflip"]),
    ],
)
def test_methods_and_settings_that_change_each_other_are_composed_together(file: str, text: str, sweep: list[str], conf: Path) -> None:
    written(conf, file, text)
    found = cells(sweep)
    assert len({each.config.method["beta"] for each in found}) > 1
    for each in found:
        (alone,) = cells(each.overrides)
        assert asdict(alone.config) == asdict(each.config)


def test_two_choices_of_one_name_are_refused_and_all_else_works(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = written(conf, "noise/uniflip.yaml", NOISE)
    said = f"two choices of noise are named 'uniflip': conf/noise/uniflip.yaml and {twin}"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        cells(["noise=none,uniflip"])
    assert cells(["noise=theirs,none"])
    assert run.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "[ROBUST_TRAINING_CONF]" in shown
    assert shown.endswith(f"\nwarning: {said}\n")


def test_two_plug_ins_with_one_name_are_refused(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = written(tmp_path / "other", "noise/theirs.yaml", NOISE)
    monkeypatch.setenv(folders.VARIABLE, os.pathsep.join([str(conf), str(other.parent.parent)]))
    first = conf / "noise" / "theirs.yaml"
    with pytest.raises(UserError, match=f"^two choices of noise are named 'theirs': {re.escape(str(first))} and {re.escape(str(other))}$"):
        cells(["noise=theirs"])


def test_a_folder_that_is_missing_is_named_where_a_choice_is_not_found_and_in_help(
    conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"ROBUST_TRAINING_CONF names {tmp_path / 'gone'}, which is not a folder"
    with pytest.raises(UserError, match=rf"^no noise 'thiers'; nearest: theirs .*\); {re.escape(said)}$"):
        cells(["noise=thiers"])
    assert run.main(["--help"]) == 0
    assert capsys.readouterr().out.endswith(f"\nwarning: {said}\n")


def test_a_folder_without_groups_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path))
    (problem,) = folders.problems()
    assert problem.startswith(f"ROBUST_TRAINING_CONF names {tmp_path}, which has none of the folders method, dataset, ")


def test_an_entry_point_that_cannot_be_imported_is_named_and_all_else_works(tmp_path: Path) -> None:
    installed = tmp_path / "broken-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[robust_training.conf]\nmine = nothing.there\n")
    assert command("--cfg", "job", path=tmp_path).returncode == 0
    done = command("noise=theirs", path=tmp_path)
    said = (
        "the entry point 'mine' of broken names 'nothing.there', which cannot be imported: ModuleNotFoundError: No module named 'nothing'"
    )
    assert (done.returncode, done.stderr.endswith(f"; {said}\n")) == (2, True), done.stderr


# --- files that are wrong

CODE = """
import torch
from datasets.source import Source

NUMBER = 1

def load():
    return {}

def bad_labels():
    images, labels = torch.zeros((4, 1, 2, 2), dtype=torch.uint8), torch.zeros(4)
    return Source(images, labels, images, labels, ("a", "b"))

def identity(num_classes, image_shape):
    return torch.nn.Identity()

def narrow(num_classes):
    return torch.nn.Linear(1, num_classes)
"""
DATASET = "dataset:\n  name: theirs\n  source: {_target_: TARGET}\n  preprocessing: {pad: 0}\n"
MODEL = "name: theirs\n_partial_: true\n_target_: TARGET\n"


@pytest.mark.parametrize(
    ("group", "text", "words"),
    [
        ("noise", "name: [theirs\nrate: 1\n", r"FILE \(line 2\) is not YAML: expected ',' or '\]', but got ':'"),
        ("noise", "name: uniflip\n_target_: datasets.noise.UniformFlip\n", "CHOICE must contain `name: theirs`, but has 'uniflip'"),
        ("noise", "name: theirs\n", "CHOICE must name a class or a function with its module by `_target_`, but has None"),
        ("noise", "name: theirs\n_target_: UniformFlip\n", "CHOICE must name a class .* by `_target_`, but has 'UniformFlip'"),
        (
            "noise",
            NOISE.replace("datasets.noise", "theirlab.gone"),
            "CHOICE: theirlab.gone.UniformFlip: ModuleNotFoundError: No module named",
        ),
        (
            "noise",
            NOISE.replace("datasets.noise.UniformFlip", "theirlab.NUMBER"),
            "CHOICE: theirlab.NUMBER: Expected a callable target, got '1'",
        ),
        (
            "noise",
            "name: theirs\n_target_: theirlab.load\n",
            "CHOICE: theirlab.load returns a dict, but a datasets.noise.Corruption is needed",
        ),
        ("noise", NOISE.replace("rate", "rat"), "CHOICE has no option 'noise.rat'; nearest: noise.rate "),
        ("noise", NOISE.replace("0.1", "2"), r"noise.rate must be a number in \[0, 1\], not 2"),
        (
            "imbalance",
            NOISE,
            "CHOICE: datasets.noise.UniformFlip returns a datasets.noise.UniformFlip, but a datasets.imbalance.Imbalance is needed",
        ),
        ("trainer", "defaults: [/schema/trainer@_here_, _self_]\n", "CHOICE must contain `name: theirs`, but has 'digits'"),
        (
            "dataset",
            DATASET.replace("TARGET", "theirlab.load"),
            "CHOICE: theirlab.load returns a dict, but a datasets.source.Source is needed",
        ),
        (
            "dataset",
            DATASET.replace("TARGET", "theirlab.bad_labels"),
            "CHOICE: theirlab.bad_labels: ValueError: training labels must be int64",
        ),
        (
            "dataset",
            DATASET.replace("TARGET", "theirlab.load").replace("pad", "pod"),
            r"CHOICE has no option 'dataset.preprocessing.pod'; nearest: dataset.preprocessing.pad \(4 known",
        ),
        (
            "dataset",
            "dataset: {name: theirs, source: {_target_: a.b}}",
            "CHOICE must give `preprocessing`, a mapping of options, but has None",
        ),
        (
            "model",
            MODEL.replace("TARGET", "theirlab.identity"),
            "CHOICE: theirlab.identity returns a torch.*, but a torch.nn.Module with parameters",
        ),
        (
            "model",
            MODEL.replace("TARGET", "theirlab.narrow"),
            r"CHOICE: theirlab.narrow cannot be called with \(num_classes, image_shape\) and",
        ),
        ("model", MODEL.replace("TARGET", "theirlab.narrow").replace("_partial_: true\n", ""), "CHOICE must contain `_partial_: true`"),
        ("method", "defaults: [gone, _self_]\n", r"In 'method/theirs': Could not load 'method/gone'\."),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_choice_and_others_work(
    group: str, text: str, words: str, conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "theirlab.py", CODE)
    sys.modules.pop("theirlab", None)
    if group == "dataset":
        text = f"# @package _global_\n{text}"
    file = written(conf, f"{group}/theirs.yaml", text)
    tiny = [*places(tmp_path), "trainer.steps=2", "trials=1", "method=baseline"]
    assert run.main([*tiny, f"{group}=theirs"]) == 2
    error = capsys.readouterr().err
    expected = words.replace("CHOICE", re.escape(f"{group}=theirs ({file})")).replace("FILE", re.escape(str(file)))
    assert re.match(f"error: {expected}", error), error
    assert len(error.splitlines()) == 1
    assert run.main([*tiny, "model.width=2"]) == 0


# --- the same name in several groups


def test_choices_of_one_name_in_several_groups_are_covered_one_by_one(conf: Path, tmp_path: Path) -> None:
    from benchmark import trial

    for module in ("their_noise", "their_model"):
        written(tmp_path, f"{module}.py", "from datasets.noise import UniformFlip\n")
    written(conf, "noise/theirs.yaml", NOISE.replace("datasets.noise", "their_noise"))
    written(conf, "model/theirs.yaml", MODEL.replace("TARGET", "their_model.Net"))
    (cell,) = cells(["noise=theirs", "model=theirs"])
    assert trial._plugins(cell)["noise=theirs"] == str(tmp_path / "their_noise.py")
    assert trial._plugins(cell)["model=theirs"] == str(tmp_path / "their_model.py")


def test_without_plug_ins_hydra_looks_into_conf_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    assert folders.search_path() == []
    assert {file.origin for group in folders.GROUPS for file in folders.files(group)} == {""}
