"""The command line: its output, its errors, and that no failure loses a finished trial or changes a number."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmark import ROOT, run
from benchmark.records.store import Record
from tests.conftest import records, tiny_in, untimed

ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "trainer.steps=30", "trials=2", "method=baseline", *overrides)


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "benchmark.run", *overrides]


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ROBUST_TRAINING_METHODS")}
    return inherited | ONE_THREAD | variables


def finished(
    arguments: list[str], cwd: Path = ROOT, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess:
    return subprocess.run(
        arguments, cwd=cwd, env=environment(**(variables or {})), capture_output=True, text=True, check=False, timeout=120, **options
    )


# --- a run


def test_a_run_prints_its_table_and_a_second_one_trains_nothing_and_prints_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = tiny(tmp_path, "method=baseline,l2rw")
    assert run.main(overrides) == 0
    first = capsys.readouterr().out
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.json")}
    assert len(files) == 4
    assert run.main(overrides) == 0
    second = capsys.readouterr()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.json")} == files
    assert "seed" not in second.err

    table = second.out.strip()
    assert first.strip().endswith(table)
    assert re.search(r"noisy labels +baseline +\d+\.\d\d, \d+\.\d\d\n", table)
    assert re.search(r"noisy labels \+ clean set +l2rw +\d+\.\d\d, \d+\.\d\d\n", table)
    assert f"4 of 4 trials are in {tmp_path / 'results'}" in table


def test_more_trials_train_only_those_that_are_missing(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "trials=1")) == 0
    before = untimed(tmp_path)
    assert run.main(tiny(tmp_path, "trials=3")) == 0
    after = untimed(tmp_path)
    assert sorted(seed for _, seed in after) == [0, 1, 2]
    assert before.items() <= after.items()


def test_the_parts_of_a_record_agree(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "trials=1")) == 0
    (record,) = records(tmp_path)
    confusion = record["per_class"]["confusion_matrix"]
    right, count = sum(row[label] for label, row in enumerate(confusion)), sum(map(sum, confusion))
    assert count == record["data"]["sizes"]["test"] == 500
    assert record["metrics"]["test_accuracy"] == pytest.approx(right / count)
    assert record["per_class"]["accuracy"] == pytest.approx([row[label] / sum(row) for label, row in enumerate(confusion)])
    assert record["history"]["test_accuracy"][-1] == record["metrics"]["test_accuracy"]
    assert sum(record["data"]["train_labels_per_class"]) == record["data"]["sizes"]["train"] == 1797 - 500 - 100 - 100
    assert record["needs"] == []


def test_help_lists_every_method_dataset_and_noise_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--help"]) == 0
    text = capsys.readouterr().out
    texts = {path.stem: path.read_text() for path in (ROOT / "methods").glob("*.py")}
    found = [(stem, re.findall(r'^@register(?:\("(\w+)"\))?$', text, re.MULTILINE)) for stem, text in texts.items()]
    methods = {name or stem for stem, names in found for name in names}
    files = {group: {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} for group in ("method", "dataset", "noise")}
    for group, names in files.items():
        section = text.partition(f"\n{group}=\n")[2].partition("\n\n")[0]
        listed = dict(re.findall(r"^  (\S+) +(\S.+)$", section, re.MULTILINE))
        assert set(listed) == names | (methods if group == "method" else set())
        assert all(len(line.split()) >= 3 for line in listed.values())


def test_cfg_job_prints_the_configuration_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = tiny(tmp_path, "method=reed,baseline_ft")
    assert run.main([*overrides[:1], "--cfg", "job", *overrides[1:]]) == 0
    first, second = yaml.safe_load_all(capsys.readouterr().out)
    assert first["method"] == {"name": "reed", "beta": 0.8, "soft": False}
    assert second["method"] == {"name": "finetune", "base": {"name": "baseline"}}
    assert first["trainer"]["steps"] == 30
    assert first["trials"] == 2
    assert not (tmp_path / "results").exists()


# --- failures

LONG = ["trainer.steps=80", "trainer.evaluate_every=30", "checkpoint_seconds=0", "method=s_model,l2rw", "trials=1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Record]:
    directory = tmp_path_factory.mktemp("undisturbed")
    assert run.main(tiny(directory, *LONG)) == 0
    return untimed(directory)


def stopped_in_mid_trial(directory: Path, number: signal.Signals) -> tuple[int, str]:
    """Status and stderr of a run that met a signal as soon as a checkpoint lay there."""
    process = subprocess.Popen(
        command(*tiny(directory, *LONG)), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not list((directory / "checkpoints").rglob("seed-*.pt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    return process.returncode, message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_or_ctrl_c_the_same_command_ends_with_the_records_of_an_undisturbed_run(
    number: signal.Signals, undisturbed: dict[tuple[str, int], Record], tmp_path: Path
) -> None:
    status, message = stopped_in_mid_trial(tmp_path, number)
    assert len(records(tmp_path)) < 2
    assert [path for path in (tmp_path / "checkpoints").rglob("*.pt") if path.stat().st_size]
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 130
        assert message.splitlines()[-1] == "interrupted: the same command continues from here"
        assert "Traceback" not in message
    assert run.main(tiny(tmp_path, *LONG)) == 0
    assert untimed(tmp_path) == undisturbed
    assert not list((tmp_path / "checkpoints").rglob("*.pt"))


def limit_file_size(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_is_one_sentence_and_finished_trials_are_kept(tmp_path: Path) -> None:
    overrides = tiny(tmp_path, "trials=1", "trainer.steps=3,60", "trainer.evaluate_every=1")  # the second record is too long
    done = finished(command(*overrides), preexec_fn=lambda: limit_file_size(8_000))
    assert done.returncode not in (0, 130)
    assert_one_sentence(done.stderr)
    assert "continues" in done.stderr
    assert [record["timing"]["steps"] for record in records(tmp_path)] == [3]
    assert not list(tmp_path.rglob("*.part"))
    assert run.main(overrides) == 0
    assert len(records(tmp_path)) == 2


def assert_one_sentence(message: str) -> None:
    """One line `error: ...` on stderr, apart from the progress bar, and no traceback."""
    lines = [
        line
        for line in re.split(r"[\r\n]", message)
        if line.strip() and not re.search(r"step/s\]|seed \d+: (test accuracy|diverged)", line)
    ]
    assert len(lines) == 1, message
    assert lines[0].startswith("error: "), message
    assert len(lines[0].split()) > 3
    assert lines[0][-1] not in ":([", message


def test_a_diverged_trial_is_recorded_and_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path, "trials=1", "trainer.lr=1e30,0.1")) == 0
    diverged, done = sorted(records(tmp_path), key=lambda record: record["status"])
    assert (diverged["status"], diverged["config"]["trainer"]["lr"]) == ("diverged", 1e30)
    assert "test_accuracy" not in diverged["metrics"]
    assert (done["status"], done["config"]["trainer"]["lr"]) == ("done", 0.1)
    assert "(1 diverged)" in capsys.readouterr().out
    assert run.main(tiny(tmp_path, "trials=1", "trainer.lr=1e30,0.1")) == 0  # it is not tried again
    assert "(1 diverged)" in capsys.readouterr().out


USERS_METHOD = '''
import torch
from methods.base import (Method)
from methods.registry import register


@register
class Cracked(Method):
    """Fails at its third step."""

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        self.left = 2

    def loss(self, batch):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("cracked on purpose")
        return torch.nn.functional.cross_entropy(self.model(batch.images), batch.labels)
'''


def test_a_users_method_that_fails_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    (tmp_path / "cracked.py").write_text(USERS_METHOD)
    variables = {"ROBUST_TRAINING_METHODS": "cracked", "PYTHONPATH": str(tmp_path)}
    done = finished(command(*tiny(tmp_path, "method=cracked,baseline", "processes=2")), variables=variables)
    assert done.returncode == 1, done.stderr
    message = done.stdout + done.stderr
    assert "cracked, seed 0" in message
    assert "RuntimeError: cracked on purpose" in message
    assert "2 of 4 trials" in done.stdout
    assert "2 failed" in done.stdout
    assert [(record["method"], record["seed"]) for record in records(tmp_path)] == [("baseline", 0), ("baseline", 1)]


def test_other_packages_called_datasets_and_methods_do_not_disturb_a_run_from_the_checkout(tmp_path: Path) -> None:
    for name in ("datasets", "methods"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "__init__.py").write_text("raise ImportError('another package of this name')")
    done = finished(command(*tiny(tmp_path, "trials=1", "checkpoint_seconds=0")), variables={"PYTHONPATH": str(tmp_path / "elsewhere")})
    assert done.returncode == 0, done.stderr
    assert "1 of 1 trials" in done.stdout
    assert len(records(tmp_path)) == 1
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]


def test_other_packages_before_the_checkout_on_the_path_do_not_disturb_the_command_for_any_directory(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("raise ImportError('another package of this name')")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = finished([sys.executable, "-m", "robust_benchmark", "run", "--cfg", "job"], cwd=tmp_path, variables={"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["dataset"]["name"] == "digits"


# --- rejections


def folder(directory: Path, *parts: str) -> str:
    for part in parts:
        (directory / "pictures" / part).mkdir(parents=True)
    return f"dataset.path={directory / 'pictures'}"


REFUSED = {
    "method": ["method=reeed"],
    "dataset": ["dataset=mnits"],
    "noise": ["noise=bgflop"],
    "option": ["noise.rte=0.1"],
    "option of a method": ["method=reed", "method.beta0=1"],
    "option of a base": ["method=finetune", "method.base={name:reed,bta:1}"],
    "no assignment": ["reed"],
    "no name": ["=reed"],
    "no group": ["~noise"],
    "null": ["noise=null"],
    "rate": ["noise.rate=1.4"],
    "negative rate": ["noise.rate=-0.1"],
    "rate that is no number": ["noise.rate=high"],
    "rate that is not a number": ["noise.rate=nan"],
    "background": ["noise.background=12"],
    "background of one trial": ["noise.background=[3,12]"],
    "negative background": ["noise.background=-1"],
    "background that is no number": ["noise.background=cat"],
    "no background": ["noise.background=[]"],
    "half a background": ["noise.background=1.5"],
    "clean set": ["split.clean_per_class=1000"],
    "clean class": ["split.clean_per_class=119"],
    "negative clean set": ["split.clean_per_class=-1"],
    "hyper-validation": ["split.hyper_validation=5000"],
    "no clean set for l2rw": ["method=l2rw", "split.clean_per_class=0"],
    "no clean example of a class for relabel": ["method=relabel", "split.clean_total=5"],
    "no clean set for finetune": ["method=baseline_ft", "split.clean_total=0"],
    "trials": ["trials=0"],
    "processes": ["processes=0"],
    "steps": ["trainer.steps=0"],
    "type": ["trainer.steps=many"],
    "learning rate": ["trainer.lr=-1"],
    "momentum": ["trainer.momentum=-1"],
    "padding": ["dataset.preprocessing.pad=-1"],
    "width": ["model.width=0"],
    "width that is no number": ["model.width=wide"],
    "candidates": ["method=hard_mining", "method.candidates=-3"],
    "beta": ["method=reed", "method.beta=2"],
    "choice of a method": ["method=s_model", "method.init=idntity"],
    "imbalance": ["noise=imbalance", "noise.ratio=0.99", "noise.total=5000"],
    "majority": ["noise=imbalance", "noise.ratio=0.5", "noise.majority=10"],
    "option of a source": ["+dataset.source.foo=1"],
    "option of a noise": ["+noise.foo=1"],
    "test size": ["dataset.source.test_size=1797"],
    "device": ["device=cpuu"],
    "device that torch lacks": ["device=xpu"],
    "folder without a path": ["dataset=image_folder"],
    "missing data": ["dataset=image_folder", "dataset.path=/none/such"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_sentence_and_status_2_before_anything_trains(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(tiny(tmp_path, "trials=1", *REFUSED[case])) == 2
    message = capsys.readouterr()
    assert message.out == ""
    assert message.err.count("\n") == 1, message.err
    assert_one_sentence(message.err)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("parts", [[], ["train"], ["train/a", "train/b"], ["train/a", "train/b", "test/a", "test/b"]], ids=len)
def test_an_image_folder_without_pictures_is_reported(parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder(tmp_path, *parts)
    assert run.main([*tiny(tmp_path, "dataset=image_folder", path, "model=convnet"), f"data_dir={tmp_path / 'cache'}"]) == 2
    message = capsys.readouterr().err
    assert_one_sentence(message)
    assert str(tmp_path / "pictures") in message


@pytest.mark.parametrize("option", ["results_dir", "checkpoint_dir"])
def test_a_directory_that_cannot_be_written_is_reported_before_anything_trains(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run.main(tiny(tmp_path, f"{option}={tmp_path / 'file' / 'below'}")) == 2
    message = capsys.readouterr().err
    assert_one_sentence(message)
    assert str(tmp_path / "file") in message
    assert not list(tmp_path.rglob("*.json"))


def test_a_truncated_record_is_reported_and_deleting_it_trains_that_trial_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path)) == 0
    before = untimed(tmp_path)
    first, second = sorted((tmp_path / "results").rglob("*.json"))
    kept = second.stat().st_mtime_ns
    first.write_bytes(first.read_bytes()[:300])
    capsys.readouterr()
    assert run.main(tiny(tmp_path)) == 2
    message = capsys.readouterr().err
    assert_one_sentence(message)
    assert str(first) in message
    first.unlink()
    assert run.main(tiny(tmp_path)) == 0
    assert untimed(tmp_path) == before
    assert second.stat().st_mtime_ns == kept


def test_a_record_is_plain_json_that_says_what_it_is(tmp_path: Path) -> None:
    assert run.main(tiny(tmp_path, "trials=1", "method=baseline_ft")) == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["method"] == "baseline_ft"
    assert record["needs"] == ["clean_set"]
    assert record["config"]["method"] == {"name": "finetune", "base": {"name": "baseline"}}
    assert record["data"]["noise_rate"] == 0.4
    assert record["environment"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["history"]["phase"] == ["main", "fine-tuning"]


def test_a_finished_grid_of_a_gpu_is_shown_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(tiny(tmp_path)) == 0
    capsys.readouterr()
    assert run.main([*tiny(tmp_path), "device=cuda:7"]) == 0
    assert "of 2 trials are in" in capsys.readouterr().out
