"""MentorNet: its curricula against the problem they solve, its moving average in NumPy, and a mentor that learns and is then frozen."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from benchmark.config import cells
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.augment import Preprocessing
from datasets.noise import NoNoise, UniformFlip
from datasets.task import Examples, Split, Task, make_task
from methods import mentornet, registry
from methods.base import Batch, Clock, Knowledge, MakeModel, Method, UndeclaredKnowledge, View, Weighted, scalar
from methods.early_stopping import EarlyStopping
from methods.finetune import FineTune
from methods.mentornet import Mentor, MentorNet
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import PixelsAreLogits, StopAt, small_convnet, toy_source, toy_task

CPU = torch.device("cpu")
MAIN, AUXILIARY = 12, 6
SCHEDULES = Schedules(Schedule(MAIN, 0.1, (8,)), Schedule(9, 0.1, (6,)), Schedule(5, 0.01), Schedule(AUXILIARY, 0.1))
SETTINGS = Settings(SCHEDULES, batch_size=20, optimiser=Optimiser(weight_decay=1e-3), evaluate_every=5, checkpoint_seconds=1e9)
CURRICULA = ["predefined", "data_driven"]


@pytest.fixture
def _short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use 20 steps instead of 1,000, if the result of learning does not matter."""
    monkeypatch.setattr(mentornet, "LESSONS", 20)


def trainer_of(method: Method, task: Task | None = None, seed: int = 0, **options: Any) -> Trainer:
    return Trainer(method, small_convnet, task or toy_task(), replace(SETTINGS, **options), seed, CPU)


def on_logits(method: MentorNet, classes: int = 3) -> MentorNet:
    """The method at the beginning of its main phase, its model a PixelsAreLogits."""
    images, labels = torch.zeros(30, 1, 1, classes, dtype=torch.uint8), torch.arange(30) % classes
    task = replace(toy_task(), train=Examples(images, labels, labels))
    Trainer(method, lambda *_: PixelsAreLogits(), task, Settings(Schedules()), 0, CPU)
    return method


def a_batch(n: int, seed: int = 0, classes: int = 3, steps: int = 100) -> Batch:
    """Random logits and labels, at the step `seed` of a phase of so many."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(2 * rng.standard_normal((n, 1, 1, classes)), dtype=torch.float32, requires_grad=True)
    return Batch(logits, torch.from_numpy(rng.integers(0, classes, n)), torch.arange(n), clock=Clock(steps, torch.tensor(seed)))


def cross_entropies(batch: Batch) -> np.ndarray:
    logits, labels = batch.images.detach().double().numpy().reshape(len(batch.labels), -1), batch.labels.numpy()
    return scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def weights_seen(loss: torch.Tensor | Weighted, batch: Batch) -> np.ndarray:
    """The w_i of a loss sum_i w_i CE_i, read off its gradient: w_i (p_i - y_i) in the logits of example i."""
    (gradient,) = torch.autograd.grad(scalar(loss), batch.images)
    logits, labels, rows = batch.images.detach().double().flatten(1).numpy(), batch.labels.numpy(), np.arange(len(batch.labels))
    return gradient.double().flatten(1).numpy()[rows, labels] / (scipy.special.softmax(logits, axis=1)[rows, labels] - 1)


def plain(**options: Any) -> MentorNet:
    """Without dropout, so that its weights are the curriculum's."""
    return MentorNet(**{"dropout": 0.0, "early_dropout": 0.0, **options})


# --- the predefined curriculum

LOSSES = torch.tensor([0.0, 0.2, 0.69, 1.0, 1.1, 1.37, 2.0, 2.99, 3.7, 8.0])


@pytest.mark.parametrize("lambda_1", [0.0, 0.8, 2.5])
@pytest.mark.parametrize("lambda_2", [0.3, 1.0, 4.0])
def test_predefined_weights_minimise_the_objective_of_the_paper(lambda_1: float, lambda_2: float) -> None:
    found = MentorNet(lambda_2=lambda_2).curriculum_weights(LOSSES, LOSSES - lambda_1, torch.tensor(50.0))

    def objective(v: float, loss: float) -> float:
        return v * (loss - lambda_1) + lambda_2 * (v**2 / 2 - v)

    def best(loss: float) -> float:
        return minimize_scalar(objective, bounds=(0, 1), args=(loss,), method="bounded", options={"xatol": 1e-9}).x

    np.testing.assert_allclose(found.numpy(), [best(loss) for loss in LOSSES.tolist()], atol=1e-5)


@pytest.mark.parametrize("lambda_1", [0.8, 2.5])
def test_a_curriculum_of_no_width_selects_what_minimises_the_linear_objective(lambda_1: float) -> None:
    found = MentorNet(lambda_2=0.0).curriculum_weights(LOSSES, LOSSES - lambda_1, torch.tensor(50.0))
    assert found.tolist() == [min((0.0, 1.0), key=lambda v: v * (loss - lambda_1)) for loss in LOSSES.tolist()]
    assert 0 < found.sum() < len(LOSSES)


@pytest.mark.parametrize("lambda_2", [0.0, 1.5])
@pytest.mark.parametrize(("percentile", "decay"), [(0.75, 0.5), (0.4, 0.9), (0.6, 0.0)])
def test_the_threshold_is_the_moving_average_of_the_batches_percentile(percentile: float, decay: float, lambda_2: float) -> None:
    steps, average, weighed = 8, 0.0, []
    method = on_logits(plain(percentile=percentile, decay=decay, lambda_2=lambda_2))
    for step in range(steps):
        batch = a_batch(17, seed=step, steps=steps)
        losses = cross_entropies(batch)
        average = decay * average + (1 - decay) * np.percentile(losses, 100 * percentile)
        v = np.clip(1 - (losses - average) / lambda_2, 0, 1) if lambda_2 else (losses <= average)
        loss = method.loss(batch)
        assert method.average.item() == pytest.approx(average, rel=1e-5)
        assert loss.loss.item() == pytest.approx((v * losses).mean(), rel=1e-4)
        np.testing.assert_allclose(loss.example_weights.numpy(), v / 17, atol=1e-6)
        np.testing.assert_allclose(weights_seen(loss, batch), v / 17, atol=1e-6)  # no gradient through v or lambda_1
        weighed.append(v.mean())
    assert 0 < max(weighed) < 1
    assert not method.average.requires_grad  # and no graph that grows with every step


def test_the_threshold_starts_from_zero_in_another_trial() -> None:
    method = MentorNet()
    trainer_of(method).run()
    assert method.average.item() > 0
    trainer_of(method)
    assert method.average.item() == 0


# --- dropout and burn-in


def kept(method: MentorNet, n: int, step: int, steps: int) -> np.ndarray:
    """Which examples of a batch have a gradient in a step of so many."""
    batch = a_batch(n, step, steps=steps)
    return weights_seen(method.loss(batch), batch) > 1e-9


@pytest.mark.parametrize("steps", [6, 100, 300])
def test_half_is_left_out_in_the_first_17_percent_and_a_twentieth_after(steps: int) -> None:
    method = on_logits(MentorNet(burn_in=1.0))  # all v are 1
    counts = [int(kept(method, 20, step, steps).sum()) for step in range(steps)]
    assert counts == [10 if Fraction(step, steps) < Fraction(17, 100) else 19 for step in range(steps)]


@pytest.mark.parametrize(("early", "late"), [(0.0, 1.0), (0.3, 0.0), (1.0, 0.1)])
def test_dropout_takes_its_options(early: float, late: float) -> None:
    method = on_logits(MentorNet(burn_in=1.0, dropout=late, early_dropout=early))
    assert [int(kept(method, 50, step, 10).sum()) for step in range(10)] == [round(50 * (1 - early))] * 2 + [round(50 * (1 - late))] * 8


def test_what_is_left_out_is_drawn_again_and_any_example_as_often_as_another() -> None:
    draws, n = 400, 20
    method = on_logits(MentorNet(burn_in=1.0, early_dropout=0.3))
    masks = np.array([kept(method, n, step, 100 * draws) for step in range(draws)])
    assert len(np.unique(masks, axis=0)) > draws / 2
    assert scipy.stats.chisquare((~masks).sum(axis=0)).pvalue > 0.001


def test_dropout_keeps_the_weights_it_leaves_and_does_not_hide_from_the_reported_ones() -> None:
    method, batch = on_logits(MentorNet(decay=0.2)), a_batch(40)
    loss = method.loss(batch)
    w = weights_seen(loss, batch)
    losses = cross_entropies(batch)
    v = np.clip(1 - (losses - 0.8 * np.percentile(losses, 75)), 0, 1)
    np.testing.assert_allclose(loss.example_weights.numpy(), v / 40, atol=1e-6)
    np.testing.assert_allclose(w[w > 1e-9], (v / 40)[w > 1e-9], atol=1e-6)
    assert (w[v > 0] <= 1e-9).any()


class Diary(MentorNet):
    """Keeps n w_i of every step of the main phase."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.weights: list[torch.Tensor] = []

    def loss(self, batch: Batch) -> Weighted:
        loss = super().loss(batch)
        if len(self.weights) < MAIN:  # later ones are of the histograms
            self.weights.append(loss.example_weights * len(batch.labels))
        return loss


@pytest.mark.usefixtures("_short_lessons")
@pytest.mark.parametrize("curriculum", CURRICULA)
@pytest.mark.parametrize(("burn_in", "steps"), [(0.0, 0), (0.25, 3), (0.3, 4), (1.0, 12)])
def test_all_weights_are_one_in_the_burn_in_and_not_after(curriculum: str, burn_in: float, steps: int) -> None:
    method = Diary(curriculum, burn_in=burn_in, percentile=0.3, lambda_2=0.1)
    trainer_of(method).run()
    assert len(method.weights) == MAIN
    for step, weights in enumerate(method.weights):
        assert bool((weights == 1).all()) == (step < steps), step


def test_the_threshold_moves_during_the_burn_in() -> None:
    method, batch = on_logits(MentorNet(burn_in=1.0, decay=0.5)), a_batch(20)
    method.loss(batch)
    assert method.average.item() == pytest.approx(np.percentile(cross_entropies(batch), 75) / 2, rel=1e-5)


# --- the data-driven curriculum


def large_task(clean_per_class: int = 300) -> Task:
    return make_task(toy_source(1400), UniformFlip(0.4), Split(clean_per_class=clean_per_class), Preprocessing(), 0)


def flipped(noise_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The true and the flipped labels of 900 clean images."""
    trainer = trainer_of(MentorNet("data_driven", noise_rate=noise_rate), large_task())
    return trainer.task.clean.true_labels.numpy(), trainer.method.flipped_labels.numpy()


@pytest.mark.parametrize("noise_rate", [0.1, 0.4, 0.8])
def test_about_noise_rate_of_the_clean_labels_are_flipped(noise_rate: float) -> None:
    true_labels, labels = flipped(noise_rate)
    assert scipy.stats.binomtest(int((labels != true_labels).sum()), len(labels), noise_rate).pvalue > 0.001


def test_every_flipped_label_is_another_class_and_each_other_class_as_likely() -> None:
    true_labels, labels = flipped(1.0)
    assert not (labels == true_labels).any()
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (true_labels, labels), 1)
    off_diagonal = pairs[~np.eye(3, dtype=bool)]
    assert off_diagonal.sum() == 900
    assert scipy.stats.chisquare(off_diagonal).pvalue > 0.001


def test_no_label_is_flipped_at_a_rate_of_zero_and_the_clean_set_itself_stays_right() -> None:
    true_labels, labels = flipped(0.0)
    np.testing.assert_array_equal(labels, true_labels)
    trainer = trainer_of(MentorNet("data_driven", noise_rate=1.0), large_task())
    assert trainer.task.clean.wrong() == 0


def test_only_the_data_driven_curriculum_needs_the_clean_set() -> None:
    assert MentorNet("predefined").needs == Knowledge.NONE
    assert MentorNet("data_driven").needs == Knowledge.CLEAN_SET
    without = toy_task(clean_per_class=0)
    assert trainer_of(MentorNet("predefined"), without).run().history[-1]["step"] == MAIN
    with pytest.raises(UserError, match="MentorNet needs a clean set"):
        trainer_of(MentorNet("data_driven"), without)


def test_the_data_driven_curriculum_takes_clean_images_only_as_declared() -> None:
    method = MentorNet("data_driven")
    method.needs = Knowledge.NONE
    with pytest.raises(UndeclaredKnowledge, match="CLEAN_SET"):
        trainer_of(method)


def phases_of(method: Method) -> list[tuple[str, int, bool]]:
    return [(phase.name, phase.schedule.steps, phase.source == "clean") for phase in trainer_of(method).phases]


def test_the_data_driven_curriculum_trains_an_auxiliary_model_on_the_clean_set_first() -> None:
    assert phases_of(MentorNet("predefined")) == [("main", MAIN, False)]
    assert phases_of(MentorNet("data_driven")) == [("auxiliary", AUXILIARY, True), ("main", MAIN, False)]


@pytest.mark.usefixtures("_short_lessons")
def test_wrapped_it_has_the_phases_of_the_wrapper() -> None:
    tuned, stopped = MentorNet("data_driven"), MentorNet("predefined")
    assert phases_of(FineTune(tuned)) == [("auxiliary", AUXILIARY, True), ("main", MAIN, False), ("fine-tuning", 5, True)]
    assert phases_of(EarlyStopping(stopped)) == [("main", 9, False)]
    history = trainer_of(FineTune(tuned)).run().history
    assert [(entry["phase"], entry["step"]) for entry in history] == [
        ("auxiliary", 5),
        ("auxiliary", 6),
        ("main", 5),
        ("main", 10),
        ("main", 12),
        ("fine-tuning", 5),
    ]
    assert ["weights_auroc" in entry for entry in history] == [False, False, True, True, True, False]


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[bool]:
    """Whether each entry is the same bits; unseen lessons are NaN."""
    assert one.keys() == other.keys()
    return [torch.allclose(value, other[name], rtol=0, atol=0, equal_nan=True) for name, value in one.items()]


class Watched(MentorNet):
    """Copies its parts before and after the mentor is trained, and the training data."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.at_setup = self._parts()
        self.auxiliary_losses: list[np.ndarray] = []

    def _parts(self) -> dict[str, dict[str, torch.Tensor]]:
        return {name: copied(getattr(self, name)) for name in ("model", "auxiliary", "mentor")}

    def _auxiliary_loss(self, batch: Batch) -> torch.Tensor:
        logits, labels = self.auxiliary(batch.images).detach().double().numpy(), self.flipped_labels[batch.index].numpy()
        losses = np.full(len(self.flipped_labels), np.nan)
        losses[batch.index.numpy()] = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
        self.auxiliary_losses.append(losses)
        return super()._auxiliary_loss(batch)

    def _begin(self, view: View) -> None:
        self.before = self._parts()
        super()._begin(view)
        self.average_after = self.average.item()
        self.after = self._parts()


@pytest.fixture
def watched(_short_lessons: None) -> Watched:
    method = Watched("data_driven", burn_in=0.2)
    trainer_of(method, optimiser=Optimiser(weight_decay=0.5)).run()
    return method


def test_the_mentor_is_fixed_in_the_main_phase(watched: Watched) -> None:
    assert all(same(copied(watched.mentor), watched.after["mentor"]))
    assert not any(p.requires_grad for p in watched.mentor.parameters())


def test_the_mentor_is_taught_between_the_phases_and_not_before(watched: Watched) -> None:
    assert all(same(watched.before["mentor"], watched.at_setup["mentor"]))
    changed = {name for name, value in watched.after["mentor"].items() if not torch.equal(value, watched.before["mentor"][name])}
    trained = {name for name, _ in watched.mentor.named_parameters()}  # its clock is none of them
    assert changed == {name for name in trained if "weight_hh" not in name}  # a sequence of one step has no recurrence


def test_each_phase_trains_its_own_model(watched: Watched) -> None:
    assert all(same(watched.before["model"], watched.at_setup["model"]))
    assert not any(same(watched.before["auxiliary"], watched.at_setup["auxiliary"]))
    assert all(same(copied(watched.auxiliary), watched.after["auxiliary"]))
    assert not any(same(copied(watched.model), watched.after["model"]))


def test_the_main_phase_begins_with_the_threshold_at_zero(watched: Watched) -> None:
    assert watched.average_after == 0


def test_lessons_are_the_auxiliary_losses_and_their_excess_by_percent_of_the_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[np.ndarray, ...]] = []
    monkeypatch.setattr(Mentor, "learn", lambda _, *lessons: taught.append(tuple(part.double().numpy() for part in lessons)))
    method = Watched("data_driven", percentile=0.6, decay=0.7)
    trainer = trainer_of(method, large_task(clean_per_class=10))  # 30 clean images, of which a step draws 20
    trainer.run()
    average, expected = 0.0, []
    right = (method.flipped_labels == trainer.task.clean.true_labels).numpy()
    for step, losses in enumerate(method.auxiliary_losses):
        drawn = np.isfinite(losses)
        assert drawn.sum() == 20
        average = 0.7 * average + 0.3 * np.percentile(losses[drawn], 60)
        expected += [(losses[i], losses[i] - average, 100 * step // AUXILIARY, right[i]) for i in np.flatnonzero(drawn)]
    ((features, percents, labels),) = taught
    found = np.column_stack([features, percents, labels])
    assert found.shape == (20 * AUXILIARY, 4)
    order = np.lexsort([found[:, 0], found[:, 2]])
    np.testing.assert_allclose(found[order], sorted(expected, key=lambda row: (row[2], row[0])), rtol=1e-4, atol=1e-5)
    assert 0 < right.sum() < 30


def test_the_data_driven_clock_stands_still_after_the_burn_in() -> None:
    losses, percents = torch.tensor([0.1, 1.0, 3.0]), torch.tensor([5.0, 18.0, 40.0, 100.0])
    still, running = (trainer_of(MentorNet("data_driven", burn_in=burn_in)).method for burn_in in (0.18, 1.0))
    early, end, *later = (still.curriculum_weights(losses, losses - 0.5, percent) for percent in percents)
    assert not torch.equal(early, end)
    assert all(torch.equal(weights, end) for weights in later)
    moving = [running.curriculum_weights(losses, losses - 0.5, percent) for percent in percents]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(moving))


def lesson(n: int, seed: int, wrong_are_hard: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, percents and whether right, of labels whose losses are gamma distributed around 0.4 and 3."""
    rng = np.random.default_rng(seed)
    right = rng.random(n) < 0.6
    losses = np.where(right == wrong_are_hard, rng.gamma(4, 0.1, n), rng.gamma(30, 0.1, n))
    features = np.stack([losses, losses - rng.normal(1.2, 0.1, n)], axis=1)
    return torch.from_numpy(features).float(), torch.from_numpy(rng.integers(0, 100, n)), torch.from_numpy(right).float()


@pytest.mark.parametrize("wrong_are_hard", [True, False])
def test_a_taught_mentor_distinguishes_right_from_wrong_on_examples_it_has_not_seen(wrong_are_hard: bool) -> None:
    torch.manual_seed(0)
    mentor = Mentor()
    mentor.learn(*lesson(2000, 1, wrong_are_hard))
    features, percents, right = lesson(1000, 2, wrong_are_hard)
    with torch.no_grad():
        v = mentor(features, percents).sigmoid()
    assert v.shape == (1000,)
    assert ((v > 0.5) == right.bool()).float().mean() > 0.9
    assert not any(p.requires_grad for p in mentor.parameters())


def test_a_taught_mentor_may_change_its_mind_with_the_percent_of_training() -> None:
    torch.manual_seed(0)
    mentor = Mentor()

    def turned(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features, percents, right = lesson(2000, seed, wrong_are_hard=True)
        percents = torch.where(percents < 50, 10, 90)
        return features, percents, torch.where(percents == 10, right, 1 - right)

    mentor.learn(*turned(1))
    features, percents, right = turned(2)
    with torch.no_grad():
        assert ((mentor(features, percents) > 0) == right.bool()).float().mean() > 0.9


@pytest.mark.parametrize(("curriculum", "options"), [("predefined", {"percentile": 0.5}), ("data_driven", {"burn_in": 0.5})])
def test_it_finds_the_wrong_labels_of_a_task_that_can_be_learnt(curriculum: str, options: dict[str, Any]) -> None:
    schedules = Schedules(main=Schedule(200, 0.05), clean_only=Schedule(100, 0.05))
    trainer = trainer_of(MentorNet(curriculum, **options), large_task(clean_per_class=50), schedules=schedules, evaluate_every=50)
    found = trainer.run().history[-1]
    assert (found["phase"], found["step"]) == ("main", 200)
    assert found["weights_auroc"] > 0.9


# --- trials


def shaken_task() -> Task:
    return replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True))


OPTIONS: dict[str, dict[str, Any]] = {"predefined": {}, "data_driven": {"burn_in": 0.18}}


@pytest.mark.usefixtures("_short_lessons")
@pytest.mark.parametrize("curriculum", CURRICULA)
def test_an_interrupted_trial_ends_bit_for_bit_as_an_undisturbed_one(curriculum: str, tmp_path: Path) -> None:
    def trainer(*watched: Any) -> Trainer:
        return Trainer(MentorNet(curriculum, **OPTIONS[curriculum]), small_convnet, shaken_task(), SETTINGS, 1, CPU, *watched)

    whole = trainer()
    history = whole.run().history
    assert "weights_auroc" in history[-1]
    auxiliary = AUXILIARY if curriculum == "data_driven" else 0
    stops = {1, auxiliary - 1, auxiliary, auxiliary + 1, auxiliary + 5, auxiliary + MAIN - 1, auxiliary + MAIN}
    for stop in sorted(stop for stop in stops if stop > 0):
        checkpoints = Checkpoints(tmp_path / f"{stop}.pt", "toy")
        with pytest.raises(Interrupted):
            trainer(checkpoints, StopAt(stop)).run()
        torch.manual_seed(stop)  # a new process has another global random state
        resumed = trainer(checkpoints)
        assert resumed.run().history == history, f"interrupted at {stop}"
        assert resumed.progress.per_class == whole.progress.per_class
        assert resumed.progress.weight_histograms == whole.progress.weight_histograms, f"interrupted at {stop}"
        assert all(same(copied(resumed.method), copied(whole.method))), f"interrupted at {stop}"


@pytest.mark.usefixtures("_short_lessons")
@pytest.mark.parametrize("curriculum", CURRICULA)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(curriculum: str) -> None:
    one = trainer_of(MentorNet(curriculum, **OPTIONS[curriculum]), shaken_task(), seed=3)
    history = one.run().history
    torch.manual_seed(99)  # other draws of the process do not matter
    again = trainer_of(MentorNet(curriculum, **OPTIONS[curriculum]), shaken_task(), seed=3)
    assert again.run().history == history
    assert all(same(copied(again.method), copied(one.method)))
    assert trainer_of(MentorNet(curriculum, **OPTIONS[curriculum]), shaken_task(), seed=4).run().history != history


# --- configuration


def test_the_registry_builds_it_by_name_with_its_options() -> None:
    options = {"percentile": 0.6, "decay": 0.9, "lambda_2": 0.5, "burn_in": 0.2, "dropout": 0.1, "early_dropout": 0.3, "noise_rate": 0.2}
    method = registry.build({"name": "mentornet", "curriculum": "data_driven", **options})
    assert type(method) is MentorNet
    assert method.curriculum == "data_driven"
    assert {name: getattr(method, name) for name in options} == options


def test_its_defaults_are_the_predefined_curriculum_with_the_released_code_s_numbers() -> None:
    (cell,) = cells(["method=mentornet"])
    published = {"curriculum": "predefined", "percentile": 0.75, "decay": 0.5, "dropout": 0.05, "early_dropout": 0.5}
    assert {name: cell.identity["method"][name] for name in published} == published


def test_the_data_driven_variant_burns_in_for_18_percent() -> None:
    (cell,) = cells(["method=mentornet_dd"])
    method = registry.build(cell.identity["method"])
    assert type(method) is MentorNet
    assert (method.curriculum, method.burn_in, method.needs) == ("data_driven", 0.18, Knowledge.CLEAN_SET)


def test_it_trains_where_no_label_is_wrong() -> None:
    history = trainer_of(MentorNet(), toy_task(NoNoise())).run().history
    assert history[-1]["test_accuracy"] > 0.5
    assert "weights_auroc" not in history[-1]
