"""From overrides to cells: sweeps, experiments, defaults, bases, wrong names, and the identity of cells."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmark import ROOT
from benchmark.config import Cell, cells
from benchmark.overrides import written
from methods import registry
from robust_benchmark.errors import UserError


@functools.cache  # composing takes its time
def one(*overrides: str) -> Cell:
    (cell,) = cells(overrides)
    return cell


def picked(found: list[Cell], *path: str) -> list[object]:
    values: list[object] = []
    for cell in found:
        node = cell.identity
        for name in path:
            node = node[name]
        values.append(node)
    return values


# --- sweeps


def test_without_overrides_there_is_one_cell_of_the_defaults() -> None:
    cell = one()
    assert [cell.identity[part]["name"] for part in ("method", "dataset", "noise", "model", "trainer")] == [
        "l2rw",
        "digits",
        "bgflip",
        "convnet",
        "digits",
    ]
    assert list(cell.seeds) == [0, 1, 2, 3, 4]


def test_commas_sweep_groups_and_values_in_a_cartesian_product() -> None:
    found = cells(["method=l2rw,reed,baseline", "noise=bgflip,uniflip", "noise.rate=0.2,0.4"])
    grid = list(zip(picked(found, "method", "name"), picked(found, "noise", "name"), picked(found, "noise", "rate"), strict=True))
    assert grid == list(itertools.product(["l2rw", "reed", "baseline"], ["bgflip", "uniflip"], [0.2, 0.4]))
    assert len({cell.key for cell in found}) == 12


def test_a_list_is_one_value_and_no_sweep() -> None:
    assert one("noise.background=[0,1,3,5,7]").identity["noise"]["background"] == [0, 1, 3, 5, 7]


def test_a_sweep_over_lists_has_a_cell_a_list() -> None:
    assert picked(cells(["noise.background=[0,1],[2]"]), "noise", "background") == [[0, 1], [2]]


def test_a_sweep_over_the_options_of_a_base() -> None:
    found = cells(["method=finetune", "method.base=reed", "method.base.beta=0.1,0.9"])
    assert picked(found, "method", "base", "beta") == [0.1, 0.9]


def test_equal_cells_come_once() -> None:
    assert len(cells(["method=reed,reed"])) == 1
    assert len(cells(["method=baseline_ft,finetune"])) == 1  # the file writes out what the method does by default
    assert len(cells(["noise.rate=0.4,0.40,4e-1"])) == 1


@pytest.mark.parametrize("sweep", ["trials=2,3", "seed=0,1", "results_dir=a,b", "launcher=local,slurm", "device=cpu,cuda"])
def test_what_does_not_change_a_trials_numbers_cannot_be_swept(sweep: str) -> None:
    with pytest.raises(UserError, match=f"^{sweep.partition('=')[0]} is one value for the whole grid, not {sweep.partition('=')[2]}"):
        cells([sweep])


SWEEPS = {
    "groups and values": ["method=l2rw,reed", "noise=bgflip,uniflip", "noise.rate=0.2,1,0", "split.clean_per_class=5,10"],
    "typed and untyped": [
        "trainer.lr=1,0.5",
        "trainer.main.decay_at=[],[0.5]",
        "noise.background=[0,1],2,null",
        "method=reed",
        "method.soft=true,0",
    ],
    "before its group": ["noise.rate=0.1,0.2", "noise=uniflip"],
    "what others refer to": ["dataset=image_folder", "dataset.path=/a,/b", "dataset.size=8,16"],
    "scale and base": ["scale=0.5,1", "trainer.steps=10,20", "method=finetune", "method.base=reed", "method.base.beta=0.1,0.9"],
    "an experiment": ["experiment=fig2", "method=reed", "noise.ratio=0.9,0.99", "split.clean_per_class=1,2"],
    "within a given mapping": ["split={clean_per_class: 3}", "split.hyper_validation=1,2"],
}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_cells_of_a_sweep_are_those_of_its_overrides_one_by_one(sweep: str) -> None:
    for cell in cells(SWEEPS[sweep]):
        (alone,) = cells(cell.overrides)
        assert (alone.key, alone.identity, alone.label) == (cell.key, cell.identity, cell.label)
        assert asdict(alone.config) == asdict(cell.config)


@pytest.mark.parametrize("experiment", ["table1", "fig5", "fig6"])
def test_the_overrides_of_an_experiments_cell_compose_it_alone(experiment: str) -> None:
    found = cells([f"experiment={experiment}"])
    for cell in (found[0], found[-1]):
        assert [alone.key for alone in cells(cell.overrides)] == [cell.key]


def test_thousands_of_cells_are_composed_without_composing_each() -> None:
    values = ",".join(str(number / 1000) for number in range(1, 51))
    found = cells([f"noise.rate={values}", f"trainer.lr={values}"])
    assert len({cell.key for cell in found}) == 2500
    assert {(cell.identity["noise"]["rate"], cell.config.trainer.lr) for cell in found} == {
        (a / 1000, b / 1000) for a in range(1, 51) for b in range(1, 51)
    }


@pytest.mark.parametrize(
    ("override", "message"), [("noise.rte=0.1,0.2", "noise.rate"), ("trainer.steps=10,many", "many"), ("method.beta=0.1,high", "high")]
)
def test_a_mistake_in_a_sweep_is_reported_like_a_single_one(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        cells(["method=reed", override])


# --- experiments

FIG2_RATIOS = [0.9, 0.95, 0.98, 0.99, 0.995]
FIG2_METHODS = ["baseline", "proportion", "resample", "hard_mining", "random", "l2rw"]


def test_fig2_is_the_papers_grid() -> None:
    found = cells(["experiment=fig2"])
    grid = list(zip(picked(found, "noise", "ratio"), picked(found, "method", "name"), strict=True))
    assert sorted(grid) == sorted(itertools.product(FIG2_RATIOS, FIG2_METHODS))
    for cell in found:
        assert cell.identity["dataset"]["name"] == "mnist49"
        assert cell.identity["noise"]["total"] == 5000
        assert cell.identity["model"]["name"] == "lenet"
        assert cell.identity["split"]["clean_per_class"] == 5
        assert cell.identity["split"]["clean_returns"] is True
        assert cell.config.trials == 10


def test_the_users_override_beats_the_experiments_sweep() -> None:
    found = cells(["experiment=fig2", "method=reed", "noise.ratio=0.9,0.99"])
    assert picked(found, "method", "name") == ["reed", "reed"]
    assert picked(found, "noise", "ratio") == [0.9, 0.99]


def test_the_users_override_beats_the_experiments_other_options() -> None:
    found = cells(["experiment=fig2", "method=reed", "trials=2", "noise.total=3000", "trainer.steps=7", "model=convnet"])
    assert picked(found, "noise", "ratio") == FIG2_RATIOS
    assert {cell.config.trials for cell in found} == {2}
    assert set(picked(found, "noise", "total")) == {3000}
    assert set(picked(found, "trainer", "steps")) == {7}
    assert set(picked(found, "model", "name")) == {"convnet"}


def test_a_sweep_of_several_options_replaces_those_that_another_experiment_set() -> None:
    found = cells(["experiment=noise_reasons_mnist"])  # builds on noise_atlas_mnist, which sweeps 3 noises and 21 methods
    lower = [cell.choice for cell in found if cell.identity["noise"]["rate"] == 0.3]
    assert (len(found), lower) == (14, ["baseline", "meta_weight_net", "meta_weight_net_released", "mdyr"])
    found = cells(["experiment=noise_reasons_mnist", "method=reed"])
    assert picked(found, "noise", "name") == ["uniflip", "pairflip", "instance"]


def test_an_option_of_a_base_goes_with_an_experiment() -> None:
    found = cells(["experiment=fig2", "method=finetune", "method.base=reed", "method.base.beta=0.3", "noise.ratio=0.9"])
    assert picked(found, "method", "base", "beta") == [0.3]


# --- a dataset's defaults


@pytest.mark.parametrize(
    ("dataset", "model", "trainer"),
    [
        ("digits", "convnet", "digits"),
        ("mnist", "lenet", "mnist"),
        ("mnist_10k", "lenet", "mnist_fast"),
        ("mnist49", "lenet", "mnist"),
        ("fashion_mnist", "lenet", "mnist"),
        ("cifar10", "resnet32", "cifar"),
        ("cifar100", "resnet32", "cifar"),
    ],
)
def test_a_dataset_brings_its_model_and_trainer_which_may_be_overridden(dataset: str, model: str, trainer: str) -> None:
    cell, other = one(f"dataset={dataset}"), one(f"dataset={dataset}", "model=wrn28_10", "trainer=cifar_wide")
    assert (cell.identity["model"]["name"], cell.identity["trainer"]["name"]) == (model, trainer)
    assert (other.identity["model"]["name"], other.identity["trainer"]["name"]) == ("wrn28_10", "cifar_wide")
    assert other.identity["dataset"] == cell.identity["dataset"]


@pytest.mark.parametrize("order", [("model=convnet", "dataset=cifar10"), ("dataset=cifar10", "model=convnet")])
def test_the_order_of_overrides_does_not_matter(order: tuple[str, str]) -> None:
    assert one(*order).identity["model"]["name"] == "convnet"


def test_options_beside_a_dataset_beat_its_own() -> None:
    cell = one("dataset=cifar10", "split.clean_per_class=100", "split.hyper_validation=7", "trainer.steps=9")
    assert cell.config.split.clean_per_class == 100
    assert cell.config.split.hyper_validation == 7
    assert cell.config.trainer.steps == 9


def test_the_cifar_trainer_has_the_papers_schedules() -> None:
    schedules = one("dataset=cifar10").config.trainer.schedules()
    trainer = one("dataset=cifar10").config.trainer
    assert (trainer.batch_size, trainer.momentum, trainer.weight_decay, trainer.evaluate_every) == (100, 0.9, 2e-4, 1000)
    assert (schedules.main.steps, schedules.main.decay_at) == (80_000, (40_000, 60_000))
    assert [schedules.main.lr_at(step) for step in (39_000, 41_000, 61_000)] == pytest.approx([0.1, 0.01, 0.001])
    assert (schedules.early_stopping.steps, schedules.early_stopping.decay_at) == (60_000, (40_000, 50_000))
    assert (schedules.finetune.steps, schedules.finetune.lr, schedules.finetune.decay_at) == (5_000, 0.001, ())
    assert (schedules.clean_only.steps, schedules.clean_only.lr, schedules.clean_only.decay_at) == (2_000, 0.1, ())


def test_the_wide_trainer_has_the_papers_schedules() -> None:
    schedules = one("dataset=cifar10", "model=wrn28_10", "trainer=cifar_wide").config.trainer.schedules()
    assert (schedules.main.steps, schedules.main.decay_at) == (60_000, (40_000, 50_000))
    assert schedules.early_stopping == schedules.main  # the wide net has no shortened schedule
    assert (schedules.finetune.steps, schedules.finetune.lr, schedules.finetune.decay_at) == (5_000, 0.001, ())
    assert (schedules.clean_only.steps, schedules.clean_only.lr) == (2_000, 0.1)


def test_the_mnist_trainer_has_the_papers_schedule() -> None:
    schedules = one("dataset=mnist49").config.trainer.schedules()
    assert (schedules.main.steps, schedules.main.lr, schedules.main.decay_at) == (8_000, 0.001, ())


@pytest.mark.parametrize(("trainer", "steps"), [("cifar_fast", 12_000), ("mnist_fast", 4_000)])
def test_the_fast_trainers_stop_early_and_fine_tune_at_the_shares_of_the_papers_cifar_schedule(trainer: str, steps: int) -> None:
    fast, paper = (one(f"trainer={name}").config.trainer for name in (trainer, "cifar"))
    assert fast.steps == steps
    assert (fast.early_stopping, fast.finetune) == (paper.early_stopping, paper.finetune)
    assert (fast.batch_size, fast.momentum, fast.decay_factor) == (paper.batch_size, paper.momentum, paper.decay_factor)


def test_one_number_of_steps_scales_every_schedule() -> None:
    schedules = one("dataset=cifar10", "trainer.steps=800").config.trainer.schedules()
    assert (schedules.main.steps, schedules.main.decay_at) == (800, (400, 600))
    assert (schedules.early_stopping.steps, schedules.early_stopping.decay_at) == (600, (400, 500))
    assert (schedules.finetune.steps, schedules.clean_only.steps) == (50, 20)


def test_no_schedule_is_ever_empty() -> None:
    schedules = one("trainer.steps=1").config.trainer.schedules()
    assert schedules.finetune.steps == schedules.clean_only.steps == schedules.main.steps == 1


# --- methods and their bases


def test_every_registered_method_is_a_choice_with_its_defaults() -> None:
    found = cells([f"method={','.join(registry.names())}"])
    assert picked(found, "method", "name") == registry.names()
    assert one("method=reed").identity["method"] == {"name": "reed", "beta": 0.8, "soft": False}


VARIANTS = sorted(path.stem for path in (ROOT / "conf" / "method").glob("*.yaml"))
OTHER_NAMES = {"balanced_softmax": "logit_adjustment"}  # of the same loss in another paper


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_s_name_is_its_label(variant: str) -> None:
    cell = one(f"method={variant}")
    assert cell.label == OTHER_NAMES.get(variant, variant)
    assert cell.identity["method"]["name"] in registry.names()


REED_BETA = {"name": "reed", "beta": 0.3, "soft": False}


@pytest.mark.parametrize(
    "overrides",
    [
        ["method.base={name:reed,beta:0.3}"],
        ["method.base=reed", "method.base.beta=0.3"],
        ["method.base.beta=0.3", "method.base=reed"],
    ],
    ids=["mapping", "name and option", "option first"],
)
def test_a_base_is_given_by_name_mapping_or_options(overrides: list[str]) -> None:
    assert one("method=finetune", *overrides).identity["method"] == {"name": "finetune", "base": REED_BETA}


def test_a_base_by_name_has_the_options_of_its_file() -> None:
    base = one("method=finetune", "method.base=reed_soft").identity["method"]["base"]
    assert base == {"name": "reed", "beta": 0.95, "soft": True}


def test_bases_nest() -> None:
    expected = {"name": "finetune", "base": {"name": "early_stopping", "base": REED_BETA}}
    for overrides in (
        ["method.base={name:early_stopping,base:{name:reed,beta:0.3}}"],
        ["method.base=early_stopping", "method.base.base=reed", "method.base.base.beta=0.3"],
        ["method.base={name:early_stopping,base:reed}", "method.base.base.beta=0.3"],
    ):
        cell = one("method=finetune", *overrides)
        assert cell.identity["method"] == expected
        assert cell.label == "finetune:base=early_stopping:base.base=reed:base.base.beta=0.3"


def test_equal_methods_given_in_different_ways_are_one_cell() -> None:
    keys = {
        one("method=baseline_es_ft").key,
        one("method=finetune", "method.base=early_stopping").key,
        one("method=finetune", "method.base={name:early_stopping,base:baseline}").key,
        one("method=finetune", "method.base=baseline_es").key,
    }
    assert len(keys) == 1


# --- wrong names and types


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=reeed"], "no method 'reeed'; nearest: reed "),
        (["dataset=mnits"], "no dataset 'mnits'; nearest: mnist "),
        (["noise=bgflop"], "no noise 'bgflop'; nearest: bgflip "),
        (["model=lenett"], "no model 'lenett'; nearest: lenet "),
        (["trainer=cifarr"], "no trainer 'cifarr'; nearest: cifar "),
        (["experiment=fig22"], "no experiment 'fig22'; nearest: fig2 "),
        (["method=reed,l2rww"], "no method 'l2rww'; nearest: l2rw "),
        (["noise.rte=0.2"], "no option 'noise.rte'; nearest: noise.rate "),
        (["noise=imbalance", "noise.ration=0.2"], "no option 'noise.ration'; nearest: noise.ratio "),
        (["method=reed", "method.bta=1"], "no option 'method.bta'; nearest: method.beta "),
        (["dataset.preprocessing.fip=true"], "no option 'dataset.preprocessing.fip'; nearest: dataset.preprocessing.flip "),
        (["model.widht=3"], "no option 'model.widht'; nearest: model.width "),
        (["trainer.stps=3"], "no option 'trainer.stps'; nearest: trainer.steps "),
        (["trainer.main.decay=[0.5]"], "no option 'trainer.main.decay'; nearest: trainer.main.decay_at "),
        (["split.clean_per_clas=3"], "no option 'split.clean_per_clas'; nearest: split.clean_per_class "),
        (["trails=3"], "no option 'trails'; nearest: trials "),
        (["metod=reed"], "no option 'metod'; nearest: method "),
        (["+trails=3"], "no option 'trails'; nearest: trials "),
        (["experiment=fig2", "noise.rato=0.9"], "no option 'noise.rato'; nearest: noise.ratio "),
        (["method=finetune", "method.base=red"], "no method 'red'; nearest: reed "),
        (["method=finetune", "method.base={name:early_stopping,base:red}"], "no method 'red'; nearest: reed "),
        (["method=finetune", "method.base=reed", "method.base.bta=1"], "no option 'method.base.bta'; nearest: method.base.beta "),
        (["method=finetune", "method.base={name:reed,bta:1}"], "no option 'method.base.bta'; nearest: method.base.beta "),
        (["method=s_model", "method.base=reed"], "no option 'method.base'; nearest: "),
        (["trainer.decay_facto=0.5"], "no option 'trainer.decay_facto'; nearest: trainer.decay_factor "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_name_is_reported_with_the_nearest_right_one(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as error:
        cells(overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    ["trainer.steps=abc", "trainer.steps=1.5", "trainer.lr=fast", "trainer.steps=null", "trials=x", "split.stratified=perhaps", "seed=a"],
)
def test_a_value_of_another_type_is_reported_with_its_option(override: str) -> None:
    with pytest.raises(UserError, match=re.escape(override.partition("=")[0])) as error:
        cells([override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("overrides", [["method=reed", "method.beta=x"], ["method=finetune", "method.base=reed", "method.base.beta=x"]])
def test_a_methods_option_of_another_type_is_reported_with_its_name(overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"beta.*'x'") as error:
        cells(overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    ["method", "method=", "method=null", "=3", "~noise", "noise.rate=[0.1", "trials=0", "trainer.steps=0", "trainer.batch_size=-1"],
)
def test_what_makes_no_sense_is_one_sentence(override: str) -> None:
    with pytest.raises(UserError, match=r"\w{3}") as error:
        cells([override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["a/b.c", "my runs (1)", "Zoë", "it's", 'a"b', "a,b", "[x]{y}", "a=b#c", "back\\slash", "x\\", " ", "null", "3", "1e5"]
)
def test_a_written_text_is_read_as_itself(text: str) -> None:
    (cell,) = cells(["method=reed", f"data_dir={written(text)}", f"checkpoint_dir={written(text)}"])
    assert (cell.config.data_dir, cell.config.checkpoint_dir) == (text, text)


def test_a_base_without_a_name_is_reported() -> None:
    with pytest.raises(UserError, match=r"method\.base .* has no 'name'"):
        cells(["method=finetune", "method.base={beta:0.3}"])


def test_an_image_folder_without_a_path_is_reported() -> None:
    with pytest.raises(UserError, match=r"dataset\.path"):
        cells(["dataset=image_folder"])


# --- identity


@pytest.mark.parametrize(
    "override",
    [
        "data_dir=/elsewhere",
        "device=cpu",
        "trials=2",
        "seed=3",
        "results_dir=/elsewhere",
        "checkpoint_dir=/elsewhere",
        "checkpoint_seconds=1",
        "claim_seconds=1",
        "launcher=local",
        "launcher=slurm",
    ],
)
def test_what_does_not_change_a_trials_numbers_does_not_change_the_key(override: str) -> None:
    assert one("dataset=cifar10", override).key == one("dataset=cifar10").key


def test_where_pictures_are_cached_does_not_change_the_key(tmp_path: Path) -> None:
    folder = ["dataset=image_folder", f"dataset.path={tmp_path}"]
    assert one(*folder, "data_dir=/elsewhere").key == one(*folder).key


@pytest.mark.parametrize(
    "override",
    [
        "method=reed",
        "method.clean_batch_size=7",
        "method.meta_weight_decay=2e-4",
        "dataset=mnist",
        "dataset.source.test_size=400",
        "dataset.preprocessing.flip=true",
        "dataset.preprocessing.pad=1",
        "dataset.preprocessing.mean=0.4",
        "noise=uniflip",
        "noise.rate=0.3",
        "noise.background=3",
        "model=lenet",
        "model.width=8",
        "split.clean_per_class=9",
        "split.clean_total=15",
        "split.stratified=false",
        "split.hyper_validation=7",
        "split.clean_returns=true",
        "trainer.steps=7",
        "trainer.batch_size=7",
        "trainer.lr=0.2",
        "trainer.momentum=0.5",
        "trainer.weight_decay=1e-4",
        "trainer.decay_factor=0.5",
        "trainer.main.decay_at=[0.5]",
        "trainer.main.share=0.9",
        "trainer.finetune.lr=0.01",
        "trainer.early_stopping.share=0.5",
        "trainer.clean_only.share=0.5",
    ],
)
def test_every_option_that_may_change_a_trials_numbers_changes_the_key(override: str) -> None:
    assert one(override).key != one().key


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_number_of_training_images_changes_the_key_and_all_of_them_are_no_part_of_it(dataset: str) -> None:
    whole, some = one(f"dataset={dataset}"), one(f"dataset={dataset}", "dataset.source.train_size=10000")
    assert "train_size" not in whole.canonical
    assert some.identity["dataset"]["source"] == whole.identity["dataset"]["source"] | {"train_size": 10_000}


@pytest.mark.parametrize("same", ["noise.rate=0.40", "trainer.lr=1e-1", "trainer.weight_decay=0"])
def test_saying_a_default_does_not_change_the_key(same: str) -> None:
    assert one(same).key == one().key


def test_a_number_written_as_an_integer_has_the_same_key() -> None:
    assert len({cell.key for cell in cells(["noise.rate=0,0.0,0e1"])}) == 1


def test_composing_twice_gives_the_same_key() -> None:
    overrides = ["method=finetune", "method.base=reed", "noise.rate=0.25", "dataset=cifar10"]
    assert cells(overrides)[0].key == one(*overrides).key
    assert one(*overrides).canonical == one(*reversed(overrides)).canonical
