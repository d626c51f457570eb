"""Experiments: their grids, the paper's numbers, the records of each cell, its verdict, and the report."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import math
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from benchmark import ROOT, report, trial
from benchmark.analysis.experiment import Found, Wanted, comparison, find, missing, named, render, verdict
from benchmark.analysis.layout import FORMATS
from benchmark.analysis.statistics import Estimate
from benchmark.config import Cell, cells
from benchmark.records.store import Record, Store, digest
from datasets import torch_file
from robust_benchmark.errors import UserError
from tests.records import config_of, entry, record_of

NAN = math.nan


@functools.cache  # composing takes its time
def grid(*overrides: str) -> tuple[Cell, ...]:
    return tuple(cells(overrides))


BASE: dict[str, Any] = {
    "method": {"name": "l2rw"},
    "dataset": {"name": "cifar10"},
    "noise": {"name": "bgflip", "rate": 0.4},
    "split": {"clean_per_class": 10},
    "model": {"name": "resnet32"},
    "trainer": {"name": "cifar", "steps": 1000, "evaluate_every": 100, "main": {"decay_at": [0.5, 0.75]}},
}


def configuration(row: str = "l2rw", dataset: str = "cifar10", **options: Any) -> dict[str, Any]:
    """What determines a cell's numbers, as a record holds it; `noise__rate=0.2` and `scale=0.1` set options."""
    return config_of(BASE, method__name=row, dataset__name=dataset, **options)


def wanted(row: str = "l2rw", trials: int = 3, **options: Any) -> Wanted:
    made = configuration(row, **options)
    return Wanted(row, made, digest(made, 12), trials)


def record(accuracy: float | None, seed: int = 0, row: str = "l2rw", torch: str = "2.11.0", **options: Any) -> Record:
    """A finished trial's record; accuracy None is a diverged one."""
    environment = {"device": "a CPU", "versions": {"torch": torch}, "revision": "0123456789ab"}
    history = [entry(1000, accuracy)]
    return record_of(configuration(row, **options), seed, history, done=accuracy is not None, environment=environment)


def runs(accuracies: Sequence[float | None], row: str = "l2rw", **options: Any) -> list[Record]:
    return [record(accuracy, seed, row, **options) for seed, accuracy in enumerate(accuracies)]


# --- the grids


@pytest.mark.parametrize(
    ("name", "size"),
    [("table1", 20), ("table2", 32), ("fig2", 30), ("fig3", 1), ("fig4", 18), ("fig5", 30), ("fig6", 4), ("fig7", 3)],
)
def test_an_experiment_has_as_many_cells_as_the_paper_has_numbers(name: str, size: int) -> None:
    assert len({cell.key for cell in grid(f"experiment={name}")}) == size == len(grid(f"experiment={name}"))


def labels(found: Sequence[Cell]) -> set[str]:
    return {cell.label for cell in found}


def of(found: Sequence[Cell], *path: str) -> list[Any]:
    """An option of every cell, as its identity has it."""
    return [functools.reduce(lambda node, name: node[name], path, cell.identity) for cell in found]


def the(found: Sequence[Cell], *path: str) -> Any:
    """An option that all the cells have alike."""
    values = of(found, *path)
    assert all(value == values[0] for value in values)
    return values[0]


def names(found: Sequence[Cell]) -> list[str]:
    """Dataset, noise, model and trainer that all the cells have alike."""
    return [the(found, part, "name") for part in ("dataset", "noise", "model", "trainer")]


BACKGROUNDS = {"cifar10": [0, 1, 3, 5, 7], "cifar100": [7, 12, 41, 62, 85]}
TABLE1 = {
    "Baseline": "baseline",
    "Reed-Hard": "reed",
    "S-Model": "s_model",
    "MentorNet": "mentornet",
    "Random": "random",
    "Clean Only": "clean_only",
    "Baseline +FT": "baseline_ft",
    "MentorNet +FT": "mentornet_ft",
    "Random +FT": "random_ft",
    "L2RW": "l2rw",
}
TABLE2 = {
    "Baseline": "baseline",
    "Baseline +ES": "baseline_es",
    "Random": "random",
    "Weighted": "weighted",
    "Reed Soft +ES": "reed_soft_es",
    "Reed Hard +ES": "reed_es",
    "S-Model": "s_model",
    "S-Model +Conf": "s_model_conf",
    "S-Model +Conf +ES": "s_model_conf_es",
    "Clean Only": "clean_only",
    "Baseline +FT": "baseline_ft",
    "Baseline +ES +FT": "baseline_es_ft",
    "Weighted +FT": "weighted_ft",
    "S-Model +Conf +FT": "s_model_conf_ft",
    "S-Model +Conf +ES +FT": "s_model_conf_es_ft",
    "L2RW": "l2rw",
}


@pytest.mark.parametrize(("name", "methods"), [("table1", TABLE1), ("table2", TABLE2)])
def test_every_row_is_the_method_that_its_name_says_on_both_datasets(name: str, methods: dict[str, str]) -> None:
    found = grid(f"experiment={name}")
    rows = found[0].config.experiment.rows
    made = {(rows[cell.choice]["name"], cell.identity["dataset"]["name"], cell.label) for cell in found}
    assert made == {(row, dataset, label) for row, label in methods.items() for dataset in BACKGROUNDS}


def test_table1_is_uniform_flip_on_the_wide_net_with_1000_clean_images() -> None:
    found = grid("experiment=table1")
    for dataset in BACKGROUNDS:
        mine = [cell for cell in found if cell.identity["dataset"]["name"] == dataset]
        assert names(mine) == [dataset, "uniflip", "wrn28_10", "cifar_wide"]
    assert (the(found, "noise", "rate"), the(found, "noise", "targets")) == (0.4, "others")
    assert the(found, "trainer", "steps") == 60_000
    assert the(found, "split", "clean_total") == 1000
    assert the(found, "split", "hyper_validation") == 5000
    assert {cell.config.trials for cell in found} == {5}


@pytest.mark.parametrize("dataset", BACKGROUNDS)
def test_table2_is_background_flip_on_resnet_32_with_10_clean_images_a_class(dataset: str) -> None:
    mine = [cell for cell in grid("experiment=table2") if cell.identity["dataset"]["name"] == dataset]
    assert names(mine) == [dataset, "bgflip", "resnet32", "cifar"]
    assert the(mine, "noise", "rate") == 0.4
    assert the(mine, "noise", "background") == BACKGROUNDS[dataset]  # one a trial
    assert the(mine, "trainer", "steps") == 80_000
    assert (the(mine, "split", "clean_per_class"), the(mine, "split", "clean_total")) == (10, None)
    assert {cell.config.trials for cell in mine} == {5}


def test_fig2_is_imbalance_of_4_against_9_with_5000_images_10_of_them_clean() -> None:
    found = grid("experiment=fig2")
    assert names(found) == ["mnist49", "imbalance", "lenet", "mnist"]
    assert the(found, "noise", "total") == 5000
    assert the(found, "trainer", "steps") == 8_000
    assert (the(found, "split", "clean_per_class"), the(found, "split", "clean_total")) == (5, None)  # of two classes
    assert {cell.config.trials for cell in found} == {10}
    methods = ["baseline", "proportion", "resample", "hard_mining", "random", "l2rw"]
    made = set(zip(of(found, "noise", "ratio"), of(found, "method", "name"), strict=True))
    assert made == set(itertools.product([0.9, 0.95, 0.98, 0.99, 0.995], methods))


def test_fig3_is_l2rw_half_way_and_without_decay() -> None:
    (cell,) = grid("experiment=fig3")
    assert (cell.label, names([cell])) == ("l2rw", ["cifar10", "bgflip", "resnet32", "cifar"])
    main = cell.config.trainer.schedules().main
    assert (main.steps, main.decay_at, main.lr_at(39_999)) == (40_000, (), 0.1)
    assert cell.identity["noise"]["background"] == [0, 1, 3, 5, 7]
    assert cell.identity["split"]["hyper_validation"] == 5000  # on which the weights are taken


def test_fig4_is_the_clean_set_from_15_to_1000_images_on_background_3() -> None:
    found = grid("experiment=fig4")
    assert names(found) == ["cifar10", "bgflip", "resnet32", "cifar"]
    assert (the(found, "noise", "background"), the(found, "noise", "rate"), the(found, "trainer", "steps")) == (3, 0.4, 80_000)
    made = {(cell.identity["split"]["clean_total"], cell.label) for cell in found}
    assert made == set(itertools.product([15, 50, 100, 200, 500, 1000], ["baseline_ft", "baseline_es_ft", "l2rw"]))


def test_fig5_is_the_noise_rate_from_0_to_a_half() -> None:
    found = grid("experiment=fig5")
    assert names(found) == ["cifar10", "bgflip", "resnet32", "cifar"]
    assert (the(found, "noise", "background"), the(found, "trainer", "steps")) == ([0, 1, 3, 5, 7], 80_000)
    made = {(cell.identity["noise"]["rate"], cell.label) for cell in found}
    methods = ["baseline", "baseline_es", "baseline_ft", "baseline_es_ft", "l2rw"]
    assert made == set(itertools.product([0, 0.1, 0.2, 0.3, 0.4, 0.5], methods))


def shape(cell: Cell) -> tuple[Any, ...]:
    return (*names([cell])[1:], cell.identity["trainer"]["steps"], cell.identity["split"]["clean_total"])


def test_fig6_has_each_noise_with_the_model_and_clean_set_of_its_table() -> None:
    found = grid("experiment=fig6")
    assert the(found, "dataset", "name") == "cifar10"
    assert {(*shape(cell), cell.label) for cell in found} == {
        ("uniflip", "wrn28_10", "cifar_wide", 60_000, 1000, "baseline"),
        ("uniflip", "wrn28_10", "cifar_wide", 60_000, 1000, "l2rw"),
        ("bgflip", "resnet32", "cifar", 80_000, 100, "baseline"),
        ("bgflip", "resnet32", "cifar", 80_000, 100, "l2rw"),
    }


def test_fig7_has_the_s_model_that_knows_the_noise() -> None:
    found = grid("experiment=fig7")
    assert names(found) == ["cifar10", "bgflip", "resnet32", "cifar"]
    assert labels(found) == {"baseline", "s_model_oracle", "l2rw"}
    assert (the(found, "noise", "background"), the(found, "trainer", "steps")) == ([0, 1, 3, 5, 7], 80_000)
    assert the(found, "split", "hyper_validation") == 5000  # whose accuracy it draws


# --- the grids of laptop size


SMALL = {"table2_small": 16, "table1_mnist": 10, "table2_mnist": 16, "fig4_mnist": 18, "fig5_mnist": 30}
PARENT = {"table2_small": "table2", "table1_mnist": "table1", "table2_mnist": "table2", "fig4_mnist": "fig4", "fig5_mnist": "fig5"}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_grid_has_the_rows_and_axis_of_the_papers_on_one_dataset(name: str) -> None:
    found, papers = grid(f"experiment={name}"), grid(f"experiment={PARENT[name]}")
    assert len({cell.key for cell in found}) == SMALL[name] == len(found)
    assert {cell.config.trials for cell in found} == {3}
    rows, paper_rows = found[0].config.experiment.rows, papers[0].config.experiment.rows
    assert {row: each["name"] for row, each in rows.items()} == {row: each["name"] for row, each in paper_rows.items()}
    assert {(cell.choice, cell.identity["noise"]["rate"]) for cell in found} == {
        (cell.choice, cell.identity["noise"]["rate"]) for cell in papers
    }


@pytest.mark.parametrize("name", [name for name in SMALL if name.endswith("mnist")])
def test_the_mnist_grids_are_of_10000_images_with_10_clean_ones_a_class(name: str) -> None:
    found = grid(f"experiment={name}")
    assert names(found) == ["mnist", "uniflip" if name == "table1_mnist" else "bgflip", "lenet", "mnist_fast"]
    assert the(found, "dataset", "source", "train_size") == 10_000
    assert (the(found, "split", "clean_per_class"), the(found, "split", "hyper_validation")) == (10, 1000)
    sizes = {15, 50, 100, 200, 500, 1000} if name == "fig4_mnist" else {None}
    assert set(of(found, "split", "clean_total")) == sizes


def test_figure_5_on_mnist_shares_the_trials_of_table_2_on_mnist() -> None:
    shared = {cell.key for cell in grid("experiment=table2_mnist")} & {cell.key for cell in grid("experiment=fig5_mnist")}
    assert len(shared) == 5


def test_table2_small_is_fastnet_on_pictures_in_bf16() -> None:
    found = grid("experiment=table2_small")
    assert names(found) == ["cifar10_jpeg", "bgflip", "fastnet", "cifar_fast"]
    assert {cell.identity["precision"] for cell in found} == {"bf16"}
    assert (the(found, "noise", "background"), the(found, "noise", "rate")) == ([0, 1, 3, 5, 7], 0.4)
    assert (the(found, "split", "clean_per_class"), the(found, "split", "clean_total")) == (10, None)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_grid_is_held_against_no_number_of_the_papers(name: str) -> None:
    found = grid(f"experiment={name}")
    wanted_cells = [Wanted(cell.choice, cell.identity, cell.key, 3) for cell in found]
    assert comparison(find(wanted_cells, []), found[0].config.experiment.rows)["paper"].isna().all()


def test_the_atlas_of_noise_on_mnist_has_21_methods_on_three_hard_noises() -> None:
    found = grid("experiment=noise_atlas_mnist")
    noises = {(cell.identity["noise"]["name"], cell.identity["noise"]["rate"]) for cell in found}
    assert noises == {("uniflip", 0.5), ("pairflip", 0.45), ("instance", 0.4)}
    assert [sum(cell.identity["noise"]["name"] == noise for cell in found) for noise, _ in noises] == [21] * 3
    assert {"baseline", "dividemix", "coteaching", "l2rw"} < labels(found)
    assert [the(found, part, "name") for part in ("dataset", "model", "trainer")] == ["mnist", "lenet", "mnist_fast"]
    assert (the(found, "dataset", "source", "train_size"), the(found, "dataset", "preprocessing", "pad")) == (10_000, 1)
    assert {cell.config.trials for cell in found} == {3}
    assert min(map(trial.steps, found)) > 0  # the phases of each method exist


def test_the_atlas_of_rare_classes_on_mnist_has_twelve_methods_alone_and_with_wrong_labels() -> None:
    found = grid("experiment=tail_atlas_mnist")
    settings = {(cell.identity["imbalance"]["rho"], cell.identity["noise"]["name"]) for cell in found}
    assert settings == {(50, "none"), (10, "uniflip"), (10, "bgflip")}
    assert len(found) == 36
    assert len(labels(found)) == 12
    assert {"baseline", "clean_only", "l2b", "l2rw"} < labels(found)
    assert [the(found, part, "name") for part in ("dataset", "model", "trainer")] == ["mnist", "lenet", "mnist_fast"]
    assert (the(found, "split", "clean_first"), the(found, "split", "clean_per_class"), the(found, "precision")) == (True, 10, "bf16")
    assert min(map(trial.steps, found)) > 0


def test_cifar_10n_at_laptop_size_is_nine_methods_on_the_worst_labels_in_bf16() -> None:
    found = grid("experiment=cifar10n_small")
    assert names(found) == ["cifar10_jpeg", "human", "fastnet", "cifar_fast"]
    assert labels(found) == {"baseline", "gce", "elr", "coteaching", "dividemix", "sop_plus", "pes", "mdyr", "l2rw"}
    assert (the(found, "noise", "kind"), the(found, "precision"), the(found, "dataset", "preprocessing", "pad")) == ("worse", "bf16", 0)
    assert {cell.config.trials for cell in found} == {1}
    assert min(map(trial.steps, found)) > 0


def test_the_reasons_on_cifar_10n_have_only_another_noise_with_the_rates_of_the_human_labels(real_data: Path) -> None:
    human = {cell.choice: cell.identity for cell in grid("experiment=cifar10n_small")}
    found = grid("experiment=cifar10n_reasons")
    assert labels(found) == {"baseline", "l2rw"}
    assert all(cell.identity | {"noise": None} == human[cell.choice] | {"noise": None} for cell in found)
    published = torch_file.load(real_data / "cifar-n" / "CIFAR-10_human.pt")
    matrix = confusion_matrix(published["clean_label"], published["worse_label"], normalize="true")
    assert np.array(the(found, "noise", "matrix")) == pytest.approx(matrix)


# --- options that sweep together


def test_a_user_who_gives_one_of_the_options_that_sweep_together_has_dropped_them_all() -> None:
    (cell,) = grid("experiment=fig6", "method=l2rw", "noise=uniflip")
    assert shape(cell) == ("uniflip", "resnet32", "cifar", 80_000, None)  # the dataset's own, not the wide net of the swept pair
    (cell,) = grid("experiment=table2", "method=l2rw", "noise.background=4")
    assert (cell.identity["dataset"]["name"], cell.identity["noise"]["background"]) == ("cifar10", 4)


def test_an_option_that_sweeps_alone_leaves_those_that_sweep_together() -> None:
    found = grid("experiment=table2", "method=reed,l2rw")
    made = [(cell.identity["dataset"]["name"], cell.identity["noise"]["background"], cell.label) for cell in found]
    assert sorted(made) == sorted((dataset, classes, label) for dataset, classes in BACKGROUNDS.items() for label in ("reed", "l2rw"))


# --- the paper's numbers


@pytest.fixture(scope="session")
def paper() -> list[dict[str, str]]:
    """The paper's reported numbers, copied by hand from its tables."""
    path = Path(os.environ.get("ROBUST_TRAINING_PAPER_TABLES", ROOT.parent / "shared" / "paper_tables.csv"))
    if not path.is_file():
        pytest.skip("needs the paper's numbers: set ROBUST_TRAINING_PAPER_TABLES to a CSV of table,block,method,dataset,mean,ci95")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def reported(name: str) -> dict[tuple[str, str], list[float | None]]:
    """(row, dataset) -> mean and half-width, as the experiment has them."""
    rows = grid(f"experiment={name}")[0].config.experiment.rows.values()
    return {(row["name"], dataset): row[dataset] for row in rows for dataset in BACKGROUNDS}


@pytest.mark.parametrize("table", ["1", "2"])
def test_the_experiments_rows_are_the_papers(table: str, paper: list[dict[str, str]]) -> None:
    printed = {}
    for line in paper:
        if line["table"] == table:
            name = "L2RW" if line["method"] == "Ours" else line["method"]
            dataset = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100"}[line["dataset"]]
            printed[name, dataset] = [float(line["mean"]), float(line["ci95"]) if line["ci95"] else None]
    assert len(printed) == {"1": 20, "2": 32}[table]
    assert reported(f"table{table}") == printed


@pytest.mark.parametrize(
    ("name", "row", "dataset", "printed"),
    [
        ("table1", "Baseline", "cifar10", [67.97, 0.62]),
        ("table1", "MentorNet", "cifar100", [56.9, None]),
        ("table1", "Random +FT", "cifar10", [86.55, 0.24]),
        ("table1", "L2RW", "cifar10", [86.92, 0.19]),
        ("table1", "L2RW", "cifar100", [61.34, 2.06]),
        ("table2", "Baseline", "cifar10", [59.54, 2.16]),
        ("table2", "Reed Hard +ES", "cifar100", [39.03, 0.55]),
        ("table2", "S-Model +Conf +ES", "cifar10", [79.24, 0.56]),
        ("table2", "S-Model +Conf +ES +FT", "cifar100", [55.75, 1.26]),
        ("table2", "L2RW", "cifar10", [86.73, 0.48]),
        ("table2", "L2RW", "cifar100", [59.30, 0.60]),
    ],
)
def test_a_row_has_the_papers_number(name: str, row: str, dataset: str, printed: list[float | None]) -> None:
    assert reported(name)[row, dataset] == printed


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_every_mark_has_its_footnote_and_every_footnote_its_mark(name: str) -> None:
    experiment = grid(f"experiment={name}")[0].config.experiment
    assert {row["note"] for row in experiment.rows.values() if "note" in row} == {note.split()[0] for note in experiment.notes} == {"[1]"}


# --- scale


def test_scale_shortens_every_schedule_and_evaluates_as_often_in_all() -> None:
    (cell,) = grid("dataset=cifar10", "scale=0.1")
    schedules = cell.config.trainer.schedules()
    assert (cell.config.trainer.steps, cell.config.trainer.evaluate_every) == (8_000, 100)
    assert (schedules.main.steps, schedules.main.decay_at) == (8_000, (4_000, 6_000))
    assert (schedules.early_stopping.steps, schedules.early_stopping.decay_at) == (6_000, (4_000, 5_000))
    assert (schedules.finetune.steps, schedules.clean_only.steps) == (500, 200)


def test_scale_marks_the_identity_in_which_all_else_is_as_it_was() -> None:
    (whole,), (short,) = grid("experiment=fig3"), grid("experiment=fig3", "scale=0.1")
    expected = whole.identity | {"trainer": whole.identity["trainer"] | {"steps": 4_000, "evaluate_every": 100}, "scale": 0.1}
    assert short.identity == expected
    (by_hand,) = grid("experiment=fig3", "trainer.steps=4000", "trainer.evaluate_every=100")
    assert len({whole.key, short.key, by_hand.key}) == 3


def test_scale_1_changes_no_key() -> None:
    (cell,) = grid("experiment=fig3", "scale=1")
    assert cell.key == grid("experiment=fig3")[0].key
    assert "scale" not in cell.identity


def test_no_scale_leaves_a_schedule_empty() -> None:
    (cell,) = grid("scale=0.0001")
    assert (cell.config.trainer.steps, cell.config.trainer.evaluate_every) == (1, 1)


@pytest.mark.parametrize("scale", ["0", "2", "-0.5", "nan"])
def test_a_scale_outside_0_to_1_is_the_users_mistake(scale: str) -> None:
    with pytest.raises(UserError, match=r"^scale must be a number in \(0, 1\], not "):
        cells([f"scale={scale}"])


# --- which records fill a cell


def keys(found: Found) -> set[str]:
    return {each["key"] for each in found.records}


def test_a_cell_is_filled_by_its_own_records() -> None:
    mine, other = runs([0.8, 0.9]), runs([0.5], "reed")
    (found,) = find([wanted()], [*other, *mine])
    assert (found.records, found.scale) == (mine, 1.0)


def test_its_own_records_come_before_more_of_a_shorter_schedule() -> None:
    mine = runs([0.8])
    (found,) = find([wanted()], [*runs([0.7] * 5, trainer__steps=900), *mine])
    assert (found.records, found.scale) == (mine, 1.0)


def test_without_records_of_its_own_the_longest_shorter_schedule_stands_in() -> None:
    longest = runs([0.7, 0.8], trainer__steps=250, trainer__evaluate_every=25, scale=0.25)
    shorter = runs([0.6] * 3, trainer__steps=100, trainer__evaluate_every=10, scale=0.1)
    (found,) = find([wanted()], [*shorter, *longest])
    assert (found.records, found.scale) == (longest, 0.25)


def test_a_longer_schedule_never_stands_in() -> None:
    longer = runs([0.9], trainer__steps=2000)
    (found,) = find([wanted()], longer)
    assert (found.records, found.scale) == ([], 1.0)
    shorter = runs([0.7], trainer__steps=500)
    (found,) = find([wanted()], [*longer, *shorter])
    assert (found.records, found.scale) == (shorter, 0.5)


@pytest.mark.parametrize(
    "option",
    [
        {"noise__rate": 0.2},
        {"dataset": "cifar100"},
        {"row": "reed"},
        {"split__clean_per_class": 5},
        {"model__name": "lenet"},
        {"trainer__main": {"decay_at": []}},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_record_of_another_configuration_never_fills_a_cell(option: dict[str, Any]) -> None:
    others = [*runs([0.9], **option), *runs([0.9], trainer__steps=500, **option)]
    (found,) = find([wanted()], others)
    assert (found.records, found.scale) == ([], 1.0)


def test_every_cell_finds_its_own_among_all_records() -> None:
    rates = [0.2, 0.4]
    cells_wanted = [wanted(row, noise__rate=rate) for row in ("reed", "l2rw") for rate in rates]
    records = [record(0.5, seed, row, noise__rate=rate) for seed in range(2) for rate in rates for row in ("l2rw", "reed")]
    for cell, found in zip(cells_wanted, find(cells_wanted, records), strict=True):
        assert found.wanted is cell
        assert keys(found) == {cell.key}
        assert sorted(each["seed"] for each in found.records) == [0, 1]


def test_a_trial_run_under_two_names_of_one_shorter_schedule_counts_once() -> None:
    by_scale = runs([0.7, 0.8, 0.9], trainer__steps=100, trainer__evaluate_every=10, scale=0.1)
    by_hand = runs([0.7, 0.8, 0.9], trainer__steps=100)  # the same steps and seeds, evaluated less often: the same numbers
    found = find([wanted()], [*by_scale, *by_hand])
    (row,) = comparison(found, {}).itertuples()
    assert row.trials == "3 of 3"
    assert row.ours.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 10 / math.sqrt(3))


def test_a_run_at_a_tenth_of_the_steps_stands_in_for_the_papers_cell() -> None:
    (whole,), (short,) = grid("experiment=fig3"), grid("experiment=fig3", "scale=0.1")
    (found,) = find([Wanted(whole.choice, whole.identity, whole.key, 5)], [recorded(short, 0.8)])
    assert (keys(found), found.scale) == ({short.key}, 0.1)


# --- the verdict on a cell


def found_with(done: int, diverged: int = 0, trials: int = 5, scale: float = 1.0) -> Found:
    return Found(wanted(trials=trials), runs([0.5] * done + [None] * diverged), scale)


PAPER = Estimate(86.73, 0.48, 0)


def test_a_cell_without_records_was_not_run() -> None:
    assert verdict(found_with(0), Estimate(NAN, NAN, 0), PAPER) == "not run"


def test_a_cell_whose_trials_all_diverged_says_how_many() -> None:
    assert verdict(found_with(0, diverged=5), Estimate(NAN, NAN, 0), PAPER) == "5 diverged"


@pytest.mark.parametrize(
    ("ours", "paper", "expected"),
    [
        (Estimate(86.50, 0.30, 5), PAPER, "within both intervals"),  # 0.23 apart
        (Estimate(86.30, 0.30, 5), PAPER, "off by -0.43, intervals overlap"),  # in the paper's interval, not in ours
        (Estimate(87.23, 0.60, 5), PAPER, "off by +0.50, intervals overlap"),  # in ours, not in the paper's
        (Estimate(86.00, 0.30, 5), PAPER, "off by -0.73, intervals overlap"),  # 0.73 < 0.30 + 0.48
        (Estimate(85.90, 0.30, 5), PAPER, "off by -0.83, intervals apart"),  # 0.83 > 0.30 + 0.48
        (Estimate(90.00, 1.00, 5), PAPER, "off by +3.27, intervals apart"),
        (Estimate(50.00, 0.50, 5), Estimate(50.5, 1.0, 0), "within both intervals"),  # on the edge
        (Estimate(50.00, 0.50, 5), Estimate(51.5, 1.0, 0), "off by -1.50, intervals overlap"),  # that touch
        (Estimate(78.00, 0.30, 5), Estimate(76.6, NAN, 0), "off by +1.40, intervals unknown"),
        (Estimate(78.00, 0.30, 5), None, ""),
    ],
)
def test_a_complete_cell_is_compared_with_both_intervals(ours: Estimate, paper: Estimate | None, expected: str) -> None:
    assert verdict(found_with(5), ours, paper) == expected


def test_one_trial_has_no_interval_to_be_within() -> None:
    expected = verdict(found_with(1), Estimate(86.73, NAN, 1), PAPER)
    assert expected == "off by +0.00, intervals unknown, 4 trials missing"


def test_a_cell_at_reduced_scale_is_not_held_against_the_paper() -> None:
    assert verdict(found_with(5, scale=0.1), Estimate(86.73, 0.3, 5), PAPER) == "reduced scale (0.1)"
    assert verdict(found_with(4, 1, scale=0.25), Estimate(86.73, 0.3, 4), PAPER) == "reduced scale (0.25), 1 diverged"


def test_the_verdict_names_missing_and_diverged_trials() -> None:
    assert verdict(found_with(3), Estimate(86.5, 0.3, 3), PAPER) == "within both intervals, 2 trials missing"
    assert verdict(found_with(2, diverged=1), Estimate(86.5, 0.3, 2), PAPER) == "within both intervals, 2 trials missing, 1 diverged"
    assert verdict(found_with(3), Estimate(86.5, 0.3, 3), None) == "2 trials missing"


def test_trials_that_diverged_are_not_called_missing() -> None:
    assert verdict(found_with(3, diverged=2), Estimate(86.5, 0.3, 3), PAPER) == "within both intervals, 2 diverged"


# --- the table

ROWS: dict[str, Any] = {
    "l2rw": {"name": "L2RW", "cifar10": [86.73, 0.48], "cifar100": [59.30, 0.60]},
    "mentornet": {"name": "MentorNet", "note": "[1]", "cifar10": [76.6, None]},
    "mine": {"name": "Mine"},
}
NOTES = ["[1] From its own paper."]


def table_of_four() -> list[Found]:
    wants = [wanted("l2rw"), wanted("mentornet", trials=4), wanted("mine"), wanted("l2rw", dataset="cifar100")]
    return find(wants, [*runs([0.85, 0.86, 0.87]), *runs([0.79, None], "mentornet"), *runs([0.30, 0.31, 0.32], "mine")])


def interval(values: Sequence[float]) -> float:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=0, scale=stats.sem(values))
    return (high - low) / 2


def test_comparison_has_a_row_a_cell_with_the_papers_number_and_ours() -> None:
    table = comparison(table_of_four(), ROWS)
    assert table["method"].tolist() == ["L2RW", "MentorNet [1]", "Mine", "L2RW"]
    assert table["setting"].tolist() == ["cifar10 bgflip"] * 3 + ["cifar100 bgflip"]
    assert [paper and paper.mean for paper in table["paper"]] == [86.73, 76.6, None, 59.30]
    assert table["trials"].tolist() == ["3 of 3", "1 of 4", "3 of 3", "0 of 3"]
    assert [ours.mean for ours in table["ours"]][:3] == pytest.approx([86, 79, 31])
    assert table["ours"][0].half_width == pytest.approx(interval([85, 86, 87]))
    assert table["difference"].tolist() == pytest.approx([-0.73, 2.4, NAN, NAN], nan_ok=True)
    assert table["verdict"].tolist() == [
        "off by -0.73, intervals overlap",  # 0.73 > 0.48, < 0.48 + 2.48
        "off by +2.40, intervals unknown, 2 trials missing, 1 diverged",
        "",
        "not run",
    ]


def test_a_dataset_that_stands_in_for_the_papers_is_held_against_its_numbers_under_its_own_name() -> None:
    (row,) = comparison(find([wanted(dataset="cifar10_jpeg")], []), ROWS).itertuples()
    assert row.paper.mean == 86.73
    assert row.setting == "cifar10_jpeg bgflip"


def test_a_dataset_that_the_paper_has_not_has_neither_number_nor_mark() -> None:
    (row,) = comparison(find([wanted("mentornet", dataset="digits")], []), ROWS).itertuples()
    assert (row.method, row.paper) == ("MentorNet", None)


def test_records_are_named_as_in_the_rows() -> None:
    called = [each["method"] for each in named(table_of_four(), {"l2rw": {"name": "Ours"}})]
    assert called == ["Ours"] * 3 + ["mentornet"] * 2 + ["mine"] * 3


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"\s{2,}", line.strip())]


def test_text_has_papers_number_ours_and_the_verdict_in_a_line() -> None:
    header, _, *lines = render(table_of_four(), ROWS, NOTES).splitlines()
    assert columns(header) == ["setting", "method", "paper", "ours", "trials", "difference", "verdict"]
    half = f"{interval([85, 86, 87]):.2f}"
    ours = f"86.00 ± {half}"
    assert columns(lines[0]) == ["cifar10 bgflip", "L2RW", "86.73 ± 0.48", ours, "3 of 3", "-0.73", "off by -0.73, intervals overlap"]
    assert columns(lines[1])[:4] == ["MentorNet [1]", "76.60", "79.00", "1 of 4"]  # a repeated setting is shown once; no intervals
    assert columns(lines[2]) == ["Mine", f"31.00 ± {half}", "3 of 3"]
    assert columns(lines[3]) == ["cifar100 bgflip", "L2RW", "59.30 ± 0.60", "0 of 3", "not run"]
    assert "nan" not in "\n".join(lines).lower()
    assert "[1] From its own paper." in lines


def test_markdown_is_a_table_of_pipes_with_the_notes_below() -> None:
    text = render(table_of_four(), ROWS, NOTES, "markdown")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1] for row in body[2:]] == ["L2RW", "MentorNet [1]", "Mine", "L2RW"]
    assert set(map(len, body)) == {7}
    assert "[1] From its own paper." in text[text.rindex("|") :]


def test_latex_is_a_booktabs_table_with_the_notes_in_its_caption_and_a_line_above_each_setting() -> None:
    text = render([*table_of_four(), *find([wanted("s_model")], [])], ROWS, NOTES, "latex")
    assert all(rule in text for rule in (r"\begin{tabular}", r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"MentorNet {[}1] & 76.60 &  & 79.00 &  & 1 of 4 & +2.40 &" in text
    assert r"s\_model" in text
    (caption,) = (line for line in text.splitlines() if r"\caption" in line)
    assert "{[}1] From its own paper." in caption
    assert [line for line in text.splitlines() if r"\textit" in line] == [
        rf"    \multicolumn{{8}}{{l}}{{\textit{{{setting}}}}} \\" for setting in ("cifar10 bgflip", "cifar100 bgflip", "cifar10 bgflip")
    ]


def test_csv_read_back_has_the_numbers() -> None:
    read = list(csv.DictReader(io.StringIO(render(table_of_four(), ROWS, NOTES, "csv"))))
    number = {
        name: [float(row[name] or "nan") for row in read] for name in ("paper", "paper_half_width", "ours", "ours_half_width", "difference")
    }
    half = interval([85, 86, 87])
    assert number["paper"] == pytest.approx([86.73, 76.6, NAN, 59.30], nan_ok=True)
    assert number["paper_half_width"] == pytest.approx([0.48, NAN, NAN, 0.60], nan_ok=True)
    assert number["ours"] == pytest.approx([86, 79, 31, NAN], nan_ok=True)
    assert number["ours_half_width"] == pytest.approx([half, NAN, half, NAN], nan_ok=True)
    assert number["difference"] == pytest.approx([-0.73, 2.4, NAN, NAN], nan_ok=True)
    assert [row["method"] for row in read] == ["L2RW", "MentorNet [1]", "Mine", "L2RW"]
    assert [row["setting"] for row in read] == ["cifar10 bgflip"] * 3 + ["cifar100 bgflip"]  # in every row
    assert [row["verdict"] for row in read][2:] == ["", "not run"]


@pytest.mark.parametrize("form", FORMATS)
def test_without_a_number_of_the_papers_it_is_the_ordinary_table_under_the_rows_names(form: str) -> None:
    found = find([wanted("l2rw", dataset="digits"), wanted("mine")], [*runs([0.9, 0.9], dataset="digits"), *runs([0.3], "mine")])
    text = render(found, ROWS, NOTES, form)
    assert "L2RW" in text
    assert "Mine" in text
    assert "90.00" in text or form == "csv"
    assert "verdict" not in text
    assert "[1]" not in text


WITHOUT_NUMBERS = {"l2rw": {"name": "L2RW"}, "reed": {"name": "Reed"}}
WITH_NUMBERS = {"l2rw": {"name": "L2RW", "cifar10": [86.73, 0.48]}, "reed": {"name": "Reed", "cifar10": [65.22, 1.06]}}
KINDS = pytest.mark.parametrize(
    ("rows", "form"),
    list(itertools.product([WITHOUT_NUMBERS, WITH_NUMBERS], ["text", "markdown", "latex"])),
    ids=lambda value: value if isinstance(value, str) else "ordinary" if value is WITHOUT_NUMBERS else "paper",
)


@KINDS
def test_the_caption_names_mixed_versions_of_torch(rows: dict[str, Any], form: str) -> None:
    wants = [wanted("l2rw"), wanted("reed")]
    alike = render(find(wants, [*runs([0.8, 0.9]), *runs([0.6], "reed")]), rows, [], form)
    assert "a CPU" in alike
    assert "torch" not in alike
    mixed = render(find(wants, [*runs([0.8, 0.9]), *runs([0.6], "reed", torch="2.12.1")]), rows, [], form)
    assert re.search(r"Versions differ: torch 2\.11\.0, 2\.12\.1\.", mixed)


@KINDS
def test_the_caption_names_mixed_scales(rows: dict[str, Any], form: str) -> None:
    wants = [wanted("l2rw"), wanted("reed")]
    whole = render(find(wants, [*runs([0.8, 0.9]), *runs([0.6], "reed")]), rows, [], form)
    assert "Schedules" not in whole
    short = runs([0.6], "reed", trainer__steps=100, trainer__evaluate_every=10, scale=0.1)
    assert re.search(r"Schedules at 0\.1, 1 of their steps", render(find(wants, [*runs([0.8, 0.9]), *short]), rows, [], form))
    assert re.search(r"Schedules at 0\.1 of their steps", render(find(wants, short), rows, [], form))


@KINDS
def test_the_caption_also_names_a_schedule_shortened_by_its_steps(rows: dict[str, Any], form: str) -> None:
    found = find([wanted("l2rw"), wanted("reed")], [*runs([0.8], trainer__steps=100), *runs([0.6], "reed", trainer__steps=100)])
    assert [each.scale for each in found] == [0.1, 0.1]
    assert re.search(r"reduced scale \(0\.1\)|0\.1 of their steps|steps=100", render(found, rows, [], form))


def test_missing_names_the_cells_that_lack_trials_at_full_scale() -> None:
    rows = WITH_NUMBERS | {"mine": {"name": "Mine"}, "random": {"name": "Random"}}
    wants = [wanted("l2rw"), wanted("reed"), wanted("mine"), wanted("random"), wanted("l2rw", dataset="cifar100")]
    shorter = runs([0.5] * 3, "mine", trainer__steps=100)
    found = find(wants, [*runs([0.9, 0.9, None]), *runs([0.6, 0.6], "reed"), *shorter])
    assert missing(found, rows) == ["Reed (cifar10 bgflip)", "Mine (cifar10 bgflip)", "Random (cifar10 bgflip)", "L2RW (cifar100 bgflip)"]


# --- the command


def recorded(cell: Cell, accuracy: float, seed: int = 0) -> Record:
    """The record of a trial of a composed cell."""
    return record(accuracy, seed) | {"key": cell.key, "method": cell.label, "config": cell.identity}


def fill(root: Path, found: Sequence[Cell], trials: int) -> None:
    for cell, seed in itertools.product(found, range(trials)):
        Store(root).write(recorded(cell, 0.80 + 0.01 * seed, seed))


@pytest.fixture
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes grids that were composed before."""
    monkeypatch.setattr("benchmark.grid.cells", lambda overrides: list(grid(*overrides)))


@pytest.mark.usefixtures("composed_once")
def test_a_partial_table_is_printed_with_what_is_missing_and_the_command_that_fills_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "my runs"
    l2rw, reed = (next(cell for cell in grid("experiment=table1") if cell.choice == choice) for choice in ("l2rw", "reed"))
    fill(root, [l2rw], 5)
    fill(root, [reed], 2)
    assert report.main([str(root), "experiment=table1"]) == 0
    captured = capsys.readouterr()
    lines = [columns(line) for line in captured.out.splitlines() if " of 5 " in line]
    half = f"{interval([80, 81, 82, 83, 84]):.2f}"
    ours = ["L2RW", "86.92 ± 0.19", f"82.00 ± {half}", "5 of 5", "-4.92", "off by -4.92, intervals apart"]
    assert [line for line in lines if "5 of 5" in line] == [ours]
    (partly,) = (line for line in lines if "2 of 5" in line)
    assert partly[0] == "Reed-Hard"
    assert partly[-1].endswith("3 trials missing")
    assert ["Clean Only", "9.94 ± 0.82", "0 of 5", "not run"] in lines
    assert "[1] The paper copies MentorNet's numbers" in captured.out

    lacking, command = captured.err.splitlines()
    assert lacking.startswith("19 of 20 cells lack trials: Baseline (cifar10 uniflip), Reed-Hard (cifar10 uniflip), S-Model ")
    assert lacking.endswith(" and 11 more")
    assert "L2RW (cifar10" not in lacking
    words = shlex.split(command.removeprefix("to fill them: "))
    assert words == ["python", "-m", "benchmark.run", "experiment=table1", f'results_dir="{root}"']  # quotes for Hydra, too


def test_the_printed_command_writes_where_the_report_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "my runs, Zoë (1)"
    fill(root, grid("experiment=fig3"), 1)
    assert report.main([str(root), "experiment=fig3"]) == 0
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].removeprefix("to fill them: "))
    (cell,) = cells(words[3:])
    assert (cell.config.results_dir, cell.key) == (str(root), grid("experiment=fig3")[0].key)


@pytest.mark.parametrize("read", [".", "parts", "parts/second", "parts/second/cifar10/bgflip"])
def test_following_the_printed_command_finds_the_records_that_there_are(
    read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (cell,) = grid("experiment=fig3")
    for part, seeds in (("first", [0]), ("second", [1, 2, 3])):  # most of them lie in the second
        for seed in seeds:
            Store(tmp_path / "parts" / part).write(recorded(cell, 0.8, seed))
    assert report.main([read, "experiment=fig3"]) == 0
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].removeprefix("to fill them: "))
    (again,) = cells(words[3:])
    assert again.config.results_dir == "parts/second"
    found = [seed for seed in again.seeds if trial.path(again, seed).exists()]
    assert found == [1, 2, 3]


@pytest.mark.usefixtures("composed_once")
def test_a_full_table_says_nothing_of_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig7"), 5)
    assert report.main([str(tmp_path), "experiment=fig7"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert all(f"{name} " in captured.out for name in ("Baseline", "S-Model", "L2RW"))


@pytest.mark.usefixtures("composed_once")
def test_only_the_experiments_own_records_are_in_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig7"), 2)
    fill(tmp_path, grid("experiment=fig3"), 5)
    assert report.main([str(tmp_path), "experiment=fig7", "--format", "csv"]) == 0
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted((row["method"], row["trials"]) for row in read) == [("Baseline", "2"), ("L2RW", "2"), ("S-Model", "2")]


@pytest.mark.usefixtures("composed_once")
def test_the_methods_asked_for_are_the_only_ones_in_an_experiments_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig7"), 2)
    assert report.main([str(tmp_path), "experiment=fig7", "--methods", "L2RW"]) == 0
    captured = capsys.readouterr().out
    assert "L2RW" in captured
    assert "Baseline" not in captured


@pytest.mark.usefixtures("composed_once")
@pytest.mark.parametrize("name", ["S-Model", "s_model_oracle"])
def test_a_method_of_an_experiment_goes_by_its_row_or_by_its_choice(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig7"), 2)
    assert report.main([str(tmp_path), "experiment=fig7", "--methods", name, "--format", "csv"]) == 0
    assert [row["method"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["S-Model"]


@pytest.mark.usefixtures("composed_once")
def test_a_method_that_was_not_run_yet_has_its_row_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, [cell for cell in grid("experiment=table1") if cell.choice == "l2rw"], 5)
    assert report.main([str(tmp_path), "experiment=table1", "--methods", "l2rw", "Baseline +FT", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = sorted((row["setting"], row["method"], row["trials"]) for row in rows)
    assert found == [
        (f"{dataset} uniflip", name, trials) for dataset in BACKGROUNDS for name, trials in (("Baseline +FT", "0 of 5"), ("L2RW", "5 of 5"))
    ]


@pytest.mark.usefixtures("composed_once")
@pytest.mark.parametrize(("name", "nearest"), [("baselin", "baseline"), ("L2RV", "L2RW"), ("S-Modle", "S-Model")])
def test_an_unknown_method_of_an_experiment_is_an_error_with_the_nearest_name(
    name: str, nearest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, grid("experiment=fig7"), 1)
    captured = error_of([str(tmp_path), "experiment=fig7", "--methods", name], capsys)
    assert captured.startswith(f"no method in this experiment '{name}'; nearest: {nearest} ")


def test_two_experiments_at_once_are_refused_or_each_has_its_own_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = (cell for cell in grid("experiment=table2") if cell.choice == "l2rw" and cell.identity["dataset"]["name"] == "cifar10")
    fill(tmp_path, [cell], 5)
    status = report.main([str(tmp_path), "experiment=table1,table2", "method=l2rw", "--format", "csv"])
    captured = capsys.readouterr()
    if status == 0:
        (row,) = (row for row in csv.DictReader(io.StringIO(captured.out)) if row["trials"] == "5 of 5")
        assert float(row["paper"]) == 86.73
    else:
        assert captured.err.startswith("error: ")


@pytest.mark.usefixtures("composed_once")
def test_an_experiment_draws_its_own_figure_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, grid("experiment=fig7"), 1)
    drawn: list[tuple[list[str], dict[str, Any]]] = []
    looks: list[int] = []

    def draw(records: list[Record], path: Path, **options: Any) -> None:
        drawn.append((sorted({each["method"] for each in records}), options))
        looks.append(len(options.pop("of")))

    monkeypatch.setattr("benchmark.analysis.figures.draw", draw)
    command = [str(tmp_path), "experiment=fig7", "--figure", str(tmp_path / "figure")]
    assert report.main(command) == 0
    assert report.main([*command, "--kind", "confusion", "--methods", "L2RW", "S-Model"]) == 0
    metrics = ["hyper_validation_accuracy", "train_accuracy_on_given_labels"]
    assert drawn == [
        (["Baseline", "L2RW", "S-Model"], {"kind": "training", "y": metrics}),
        (["L2RW", "S-Model"], {"kind": "confusion", "y": metrics}),
    ]
    assert looks == [3, 3]  # all records give methods their looks, whatever is shown


def error_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert report.main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err.removeprefix("error: ")


def test_a_directory_without_any_record_is_one_sentence_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of([str(tmp_path), "experiment=fig3"], capsys) == f"no records under {tmp_path}\n"


@pytest.mark.usefixtures("composed_once")
def test_no_record_of_the_experiment_is_one_sentence_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig7"), 1)
    captured = error_of([str(tmp_path), "experiment=fig3"], capsys)
    assert captured.startswith(f"{tmp_path} has no records of Figure 3; ")
    assert captured.endswith(f"python -m benchmark.run experiment=fig3 results_dir={tmp_path}\n")


def test_options_without_an_experiment_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig3"), 1)
    assert error_of([str(tmp_path), "noise.rate=0.2"], capsys).startswith("give exactly one experiment=NAME among the options")


def test_a_wrong_experiment_gives_an_error_with_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, grid("experiment=fig3"), 1)
    assert error_of([str(tmp_path), "experiment=tabel1"], capsys).startswith("no experiment 'tabel1'; nearest: table1 ")
