"""The training loop: its arithmetic, its randomness, and that an interruption does not change the numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import trial
from benchmark.config import cells
from benchmark.models.convnet import ConvNet
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.graphs import changed, fingerprint
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.augment import Preprocessing
from datasets.noise import UniformFlip
from datasets.task import Task
from methods import registry
from methods.base import Batch, Knowledge, MakeModel, Method, Objective, Phase, UndeclaredKnowledge, View, Weighted
from methods.baseline import Baseline
from methods.early_stopping import EarlyStopping
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.random import Random
from methods.s_model import SModel
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import DieAt, StopAt, small_convnet, toy_task

CPU = torch.device("cpu")
SCHEDULES = Schedules(Schedule(12, 0.1, (8,)), Schedule(9, 0.1, (6,)), Schedule(5, 0.01), Schedule(6, 0.1))
SETTINGS = Settings(SCHEDULES, batch_size=20, optimiser=Optimiser(weight_decay=1e-3), evaluate_every=5, checkpoint_seconds=1e9)
METHODS: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "l2rw": lambda: L2RW(clean_batch_size=8),
    "random": Random,
    "s_model_conf": lambda: SModel(init="confusion"),
    "finetune": lambda: FineTune(Baseline()),
}


def dropout_net(classes: int, shape: torch.Size) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, classes))


def augmented_task(**options: object) -> Task:
    return replace(toy_task(**options), preprocessing=Preprocessing(pad=1, flip=True))  # type: ignore[arg-type]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.method.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# --- determinism and resumption


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_numbers(name: str) -> None:
    one = Trainer(METHODS[name](), dropout_net, augmented_task(), SETTINGS, 3, CPU)
    history = one.run().history
    torch.manual_seed(99)  # other draws of the process do not matter
    other = Trainer(METHODS[name](), dropout_net, augmented_task(), SETTINGS, 3, CPU)
    assert other.run().history == history
    assert_same(weights(one), weights(other))


def test_another_seed_gives_other_weights_batches_and_numbers() -> None:
    one, other = (Trainer(Baseline(), small_convnet, toy_task(), SETTINGS, seed, CPU) for seed in (0, 1))
    assert not torch.equal(one.method.model.output.weight, other.method.model.output.weight)
    assert one.run().history != other.run().history


def total_steps(method: Method) -> int:
    return sum(phase.schedule.steps for phase in method.phases(SCHEDULES))


@pytest.mark.parametrize("make_model", [small_convnet, dropout_net])
@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_trial_ends_bit_for_bit_as_an_undisturbed_one(
    name: str, make_model: Callable[[int, torch.Size], nn.Module], tmp_path: Path
) -> None:
    whole = Trainer(METHODS[name](), make_model, augmented_task(), SETTINGS, 1, CPU)
    history = whole.run().history
    steps = total_steps(METHODS[name]())
    for stop in sorted({1, 5, 7, 12, 13, steps - 1, steps} & set(range(steps + 1))):  # 12 ends the first phase, 5 is an evaluation
        checkpoints = Checkpoints(tmp_path / f"{stop}.pt", "toy")
        with pytest.raises(Interrupted):
            Trainer(METHODS[name](), make_model, augmented_task(), SETTINGS, 1, CPU, checkpoints, StopAt(stop)).run()
        torch.manual_seed(stop)  # a new process has another global random state
        resumed = Trainer(METHODS[name](), make_model, augmented_task(), SETTINGS, 1, CPU, checkpoints)
        progress = resumed.run()
        assert progress.history == history, f"interrupted at {stop}"
        assert progress.per_class == whole.progress.per_class
        assert_same(weights(resumed), weights(whole))


@pytest.mark.parametrize("name", METHODS)
def test_a_trial_interrupted_at_every_third_step_ends_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    whole = Trainer(METHODS[name](), dropout_net, augmented_task(), SETTINGS, 1, CPU)
    history = whole.run().history
    checkpoints, interruptions = Checkpoints(tmp_path / "trial.pt", "toy"), 0
    for stop in range(3, 100, 3):
        trainer = Trainer(METHODS[name](), dropout_net, augmented_task(), SETTINGS, 1, CPU, checkpoints, StopAt(stop))
        try:
            progress = trainer.run()
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == trainer.steps // 3
    assert progress.history == history
    assert_same(weights(trainer), weights(whole))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("death", [2, 9])
def test_a_killed_trial_continues_from_its_last_periodic_checkpoint(name: str, death: int, tmp_path: Path) -> None:
    whole = Trainer(METHODS[name](), dropout_net, augmented_task(), SETTINGS, 1, CPU)
    history = whole.run().history
    often, checkpoints = replace(SETTINGS, checkpoint_seconds=0), Checkpoints(tmp_path / "trial.pt", "toy")
    with pytest.raises(KeyboardInterrupt):
        Trainer(METHODS[name](), dropout_net, augmented_task(), often, 1, CPU, checkpoints, DieAt(death)).run()
    saved = checkpoints.load()
    assert saved is not None
    assert saved["progress"]["step"] == death - 1
    resumed = Trainer(METHODS[name](), dropout_net, augmented_task(), often, 1, CPU, checkpoints)
    assert resumed.run().history == history
    assert_same(weights(resumed), weights(whole))


def test_steps_of_earlier_phases_are_reported_when_a_trial_resumes(tmp_path: Path) -> None:
    checkpoints, watch = Checkpoints(tmp_path / "trial.pt", "toy"), StopAt(10**6)
    with pytest.raises(Interrupted):
        Trainer(FineTune(Baseline()), small_convnet, toy_task(), SETTINGS, 1, CPU, checkpoints, StopAt(14)).run()
    Trainer(FineTune(Baseline()), small_convnet, toy_task(), SETTINGS, 1, CPU, checkpoints, watch).run()
    assert 10**6 - watch.left == 12 + 5


@pytest.mark.parametrize("make_model", [small_convnet, dropout_net])
@pytest.mark.parametrize("name", METHODS)
def test_evaluation_does_not_change_training(name: str, make_model: Callable[[int, torch.Size], nn.Module]) -> None:
    often = Trainer(METHODS[name](), make_model, augmented_task(), replace(SETTINGS, evaluate_every=1), 2, CPU)
    last = often.run().history[-1]
    seldom = Trainer(METHODS[name](), make_model, augmented_task(), replace(SETTINGS, evaluate_every=1000), 2, CPU)
    final = seldom.run().history[-1]
    assert_same(weights(often), weights(seldom))
    means = {"train_loss": 0, "effective_batch_share": 0}  # over fewer steps
    assert last | means == final | means


# --- arithmetic


class Recorded(Baseline):
    """Baseline that records its examples."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[torch.Tensor] = []
        self.losses: list[float] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        loss = super().loss(batch)
        self.met.append(batch.index.clone())
        self.losses.append(loss.item())
        return loss


def test_the_loop_is_sgd_with_momentum_and_weight_decay_on_weights_alone() -> None:
    mu, decay, task = 0.9, 0.02, toy_task()
    trainer = Trainer(Recorded(), small_convnet, task, replace(SETTINGS, optimiser=Optimiser(momentum=mu, weight_decay=decay)), 0, CPU)
    by_hand = small_convnet(3, torch.Size((1, 8, 8)))
    by_hand.load_state_dict(trainer.method.model.state_dict())
    trainer.run()

    decayed = {"body.stage1.0.weight", "body.stage2.0.weight", "output.weight"}  # the two convolutions and the linear layer
    assert decayed < dict(by_hand.named_parameters()).keys()
    velocity = {name: torch.zeros_like(p) for name, p in by_hand.named_parameters()}
    for step, index in enumerate(trainer.method.met):
        lr = 0.1 if step < 8 else 0.01
        images = (task.train.images[index].float() / 255 - 0.5) / 0.5
        by_hand.zero_grad()
        F.cross_entropy(by_hand(images), task.train.labels[index]).backward()
        with torch.no_grad():
            for name, p in by_hand.named_parameters():
                gradient = p.grad + (decay * p if name in decayed else 0)
                velocity[name] = mu * velocity[name] + gradient
                p -= lr * velocity[name]
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(trainer.method.model.get_parameter(name), p, rtol=1e-4, atol=1e-5)
    for name, buffer in by_hand.named_buffers():
        torch.testing.assert_close(trainer.method.model.get_buffer(name), buffer, rtol=1e-4, atol=1e-5)


def test_weight_decay_does_not_touch_the_noise_layer_of_s_model() -> None:
    class Silent(SModel):
        def loss(self, batch: Batch) -> torch.Tensor:
            return 0 * super().loss(batch)

    trainer = Trainer(Silent(), dropout_net, toy_task(), replace(SETTINGS, optimiser=Optimiser(weight_decay=0.5)), 0, CPU)
    T, linear = trainer.method.transition_logits.detach().clone(), trainer.method.model[1].weight.norm().item()
    trainer.run()
    assert torch.equal(trainer.method.transition_logits, T)
    assert trainer.method.model[1].weight.norm().item() < 0.9 * linear


def test_an_epoch_meets_every_example_once_and_the_next_in_another_order() -> None:
    trainer = Trainer(Recorded(), small_convnet, toy_task(hyper_validation=25), SETTINGS, 0, CPU)  # 80 are left: 4 batches of 20
    trainer.run()
    first, second = torch.cat(trainer.method.met[:4]), torch.cat(trainer.method.met[4:8])
    assert sorted(first.tolist()) == list(range(80)) == sorted(second.tolist())
    assert not torch.equal(first, second)


def test_train_loss_is_the_mean_since_the_last_evaluation() -> None:
    trainer = Trainer(Recorded(), small_convnet, toy_task(), SETTINGS, 0, CPU)
    history, losses = trainer.run().history, trainer.method.losses
    assert [entry["step"] for entry in history] == [5, 10, 12]
    expected = [np.mean(losses[:5]), np.mean(losses[5:10]), np.mean(losses[10:])]
    assert [entry["train_loss"] for entry in history] == pytest.approx(expected, rel=1e-5)


class Slope(Method):
    """One weight whose gradient is 1, so that without momentum it falls by the learning rate at every step."""

    needs = Knowledge.CLEAN_SET

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.path: list[float] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        self.path.append(self.weight.item())
        return self.weight

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.weight * torch.ones(len(images), 3)


class ThenFineTuned(Slope):
    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("one", schedules.main, self.loss), Phase("two", schedules.finetune, self.loss, source="clean")]


def learning_rates(method: Slope, schedules: Schedules) -> list[float]:
    trainer = Trainer(method, small_convnet, toy_task(), replace(SETTINGS, schedules=schedules, optimiser=Optimiser(momentum=0.0)), 0, CPU)
    trainer.run()
    path = [*trainer.method.path, trainer.method.weight.item()]
    return [before - after for before, after in itertools.pairwise(path)]


def test_the_learning_rate_falls_at_the_decays_and_each_phase_has_its_own() -> None:
    main, finetune = Schedule(9, 0.1, (4, 7), 0.1), Schedule(3, 0.5, (2,), 0.5)
    rates = learning_rates(ThenFineTuned(), Schedules(main=main, finetune=finetune))
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 3 + [0.001] * 2 + [0.5, 0.5, 0.25])


def test_early_stopping_trains_on_its_own_schedule_and_runs_the_last_step() -> None:
    trainer = Trainer(EarlyStopping(Baseline()), small_convnet, toy_task(), SETTINGS, 0, CPU)
    assert trainer.run().history[-1]["step"] == 9
    assert [trainer.phases[0].schedule.lr_at(step) for step in (5, 6)] == pytest.approx([0.1, 0.01])


def test_momentum_accumulates_as_a_geometric_series() -> None:
    settings = replace(SETTINGS, schedules=Schedules(main=Schedule(6, 0.1)), optimiser=Optimiser(momentum=0.5))
    trainer = Trainer(Slope(), small_convnet, toy_task(), settings, 0, CPU)
    trainer.run()
    assert trainer.method.weight.item() == pytest.approx(-0.1 * sum((1 - 0.5**k) / 0.5 for k in range(1, 7)))


def test_fine_tuning_draws_from_the_clean_set_with_its_right_labels() -> None:
    class Spy(FineTune):
        met: list[Batch]

        def phases(self, schedules: Schedules) -> list[Phase]:
            self.met = []
            *base, tuning = super().phases(schedules)
            return [*base, replace(tuning, loss=self.noted)]

        def noted(self, batch: Batch) -> torch.Tensor:
            self.met.append(batch)
            return F.cross_entropy(self.predict(batch.images), batch.labels)

    task = toy_task()
    trainer = Trainer(Spy(Baseline()), small_convnet, task, SETTINGS, 0, CPU)
    trainer.run()
    assert len(trainer.method.met) == 5
    for batch in trainer.method.met:
        assert len(batch.labels) == 15  # the whole clean set, smaller than a batch
        torch.testing.assert_close(batch.images, (task.clean.images[batch.index].float() / 255 - 0.5) / 0.5)
        assert torch.equal(batch.labels, task.clean.true_labels[batch.index])


# --- common random numbers

Met = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
OWN_BATCHES = {"clean_only", "relabel", "resample"}  # start on the clean set, or draw by label
OWN_BATCHES |= {"backward", "dual_t", "forward", "t_revision", "tau_norm"}  # first hold out a tenth of the training set
OWN_OUTPUT = {"ldam"}  # replaces the model's output layer


@pytest.fixture(scope="module")
def one_trial() -> dict[str, tuple[Trainer, dict[str, torch.Tensor], Met]]:
    """Return, for every registered method in one trial: its trainer, its initial weights, and its batches in ten steps."""
    overrides = ["trainer.steps=10", "trainer.batch_size=20", "split.clean_per_class=2", "model.width=2", "device=cpu"]
    augmentation = ["dataset.preprocessing.flip=true", "dataset.preprocessing.pad=1"]
    found = {}
    for cell in cells([f"method={','.join(registry.names())}", *overrides, *augmentation]):
        trainer = trial.prepare(cell, 4)
        found[cell.identity["method"]["name"]] = trainer, initial_weights(trainer), ten_steps(trainer)
    return found


def initial_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    model = next(module for module in trainer.method.modules() if isinstance(module, ConvNet))
    return {name: value.clone() for name, value in model.state_dict().items()}


def ten_steps(trainer: Trainer) -> Met:
    met: Met = []
    phase = trainer.phases[0]

    def noting(objective: Objective) -> Objective:
        def noted(batch: Batch) -> torch.Tensor | Weighted:
            met.append((batch.index, batch.images, batch.labels))
            return objective(batch)

        return noted

    running = trainer.running(phase.mapped(noting))
    for _ in range(10):
        running.take_step(trainer.view)
    return met


def test_every_method_of_a_trial_starts_from_the_same_weights(one_trial: dict) -> None:
    reference = one_trial["baseline"][1]
    assert len(one_trial) == len(registry.names()) > 10
    for method, (_, initial, _) in one_trial.items():
        shared = {name: value for name, value in reference.items() if method not in OWN_OUTPUT or not name.startswith("output.")}
        assert_same({name: initial[name] for name in shared}, shared)


def test_every_method_of_a_trial_meets_the_same_images_and_wrong_labels(one_trial: dict) -> None:
    reference = one_trial["baseline"][0].task
    assert 0.3 < reference.train.wrong() / len(reference.train) < 0.4
    for trainer, _, _ in one_trial.values():
        for part in ("train", "clean", "hyper_validation", "test"):
            for field in ("images", "labels", "true_labels"):
                assert torch.equal(getattr(getattr(trainer.task, part), field), getattr(getattr(reference, part), field))


def test_every_method_of_a_trial_meets_the_same_augmented_batches_in_the_same_order(one_trial: dict) -> None:
    reference = one_trial["baseline"][2]
    assert len(reference) == 10
    for name in one_trial.keys() - OWN_BATCHES:
        for mine, theirs in zip(one_trial[name][2], reference, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)), name


def test_no_method_counts_on_the_host_in_a_step_so_a_graph_may_hold_it(one_trial: dict) -> None:
    for name, (trainer, _, _) in one_trial.items():
        for phase in trainer.phases:
            running = trainer.running(phase)
            running.take_step(trainer.view)
            before = fingerprint(trainer.method)
            running.take_step(trainer.view)
            assert changed(before, fingerprint(trainer.method)) is None, name


def test_what_a_method_draws_by_itself_does_not_move_the_batches(one_trial: dict) -> None:
    class Gambler(Recorded):
        def loss(self, batch: Batch) -> torch.Tensor:
            torch.rand(7)
            return super().loss(batch)

    plain, gambler = (Trainer(cls(), small_convnet, augmented_task(), SETTINGS, 0, CPU) for cls in (Recorded, Gambler))
    plain.run()
    gambler.run()
    assert all(torch.equal(a, b) for a, b in zip(plain.method.met, gambler.method.met, strict=True))
    assert_same(weights(plain), weights(gambler))


# --- divergence and refusals


class Failing(Baseline):
    """Its loss is `value` from the step `after` on."""

    def __init__(self, value: float, after: int) -> None:
        super().__init__()
        self.value, self.left = value, after

    def loss(self, batch: Batch) -> torch.Tensor:
        self.left -= 1
        return super().loss(batch) * (self.value if self.left < 0 else 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("after", [0, 6, 11])
def test_a_loss_that_is_no_longer_finite_is_recorded_as_divergence(value: float, after: int) -> None:
    progress = Trainer(FineTune(Failing(value, after)), small_convnet, toy_task(), SETTINGS, 0, CPU).run()
    assert progress.diverged
    *before, last = progress.history
    assert [entry["step"] for entry in progress.history] == [5, 10, 12][: after // 5 + 1]  # and no fine-tuning after it
    assert last["train_loss"] is None
    assert "test_accuracy" not in last
    assert all(entry["train_loss"] > 0 and 0 <= entry["test_accuracy"] <= 1 for entry in before)


def test_weights_that_are_no_longer_finite_are_divergence_for_any_loss() -> None:
    class Blind(Baseline):
        def loss(self, batch: Batch) -> torch.Tensor:
            return torch.sqrt(0 * super().loss(batch))  # the loss is 0 and its gradient 0 times infinity

    progress = Trainer(Blind(), small_convnet, toy_task(), replace(SETTINGS, evaluate_every=1), 0, CPU).run()
    assert progress.diverged
    assert [entry["train_loss"] for entry in progress.history] == [0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_no_longer_finite_are_divergence_for_any_loss_and_weights(value: float) -> None:
    class Lost(Baseline):
        def predict(self, images: torch.Tensor) -> torch.Tensor:
            return self.model(images) + value

    progress = Trainer(Lost(), small_convnet, toy_task(), SETTINGS, 0, CPU).run()
    assert progress.diverged
    (entry,) = progress.history
    assert entry["train_loss"] > 0
    assert "test_accuracy" not in entry
    assert progress.per_class == {}


def test_a_trial_that_learns_is_not_called_diverged() -> None:
    progress = Trainer(Baseline(), small_convnet, toy_task(UniformFlip(0.0)), SETTINGS, 0, CPU).run()
    assert not progress.diverged
    assert progress.history[-1]["test_accuracy"] > 0.9


@pytest.mark.parametrize("method", [L2RW(), FineTune(Baseline())], ids=["l2rw", "finetune"])
def test_a_method_that_needs_a_clean_set_rejects_an_empty_one(method: Method) -> None:
    with pytest.raises(UserError, match="needs a clean set"):
        Trainer(method, small_convnet, toy_task(clean_per_class=0), SETTINGS, 0, CPU)


def test_a_phase_on_the_clean_set_needs_the_declaration() -> None:
    class Sneak(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("sneak", schedules.main, self.loss, source="clean")]

    with pytest.raises(UndeclaredKnowledge, match="CLEAN_SET"):
        Trainer(Sneak(), small_convnet, toy_task(), SETTINGS, 0, CPU).run()


def test_a_loss_that_draws_clean_images_needs_the_declaration() -> None:
    class Sneak(Baseline):
        def loss(self, batch: Batch) -> torch.Tensor:
            return super().loss(batch.draw_clean(5))

    with pytest.raises(UndeclaredKnowledge, match="CLEAN_SET"):
        Trainer(Sneak(), small_convnet, toy_task(), SETTINGS, 0, CPU).run()
