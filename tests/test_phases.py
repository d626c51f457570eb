"""Changes of a method's schedule by wrappers and special phases, with the paper's numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.config import cells
from benchmark.models.convnet import ConvNet
from benchmark.training.trainer import Settings, Trainer
from datasets.noise import NoNoise, UniformFlip
from datasets.task import Examples, Task
from methods import registry
from methods.base import Knowledge, Method, Phase
from methods.baseline import Baseline
from methods.clean_only import CleanOnly
from methods.early_stopping import EarlyStopping
from methods.finetune import FineTune
from methods.hard_mining import HardMining
from methods.l2rw import L2RW
from methods.resample import Resample
from methods.s_model import SModel
from methods.schedules import Schedule, Schedules
from methods.weighted import Weighted
from tests.conftest import toy_task

Row = tuple[str, int, dict[int, float], bool]  # name, steps, learning rate from a step on, on the clean set


@pytest.fixture(scope="module")
def narrow() -> Schedules:
    return cells(["dataset=cifar10", "trainer=cifar"])[0].config.trainer.schedules()


@pytest.fixture(scope="module")
def wide() -> Schedules:
    return cells(["dataset=cifar100", "model=wrn28_10", "trainer=cifar_wide"])[0].config.trainer.schedules()


def assert_phases(phases: list[Phase], expected: list[Row]) -> None:
    assert [(phase.name, phase.schedule.steps, phase.source == "clean") for phase in phases] == [
        (row[0], row[1], row[3]) for row in expected
    ]
    for phase, (_, steps, rates, _) in zip(phases, expected, strict=True):
        starts = [*sorted(rates), steps]
        for start, end in itertools.pairwise(starts):
            for step in (start, end - 1):
                assert phase.schedule.lr_at(step) == pytest.approx(rates[start]), (phase.name, step)


FULL = ("main", 80_000, {0: 0.1, 40_000: 0.01, 60_000: 0.001}, False)
SHORT = ("main", 60_000, {0: 0.1, 40_000: 0.01, 50_000: 0.001}, False)
FINE = ("fine-tuning", 5_000, {0: 0.001}, True)
CLEAN = ("clean only", 2_000, {0: 0.1}, True)
CONFUSION = {"init": "confusion"}


def pre(row: Row) -> Row:
    return ("pretraining", *row[1:])


METHODS = {
    "baseline": (lambda: Baseline(), [FULL], [SHORT]),
    "baseline +ES": (lambda: EarlyStopping(Baseline()), [SHORT], [SHORT]),
    "baseline +FT": (lambda: FineTune(Baseline()), [FULL, FINE], [SHORT, FINE]),
    "baseline +ES +FT": (lambda: FineTune(EarlyStopping(Baseline())), [SHORT, FINE], [SHORT, FINE]),
    "baseline +FT +ES": (lambda: EarlyStopping(FineTune(Baseline())), [SHORT, FINE], [SHORT, FINE]),
    "l2rw": (lambda: L2RW(), [FULL], [SHORT]),
    "clean only": (lambda: CleanOnly(), [CLEAN], [CLEAN]),
    "s_model": (lambda: SModel(), [FULL], [SHORT]),
    "s_model +Conf": (lambda: SModel("confusion"), [pre(FULL), FULL], [pre(SHORT), SHORT]),
    "s_model +Conf +ES": (lambda: EarlyStopping(SModel("confusion")), [pre(SHORT), SHORT], [pre(SHORT), SHORT]),
    "s_model +Conf +ES +FT": (lambda: FineTune(EarlyStopping(SModel("confusion"))), [pre(SHORT), SHORT, FINE], [pre(SHORT), SHORT, FINE]),
}


@pytest.mark.parametrize("name", METHODS)
def test_phases_have_the_paper_s_schedules_on_resnet32(name: str, narrow: Schedules) -> None:
    make, expected, _ = METHODS[name]
    assert_phases(make().phases(narrow), expected)


@pytest.mark.parametrize("name", METHODS)
def test_phases_have_the_paper_s_schedules_on_wrn28_10(name: str, wide: Schedules) -> None:
    make, _, expected = METHODS[name]
    assert_phases(make().phases(wide), expected)


@pytest.mark.parametrize("trainer", ["cifar", "cifar_wide"])
def test_cifar_trainers_use_the_paper_s_optimiser(trainer: str) -> None:
    (cell,) = cells([f"trainer={trainer}"])
    given = cell.config.trainer
    assert (given.batch_size, given.lr, given.momentum, given.weight_decay, given.evaluate_every) == (100, 0.1, 0.9, 2e-4, 1000)


def test_the_mnist_trainer_takes_the_paper_s_steps_without_decay() -> None:
    (cell,) = cells(["trainer=mnist"])
    assert_phases(Baseline().phases(cell.config.trainer.schedules()), [("main", 8_000, {0: 0.001}, False)])
    assert (cell.config.trainer.batch_size, cell.config.trainer.weight_decay) == (100, 0)


def test_scaling_steps_scales_every_schedule() -> None:
    (cell,) = cells(["trainer=cifar", "trainer.steps=800"])
    method = FineTune(EarlyStopping(SModel("confusion")))
    short = (600, {0: 0.1, 400: 0.01, 500: 0.001}, False)
    expected = [("pretraining", *short), ("main", *short), ("fine-tuning", 50, {0: 0.001}, True)]
    assert_phases(method.phases(cell.config.trainer.schedules()), expected)


def test_compositions_by_configuration_are_those_by_hand() -> None:
    overrides = ["trainer=cifar", "method=finetune", "method.base=early_stopping", "method.base.base=s_model_conf"]
    (cell,) = cells(overrides)
    method = registry.build(cell.identity["method"])
    assert_phases(method.phases(cell.config.trainer.schedules()), [pre(SHORT), SHORT, FINE])
    assert cell.label == "s_model_conf_es_ft"
    assert method.needs == Knowledge.CLEAN_SET


@pytest.mark.parametrize(("step", "lr"), [(0, 0.5), (9, 0.5), (10, 0.1), (19, 0.1), (20, 0.02), (29, 0.02)], ids=lambda value: f"{value:g}")
def test_the_update_numbered_as_a_decay_is_the_first_at_the_lower_rate(step: int, lr: float) -> None:
    assert Schedule(30, lr=0.5, decay_at=(10, 20), decay_factor=0.2).lr_at(step) == pytest.approx(lr)


NEEDS = {
    "baseline": (lambda: Baseline(), Knowledge.NONE),
    "baseline +ES": (lambda: EarlyStopping(Baseline()), Knowledge.NONE),
    "baseline +FT": (lambda: FineTune(Baseline()), Knowledge.CLEAN_SET),
    "weighted +FT": (lambda: FineTune(Weighted()), Knowledge.CLEAN_SET | Knowledge.TRANSITION_MATRIX),
    "weighted +ES": (lambda: EarlyStopping(Weighted()), Knowledge.TRANSITION_MATRIX),
    "weighted +ES +FT": (lambda: FineTune(EarlyStopping(Weighted())), Knowledge.CLEAN_SET | Knowledge.TRANSITION_MATRIX),
    "s_model": (lambda: SModel(), Knowledge.NONE),
    "s_model of the oracle +ES": (lambda: EarlyStopping(SModel("oracle")), Knowledge.TRANSITION_MATRIX),
    "clean only": (lambda: CleanOnly(), Knowledge.CLEAN_SET),
    "l2rw": (lambda: L2RW(), Knowledge.CLEAN_SET),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_wrapper_needs_what_its_base_needs_and_fine_tuning_the_clean_set(name: str) -> None:
    make, needs = NEEDS[name]
    assert make().needs == needs


def test_the_oracle_s_needs_are_those_of_that_method_alone() -> None:
    SModel("oracle")
    assert SModel.needs == SModel().needs == Knowledge.NONE


def test_wrappers_sample_as_their_base_does() -> None:
    labels = torch.tensor([0] * 30 + [1] * 70)
    generator = torch.Generator().manual_seed(0)
    main, _ = FineTune(EarlyStopping(HardMining(candidates=50))).phases(BRIEF)
    assert main.sample(labels, 10, generator).shape == (2, 50)
    (main,) = EarlyStopping(Resample()).phases(BRIEF)
    assert (labels[main.sample(labels, 10, generator)].sum(dim=1) == 5).all()


def trained(method: Method, task: Task, schedules: Schedules, **settings: float) -> Trainer:
    def make_model(classes: int, shape: torch.Size) -> nn.Module:
        return ConvNet(classes, shape, width=2)

    trainer = Trainer(method, make_model, task, Settings(schedules, batch_size=10, **settings), 0, torch.device("cpu"))
    trainer.run()
    return trainer


BRIEF = Schedules(Schedule(6), Schedule(4), Schedule(5, lr=0.01), Schedule(3))


def test_fine_tuning_bypasses_the_noise_layer() -> None:
    alone = trained(SModel(), toy_task(), BRIEF).method
    tuned = trained(FineTune(SModel()), toy_task(), BRIEF).method
    torch.testing.assert_close(tuned.base.transition_logits, alone.transition_logits, rtol=0, atol=0)
    assert not torch.equal(tuned.base.model.output.weight, alone.model.output.weight)


def test_the_fine_tuning_loss_is_the_mean_cross_entropy_of_the_bare_classifier() -> None:
    trainer = trained(FineTune(EarlyStopping(SModel())), toy_task(), BRIEF)
    phase = trainer.phases[-1]
    batch = trainer.running(phase).batches.draw()
    loss = phase.loss(batch)
    torch.testing.assert_close(loss, F.cross_entropy(trainer.method.base.base.model(batch.images), batch.labels))
    trainer.method.zero_grad()
    loss.backward()
    assert trainer.method.base.base.transition_logits.grad is None


def test_fine_tuning_carries_weights_and_momentum_over() -> None:
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).mul(15).repeat(6, 1, 1, 1)  # all alike: their order is no matter
    right, wrong = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    train, clean = Examples(images, wrong, right), Examples(images, right, right)
    task = replace(toy_task(), train=train, clean=clean, test=clean, hyper_validation=clean, classes=("a", "b"))
    schedules = Schedules(main=Schedule(3, lr=0.1), finetune=Schedule(3, lr=0.02))
    models = []

    def make_model(classes: int, _: torch.Size) -> nn.Module:
        models.append(nn.Sequential(nn.Flatten(), nn.Linear(16, classes)))
        return models[-1]

    trainer = Trainer(FineTune(Baseline()), make_model, task, Settings(schedules, 6), 0, torch.device("cpu"))
    (model,) = models
    weight, bias = (parameter.detach().clone() for parameter in model.parameters())
    trainer.run()

    x = (images.double().flatten(1) / 255 - 0.5) / 0.5
    theta = torch.cat([weight, bias[:, None]], dim=1).double()  # (2, 17)
    inputs, velocity = torch.cat([x, torch.ones(6, 1).double()], dim=1), torch.zeros_like(theta)
    for step in range(6):
        lr, labels = (0.1, wrong) if step < 3 else (0.02, right)
        p_minus_y = torch.softmax(inputs @ theta.T, dim=1) - F.one_hot(labels, 2)
        velocity = 0.9 * velocity + p_minus_y.T @ inputs / 6
        theta = theta - lr * velocity
    torch.testing.assert_close(model[1].weight.double(), theta[:, :16], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[1].bias.double(), theta[:, 16], rtol=1e-4, atol=1e-5)


def test_clean_only_learns_nothing_from_noisy_labels() -> None:
    noisy, right = (trained(CleanOnly(), toy_task(corruption), BRIEF).method.state_dict() for corruption in (UniformFlip(0.6), NoNoise()))
    torch.testing.assert_close(noisy, right, rtol=0, atol=0)


def test_early_stopping_is_the_base_on_the_short_schedule() -> None:
    stopped = trained(EarlyStopping(Baseline()), toy_task(), BRIEF)
    short = trained(Baseline(), toy_task(), Schedules(main=Schedule(4)))
    assert stopped.steps == short.steps == 4
    torch.testing.assert_close(stopped.method.base.state_dict(), short.method.state_dict(), rtol=0, atol=0)


def test_pretraining_for_the_confusion_matrix_is_the_baseline() -> None:
    conf = SModel("confusion")
    schedules = Schedules(main=Schedule(5))
    trainer = Trainer(
        conf, lambda classes, shape: ConvNet(classes, shape, width=2), toy_task(), Settings(schedules, 10), 0, torch.device("cpu")
    )
    identity = conf.transition_logits.detach().clone()
    pretraining = trainer.phases[0]
    running = trainer.running(pretraining)
    for _ in range(5):
        running.take_step(trainer.view)
    baseline = trained(Baseline(), toy_task(), schedules).method
    torch.testing.assert_close(conf.model.state_dict(), baseline.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(conf.transition_logits.detach(), identity, rtol=0, atol=0)


def test_a_phase_before_runs_once_at_its_beginning() -> None:
    heard = []

    class Telling(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            first, second = Schedule(2), Schedule(3)
            return [
                Phase("first", first, self.loss, before=lambda view: heard.append(("first", view.num_classes))),
                Phase("second", second, self.loss, before=lambda view: heard.append(("second", len(view.labels)))),
            ]

    task = toy_task()
    progress = trained(Telling(), task, BRIEF).progress
    assert heard == [("first", 3), ("second", len(task.train))]
    assert [(entry["phase"], entry["step"]) for entry in progress.history] == [("first", 2), ("second", 3)]
