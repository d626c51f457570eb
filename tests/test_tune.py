"""`python -m benchmark.tune`: equal budgets, a choice by noisy validation labels, and numbers on fresh seeds."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from benchmark import folders, trial, tune
from benchmark.analysis.figures import canvas
from benchmark.analysis.figures.request import Request
from benchmark.analysis.figures.sensitivity import Searched, panels, sensitivity_figure
from benchmark.config import cells
from benchmark.metrics import METRICS
from benchmark.records.grids import TrialId
from benchmark.records.store import Record
from benchmark.tuning import study as study_module
from benchmark.tuning.options import TuneOptions
from benchmark.tuning.spaces import Distribution, space_of
from benchmark.tuning.study import CHOSEN_BY, FIRST, TOGETHER, Study
from tests.conftest import records, tiny_in, untimed
from tests.records import config_of, entry, record_of

METHODS = "method=elr,gce"
SEED = 7  # of the search


SETTING = ["noise=uniflip", "trainer.steps=3", "model.width=2"]  # the options of `tiny` that are part of a key


def tiny(directory: Path, *overrides: str) -> list[str]:
    return tiny_in(directory, "processes=1", *SETTING, f"seed={SEED}", "tune.budget=3", "tune.trials=2", *overrides)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which two methods were tuned, with the figure."""
    root = tmp_path_factory.mktemp("tuned")
    assert tune.main([*tiny(root, METHODS), "--figure", str(root / "sensitivity.svg")]) == 0
    return root


def studies(directory: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (directory / "results").rglob("study-*.json")]
    return {each["method"]: each for each in found}


def by_trial(directory: Path) -> dict[TrialId, Record]:
    return {(record["key"], record["seed"]): record for record in records(directory)}


def files(directory: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (directory / "results").rglob("*.json")}


# --- a search


def test_every_method_gets_the_same_budget_and_its_default_is_part_of_it(tuned: Path) -> None:
    found = studies(tuned)
    assert found.keys() == {"elr", "gce"}
    for method, study in found.items():
        assert len(study["configurations"]) == study["budget"] == 3
        (default,) = cells([*SETTING, f"method={method}"])
        assert study["configurations"][0] == {"key": default.key, "options": {}, CHOSEN_BY: study["configurations"][0][CHOSEN_BY]}
        assert study["steps_per_trial"] == 3
    searched = [record for record in records(tuned) if record["seed"] == SEED]
    assert {method: sum(record["config"]["method"]["name"] == method for record in searched) for method in found} == {"elr": 3, "gce": 3}
    assert {record["timing"]["steps"] for record in searched} == {3}


def test_the_chosen_configuration_has_the_best_accuracy_on_noisy_validation_labels(tuned: Path) -> None:
    known = by_trial(tuned)
    for study in studies(tuned).values():
        accuracies = [known[each["key"], SEED]["metrics"]["hyper_validation_accuracy_on_given_labels"] for each in study["configurations"]]
        assert accuracies == [each[CHOSEN_BY] for each in study["configurations"]]
        best = study["configurations"][int(np.argmax(accuracies))]
        assert study["chosen"] == {"key": best["key"], "options": best["options"]}


def test_final_trials_have_fresh_seeds_that_the_default_shares(tuned: Path) -> None:
    known = by_trial(tuned)
    wanted = set()
    for study in studies(tuned).values():
        assert study["search_seed"] == SEED
        assert study["final_seeds"] == [SEED + 1, SEED + 2]
        wanted |= {(study[name] if name == "default" else study[name]["key"], seed) for name in ("default", "chosen") for seed in (8, 9)}
    assert {each for each in known if each[1] != SEED} == wanted


def test_a_study_names_options_within_its_space_that_compose_its_keys(tuned: Path) -> None:
    for method, study in studies(tuned).items():
        assert study["space"] == {
            option: {each.kind: list(each.values)} for option, each in space_of(cells([f"method={method}"])[0]).items()
        }
        for each in study["configurations"][1:]:
            assert {name.removeprefix("method.") for name in each["options"]} == study["space"].keys()
            options = [f"{name}={value}" for name, value in each["options"].items()]
            assert cells([*SETTING, f"method={method}", *options])[0].key == each["key"]


def test_a_second_run_trains_nothing_and_prints_the_same_table(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: content for path, content in files(tuned).items() if "study" not in path.name}
    described = {path: path.read_text() for path in (tuned / "results").rglob("study-*.json")}
    assert tune.main(tiny(tuned, METHODS)) == 0
    said = capsys.readouterr()
    assert "test accuracy" not in said.err
    assert {path: content for path, content in files(tuned).items() if "study" not in path.name} == before
    assert {path: path.read_text() for path in (tuned / "results").rglob("study-*.json")} == described
    known = by_trial(tuned)
    for method, study in studies(tuned).items():
        line = next(line for line in said.out.splitlines() if re.search(rf"\b{method}\b", line))
        for key in (study["default"], study["chosen"]["key"]):
            accuracies = [100 * known[key, seed]["metrics"]["test_accuracy"] for seed in study["final_seeds"]]
            assert ", ".join(f"{accuracy:.2f}" for accuracy in accuracies) in line
    assert "tuned (3 x 3 steps)" in said.out


def test_an_interrupted_search_continues_in_two_processes_and_ends_with_the_same_numbers(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trial._keep
    written = []

    def interrupted(*arguments: Any) -> Record:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(kept(*arguments))
        return written[-1]

    monkeypatch.setattr(trial, "_keep", interrupted)
    assert tune.main(tiny(tmp_path, METHODS)) == 130
    assert len(records(tmp_path)) == 4
    assert studies(tmp_path) == {}
    monkeypatch.undo()
    arguments = [each for each in tiny(tmp_path, METHODS) if each != "processes=1"]
    assert tune.main([*arguments, "processes=2"]) == 0
    assert studies(tmp_path) == studies(tuned)
    assert untimed(tmp_path) == untimed(tuned)


def test_a_failed_trial_ends_the_search_with_status_1_and_without_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(cell: Any, *_: Any) -> Record:
        raise RuntimeError(f"no disk for {cell.label}")

    monkeypatch.setattr(trial, "_keep", failing)
    assert tune.main(tiny(tmp_path, "method=js", "tune.budget=1")) == 1
    assert "failed: js, seed 7: RuntimeError: no disk for js" in capsys.readouterr().err
    assert not list((tmp_path / "results").rglob("study-*.json"))


# --- the order of configurations


def fake_search(study: Study, accuracy: Any) -> list[dict[str, Any]]:
    """Tell accuracies without training; return the options of each configuration."""
    rounds = []
    while asked := study.ask():
        rounds.append(len(asked))
        done = [each for each in study.tried if each.cell in asked]
        known = {(each.cell.key, study.seed): {"metrics": {CHOSEN_BY: accuracy(each.options)}} for each in done}
        study.tell({trial: {"metrics": {}} if record["metrics"][CHOSEN_BY] is None else record for trial, record in known.items()})
    if study.options.sampler == "tpe":
        assert rounds[0] == min(FIRST, study.options.budget)
        assert all(each <= TOGETHER for each in rounds[1:])
    assert sum(rounds) == study.options.budget == len(study.tried) == len(study.accuracies)
    return [dict(each.options) for each in study.tried]


def elr_study(sampler: str, seed: int = 0, budget: int = 16) -> Study:
    (cell,) = cells(["method=elr", f"seed={seed}"])
    return Study(cell, space_of(cell), TuneOptions(budget, sampler))


def far_from(lam: float) -> Any:
    """An accuracy that is highest at this value of lam."""
    return lambda options: 1 / (1 + abs(math.log(options.get("method.lam", 3.0) / lam)))


def test_the_overrides_of_a_proposed_cell_compose_it_again_as_a_task_on_a_cluster_does() -> None:
    study = elr_study("random", seed=5, budget=3)
    for cell in study.ask():
        (again,) = cells(cell.overrides)
        assert (again.key, again.seeds) == (cell.key, range(5, 6))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_order_depends_on_the_seed_alone_and_for_tpe_on_the_accuracies(sampler: str) -> None:
    first = fake_search(elr_study(sampler), far_from(20))
    assert fake_search(elr_study(sampler), far_from(20)) == first
    assert fake_search(elr_study(sampler, seed=1), far_from(20))[1:FIRST] != first[1:FIRST]
    other = fake_search(elr_study(sampler), far_from(0.4))
    assert other[:FIRST] == first[:FIRST]
    assert (other == first) == (sampler == "random")


def test_tpe_looks_where_accuracies_are_high() -> None:
    late = [math.log(options["method.lam"]) for options in fake_search(elr_study("tpe", budget=25), far_from(20))[15:]]
    other = [math.log(options["method.lam"]) for options in fake_search(elr_study("tpe", budget=25), far_from(0.4))[15:]]
    assert np.mean(late) > np.mean(other) + 1


def test_a_diverged_configuration_is_never_chosen_and_the_first_of_equal_ones_is() -> None:
    study = elr_study("random", budget=4)
    fake_search(study, lambda options: 0.0 if options else None)  # the default diverges
    assert [math.isnan(each) for each in study.accuracies] == [True, False, False, False]
    assert study.chosen is study.tried[1]
    assert study.content()["configurations"][0][CHOSEN_BY] is None


def test_values_have_few_digits_and_stay_in_their_range() -> None:
    near = Distribution("uniform", (0.5, 0.99996))
    assert near.rounded(0.999959) == 0.99996
    assert near.rounded(0.712345) == 0.7123
    assert Distribution("choices", (0.123456,)).rounded(0.123456) == 0.123456


# --- spaces


def test_every_shipped_space_holds_the_default_of_its_method_and_values_that_the_method_accepts() -> None:
    names = [file.path.stem for file in folders.files(folders.SPACES)]
    assert len(names) >= 12
    grid = cells([f"method={','.join(names)}"])
    assert [cell.label for cell in grid] == names
    for cell in grid:
        study = Study(cell, space_of(cell), TuneOptions(2, "random"))
        _, proposed = study.ask()
        assert proposed.identity["dataset"] == cell.identity["dataset"]
        assert proposed.config.method != cell.config.method
        for option, distribution in study.space.items():
            assert cell.config.method[option] in distribution
            assert proposed.config.method[option] in distribution


def test_an_option_that_the_command_line_sets_is_not_searched() -> None:
    (cell,) = cells(["method=elr", "method.beta=0.1"])
    assert space_of(cell).keys() == {"lam"}


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of search spaces of a plug-in."""
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "conf"))
    folder = tmp_path / "conf" / folders.SPACES
    folder.mkdir(parents=True)
    return folder


def test_a_plug_in_brings_a_space_and_equal_configurations_are_trained_once(theirs: Path, tmp_path: Path) -> None:
    (theirs / "small_loss.yaml").write_text("rate: {choices: [known, estimated]}\n")
    assert tune.main(tiny(tmp_path, "method=small_loss", "tune.budget=6", "tune.trials=1", "tune.sampler=random")) == 0
    (study,) = studies(tmp_path).values()
    assert len(study["configurations"]) == 6
    assert sum(record["seed"] == SEED for record in records(tmp_path)) == len({each["key"] for each in study["configurations"]}) == 2


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("rat: {choices: [known]}", "no option 'rat'; nearest: rate (2 known: rate, warm_up)"),
        ("warm_up: {uniforn: [0, 1]}", "warm_up: no distribution 'uniforn'; nearest: uniform"),
        ("warm_up: {uniform: [0, 2]}", "method.warm_up must be a number in [0, 1], not 2"),
        ("warm_up: {uniform: [0.5, 0.1]}", "uniform needs the lowest and the highest number, not [0.5, 0.1]"),
        ("warm_up: {log_uniform: [0, 1]}", "log_uniform needs the lowest and the highest number above 0, not [0, 1]"),
        ("warm_up: {integers: [0, 0.5]}", "integers needs the lowest and the highest number, not [0, 0.5]"),
        ("warm_up: {choices: []}", "choices needs a list of values, not []"),
        ("warm_up: [0, 1]", "warm_up must have one distribution, such as {uniform: [0, 1]}, not [0, 1]"),
        ("warm_up: {uniform: [0.5, 0.9]}", "warm_up is uniform [0.5, 0.9], without the value of small_loss, which is 0.05"),
        ("rate: {choices: [unknown]}", "no method.rate 'unknown'; nearest: known"),
        ("", "must map options of method 'small_loss' to distributions"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_a_mistake_in_a_space_is_one_sentence(
    space: str, words: str, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = theirs / "small_loss.yaml"
    file.write_text(f"{space}\n")
    assert tune.main(tiny(tmp_path, "method=small_loss")) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}")
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_two_spaces_of_one_method_are_refused(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (theirs / "elr.yaml").write_text("lam: {uniform: [1, 5]}\n")
    assert tune.main(tiny(tmp_path, "method=elr")) == 2
    assert "two choices of tune are named 'elr'" in capsys.readouterr().err


# --- a user's mistakes


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tune.budget=0"], "tune.budget must be a whole number of at least 1, not 0"),
        (["tune.budget=2.5"], "tune.budget must be a whole number of at least 1, not 2.5"),
        (["tune.trials=0"], "tune.trials must be a whole number of at least 1, not 0"),
        (["tune.sampler=tp"], "no tune.sampler 'tp'; nearest: tpe (2 known: random, tpe)"),
        (["tune.budgt=3"], "no option 'tune.budgt'; nearest: tune.budget"),
        (["tune.budget=1,2"], "tune.budget is one value for the whole grid"),
        (["method=elr,baseline"], "method 'baseline' has no search space: add conf/tune/baseline.yaml"),
        (["split.hyper_validation=0"], "(split.hyper_validation=0): give split.hyper_validation="),
        (["trials=3"], "give tune.trials=3 instead of trials"),
        (["launcher=local"], "not with launcher=local"),
        (["launcher=slurm", "launcher.detach=true"], "launcher.detach must be false"),
        (["method.beta=0.5", "method.lam=1"], "the command line sets every option in the search space of method 'elr'"),
        (["method=reeed"], "no method 'reeed'; nearest: reed"),
        (["--figure", "figure.gif"], "figure.gif must have the suffix .png, .pdf or .svg"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_writes_nothing(
    overrides: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = [] if any(each.startswith("method=") for each in overrides) else ["method=elr"]
    given = tiny(tmp_path, *method, *overrides)
    assert tune.main([each for number, each in enumerate(given) if not _replaced(each, given[number + 1 :])]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def _replaced(override: str, later: list[str]) -> bool:
    return any("=" in override and each.partition("=")[0] == override.partition("=")[0] for each in later)


def test_without_optuna_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study_module, "find_spec", lambda name: None)
    assert tune.main(tiny(tmp_path, "method=elr")) == 2
    assert capsys.readouterr().err == "error: benchmark.tune needs Optuna: pip install optuna\n"


def test_help_names_the_options_and_the_methods_with_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  tune.{name}=" in said for name in ("budget", "sampler", "trials"))
    assert "gce" in said.splitlines()[-1]


# --- the figure


def test_the_figure_shows_the_accuracy_of_each_configuration_against_each_option(tuned: Path) -> None:
    known = by_trial(tuned)
    searched = {method: [known[each["key"], SEED] for each in study["configurations"]] for method, study in studies(tuned).items()}
    found = panels([Searched(*each) for each in searched.items()], METRICS[CHOSEN_BY])
    assert {(panel.method, panel.option) for panel in found} >= {("elr", "method.beta"), ("elr", "method.lam"), ("gce", "method.q")}
    for panel in found:
        name = panel.option.removeprefix("method.")
        wanted = [(record["config"]["method"][name], 100 * record["metrics"][CHOSEN_BY]) for record in searched[panel.method]]
        assert panel.points == wanted
    picture = (tuned / "sensitivity.svg").read_text()
    assert picture.startswith("<?xml")
    assert picture.count('id="axes_') == len(found)


def test_axes_have_plain_numbers_and_the_words_of_options() -> None:
    trials = [(0.001, False, 0.1), (0.1, True, 0.3), (3.0, True, 0.2)]
    made = [record_of(config_of(method={"name": "x", "rate": rate, "soft": soft}), 0, [entry(9, value)]) for rate, soft, value in trials]
    request = Request(made, {}, (METRICS["test_accuracy"],), None, False, (), 6.9, Path(), None)
    with mpl.rc_context(canvas.THEME):
        figure = sensitivity_figure([Searched("x", made)], request)
        figure.draw_without_rendering()
        rate, soft = figure.axes
        assert rate.get_xscale() == "log"
        assert {"0.01", "0.1", "1"} <= {label.get_text() for label in rate.get_xticklabels()}
        assert [label.get_text() for label in soft.get_xticklabels()] == ["false", "true"]
    ring = rate.collections[-1].get_offsets()
    assert np.asarray(ring).tolist() == [[0.1, 30.0]]
    canvas.plt.close(figure)


def test_a_figure_without_a_difference_between_trials_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = tiny(tmp_path, "method=js", "tune.trials=1", "tune.budget=1")
    assert tune.main([*arguments, "--figure", str(tmp_path / "figure.png")]) == 2
    assert "there is no sensitivity to draw" in capsys.readouterr().err
