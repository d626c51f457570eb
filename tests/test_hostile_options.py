"""Mistakes on the command line: one sentence with the value and the allowed values, status 2, and no training."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import report, run

PLACE = ["trials=1", "trainer.steps=2", "processes=1"]
NOT_TAKEN = "options are name=value, name=value,value (a sweep)"

# the input, and its error sentence
GRAMMAR = {
    "method=glob(reed*)": NOT_TAKEN,
    "noise.rate=range(0,1,0)": NOT_TAKEN,
    "noise.rate=range(1,0)": NOT_TAKEN,
    "noise.rate=interval(0,1)": NOT_TAKEN,
    "noise.rate=choice(0.1,0.2)": NOT_TAKEN,
    "noise.rate=???": NOT_TAKEN,
    "method.base=${method}": NOT_TAKEN,
    "hydra.run.dir=/tmp/x": NOT_TAKEN,
    "=5": NOT_TAKEN,
    "reed": NOT_TAKEN,
    "~noise": NOT_TAKEN,
    "noise@method=reed": NOT_TAKEN,
    "noise.rate=[0.1": NOT_TAKEN,
    "results_dir=Zoë": "a value with other characters is in quotes",
    "noise.rate=0.2,,0.4": "empty value next to a comma",
    "noise.rate=0.2,": "empty value next to a comma",
    "+method=reed": "write method=reed",
    "++noise.rate=0.1": "write noise.rate=0.1",
    "+trainer.foo=1": "nearest: trainer.",
    "++trainer.foo=1": "nearest: trainer.",
    "+trainer.lrr=1": "nearest: trainer.lr ",
    "+launcher.extr.qos=long": "no option 'launcher.extr.qos'",
}
CHOICES = {
    "trainer=5": "no trainer '5'; nearest: ",
    "trainer=digit": "no trainer 'digit'; nearest: digits ",
    "method=näme": "no method 'näme'; nearest: ",
    "method=L2RW": "nearest: l2rw ",
    "method=gce:q": "'gce:q' is not accepted: options of a method are :name=value",
    "method=reed,gce:": "'gce:' is not accepted: options of a method are :name=value",
    "method=reed,reeed:beta=0.5": "no method 'reeed'; nearest: reed ",
    "method=null": "no method 'null'; nearest: ",
    "noise=": "no noise ''; nearest: ",
    "launcher=slrm": "no launcher 'slrm'; nearest: slurm ",
    "method=finetune method.base=red": "no method 'red'; nearest: reed ",
    "method=finetune method.base=5": "no method '5'; nearest: ",
    "noise._target_=": "'noise._target_' cannot be set here",
    "noise.name=../..": "noise.name=../..",
    "experiment=fig2 experiment.sweep.noise=[none]": "experiment.sweep.noise=[none]: it belongs in the experiment's file",
}
SWEEPS = {
    "launcher=local,slurm": "launcher is one value for the whole grid, not local,slurm",
    "results_dir=a,b": "results_dir is one value for the whole grid, not a,b",
    "trials=1,2": "trials is one value for the whole grid, not 1,2",
}
VALUES = {
    "results_dir=": "results_dir must be a text, not empty",
    "checkpoint_dir=": "checkpoint_dir must be a text, not empty",
    "noise.rate=": "noise.rate must be a number in [0, 1], not empty",
    "trials=0": "trials must be a whole number of at least 1, not 0",
    "seed=-1": "seed must be a whole number of at least 0, not -1",
    "scale=0": "scale must be a number in (0, 1], not 0",
    "keep=weights": "keep must be a list, each one of weights, evidence, predictions, not 'weights'",
    "keep=[weigths]": "no keep 'weigths'; nearest: weights ",
    "rerun=stael": "no rerun 'stael'; nearest: stale ",
    "split=5": "split must have options, not be 5",
    "split.clean_per_class=-1": "split.clean_per_class must be a whole number of at least 0, not -1",
    "split.clean_noise_rate=2": "split.clean_noise_rate must be a number in [0, 1], not 2",
    "split.stratified=perhaps": "split.stratified must be true or false, not 'perhaps'",
    "trainer.steps=many": "trainer.steps must be a whole number of at least 1, not 'many'",
    "trainer.steps=2.0": "trainer.steps must be a whole number of at least 1, not 2.0",
    "trainer.steps=1.5": "trainer.steps must be a whole number of at least 1, not 1.5",
    "trainer.lr=-0.1": "trainer.lr must be a number of at least 0, not -0.1",
    "trainer.lr=nan": "trainer.lr must be a number of at least 0, not nan",
    "trainer.momentum=5": "trainer.momentum must be a number in [0, 1], not 5",
    "trainer.optimiser=adm": "no trainer.optimiser 'adm'; nearest: adam",
    "trainer.main.decay_at=[-1,5]": "trainer.main.decay_at must be a list of numbers in [0, 1], not [-1, 5]",
    "trainer.main.share=0": "trainer.main.share must be a number above 0, not 0",
    "trainer.main.share=-1": "trainer.main.share must be a number above 0, not -1",
    "trainer.finetune.lr=-1": "trainer.finetune.lr must be a number of at least 0 or null, not -1",
    "dataset.preprocessing.flip=maybe": "dataset.preprocessing.flip must be true or false, not 'maybe'",
    "dataset.preprocessing.fip=true": "no option 'dataset.preprocessing.fip'; nearest: dataset.preprocessing.flip ",
    "dataset.source.test_size=0": "dataset.source.test_size must be a whole number of at least 1, not 0",
    "dataset=arrays dataset.path=x dataset.test_share=2": "dataset.test_share must be a number in [0, 1], not 2",
    "dataset=image_folder": "dataset.path has no default",
    "model=resnet32 model.units=0": "model.units must be a whole number of at least 1, not 0",
    "model=resnet32 model.dropout=2": "model.dropout must be a number in [0, 1], not 2",
    "model=resnet32 model.variant=papers": "no model.variant 'papers'; nearest: paper ",
    "model=mlp model.hidden=8": "model.hidden must be a list of whole numbers of at least 1, not 8",
    "noise.rate=high": "noise.rate must be a number in [0, 1], not 'high'",
    "noise.rte=0.1": "no option 'noise.rte'; nearest: noise.rate ",
    "noise=imbalance noise.majority=abc": "noise.majority must be a whole number of at least 0 or null, not 'abc'",
    "noise=imbalance noise.total=abc": "noise.total must be a whole number of at least 1 or null, not 'abc'",
    "noise=human noise.kind=wors": "no noise.kind 'wors'; nearest: worse ",
    "noise=matrix": "noise.matrix has no default",
    "imbalance=exponential imbalance.rho=0.5": "imbalance.rho must be a number of at least 1, not 0.5",
    "launcher=slurm launcher.mem_gb=nan": "launcher.mem_gb must be a number above 0, not nan",
    "launcher=slurm launcher.mem_gb=inf": "launcher.mem_gb must be a number above 0, not inf",
    "launcher=slurm launcher.gpus=-1": "launcher.gpus must be a whole number of at least 0, not -1",
    "launcher=local launcher.processes=0": "launcher.processes must be a whole number of at least 1, not 0",
    "method=reed method.beta=2": "method.beta must be a number in [0, 1], not 2",
    "method=reed method.bta=2": "no option 'method.bta'; nearest: method.beta ",
    "method=s_model method.init=idntity": "no method.init 'idntity'; nearest: identity ",
    "method=finetune method.base=reed method.base.beta=x": "method.base.beta must be a number in [0, 1], not 'x'",
    "method=finetune method.base={name: reed, beta: 7}": "method.base.beta must be a number in [0, 1], not 7",
    f"results_dir={'x' * 300}": "File name too long",
    f"checkpoint_dir={'x' * 300}": "File name too long",
    f"dataset=image_folder dataset.path={'x' * 300}": "xxx",
}


def refused(overrides: list[str], directory: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the single line on stderr of a command with status 2 that writes no record."""
    given = {override.partition("=")[0] for override in overrides}
    places = {"results_dir": directory / "r", "checkpoint_dir": directory / "c"}
    place = [*PLACE, *(f"{name}={path}" for name, path in places.items() if name not in given)]
    place = [override for override in place if override.partition("=")[0] not in given]
    assert run.main([*place, *overrides]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not list(directory.rglob("*.json"))
    return printed.err


def split(command: str) -> list[str]:
    """A line of overrides, in which a mapping holds blanks."""
    words: list[str] = []
    for word in command.split(" "):
        words = [*words[:-1], f"{words[-1]} {word}"] if words and words[-1].count("{") > words[-1].count("}") else [*words, word]
    return words


@pytest.mark.parametrize("command", [*GRAMMAR, *CHOICES, *SWEEPS, *VALUES], ids=lambda command: command[:60])
def test_a_mistake_is_one_sentence_with_what_is_allowed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = refused(split(command), tmp_path, capsys)
    assert {**GRAMMAR, **CHOICES, **SWEEPS, **VALUES}[command] in printed


def test_all_mistakes_of_a_configuration_are_found_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = refused(["noise.rate=2,3", "trainer.momentum=5", "method=reed", "method.beta=-1"], tmp_path, capsys)
    rate = "noise.rate must be a number in [0, 1], not"
    for sentence in (
        f"{rate} 2",
        f"{rate} 3",
        "trainer.momentum must be a number in [0, 1], not 5",
        "method.beta must be a number in [0, 1]",
    ):
        assert printed.count(sentence) == 1


def test_no_launcher_and_no_experiment_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--cfg", "job", "launcher=null", "experiment=null"]) == 0
    assert "launcher: null" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--kind", "confusion"], ["--x", "noise.rate"]], ids=lambda option: option[0])
def test_a_report_without_a_figure_takes_no_options_of_one(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path), *option]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {option[0]} {option[1]} ")
    assert "--figure" in printed
    assert printed.count("\n") == 1


def test_a_cell_that_cannot_be_prepared_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["method=baseline,l2rw", "split.clean_per_class=0", f"results_dir={tmp_path / 'r'}", f"checkpoint_dir={tmp_path / 'c'}"]
    assert run.main([*PLACE, *grid]) == 1
    printed = capsys.readouterr()
    assert "l2rw cannot train: L2RW needs a clean set" in printed.err
    assert "Traceback" not in printed.err
    assert "1 of 2 trials are in" in printed.out
    assert len(list((tmp_path / "r").rglob("*.json"))) == len(list((tmp_path / "r").rglob("*.failure"))) == 1
