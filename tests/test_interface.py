"""The requests of a phase to the trainer, each tested by a small method, also across interruptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.augment import Preprocessing
from datasets.task import Examples, Task
from methods.base import Batch, Clock, Knowledge, MakeModel, Method, Phase, Update, View, Weighted
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.repeat import repeatable
from methods.sampling import uniform
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import StopAt, small_convnet, toy_task

CPU = torch.device("cpu")
STEPS = 13
SETTINGS = Settings(Schedules(Schedule(STEPS, 0.1, (8,)), finetune=Schedule(4, 0.01)), batch_size=20, evaluate_every=5)


def augmented(**changes: Any) -> Task:
    return replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True), **changes)


def trainer_of(method: Method, task: Task | None = None, **options: Any) -> Trainer:
    return Trainer(method, small_convnet, task or augmented(), SETTINGS, 3, CPU, **options)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.method.state_dict().items()}


# --- views


class Viewing(Baseline):
    """Reads several views of each image, and stores them."""

    def __init__(self, *views: str) -> None:
        super().__init__()
        self.views, self.met = views, []

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, views=self.views)]

    def loss(self, batch: Batch) -> torch.Tensor:
        self.met.append((batch.index, batch.views))
        assert batch.images is batch.views[0]
        return super().loss(batch)


def test_the_first_view_is_that_of_every_method_for_any_other_views() -> None:
    one, three = Viewing("weak"), Viewing("weak", "weak", "strong")
    for method in (one, three):
        trainer_of(method).run()
    for (index, (images,)), (index_too, views) in zip(one.met, three.met, strict=True):
        assert torch.equal(index, index_too)
        assert torch.equal(images, views[0])
        assert len({*map(hash, map(bytes, (view.numpy().tobytes() for view in views)))}) == 3  # they differ


def test_a_view_of_no_strength_is_the_stored_image() -> None:
    method, task = Viewing("none"), augmented()
    trainer_of(method, task).run()
    for index, (images,) in method.met:
        torch.testing.assert_close(images, task.preprocessing.normalise(task.train.images[index]), rtol=0, atol=0)


@pytest.mark.parametrize("views", [("weak", "weak"), ("none", "weak"), ("weak", "strong", "weak")])
def test_two_views_that_would_be_the_same_are_refused_in_a_sentence(views: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"^Viewing needs different views .* give dataset\.preprocessing\.pad or dataset\.preprocessing"):
        trainer_of(Viewing(*views), toy_task())
    trainer_of(Viewing("weak", "strong"), toy_task())


@pytest.mark.parametrize(("part", "value"), [("views", ("wild",)), ("source", "test")])
def test_a_phase_rejects_another_strength_or_source(part: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"'{'wild' if part == 'views' else 'test'}'"):
        Phase("main", Schedule(), Baseline().loss, **{part: value})


# --- sampling that depends on state, and the hook of an epoch


class Shrinking(Baseline):
    """Draws fewer batches in each epoch, of examples that its state points to; the state changes with every epoch and step."""

    first: torch.Tensor
    epochs: torch.Tensor

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("first", torch.zeros((), dtype=torch.int64))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.hooks: list[tuple[float, int]] = []
        self.met: list[list[int]] = []

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, sample=self._sample, every_epoch=self._every_epoch)]

    def _every_epoch(self, view: View, clock: Clock) -> None:
        self.hooks.append((clock.epoch.item(), int(clock.step)))
        self.epochs += 1
        assert sum(len(batch.labels) for batch in view.batches()) == len(view.labels)

    def _sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        rows = 6 - int(self.epochs)
        order = torch.randperm(len(labels), generator=generator)
        return (int(self.first) + order[: rows * 7].view(rows, 7)) % len(labels)

    def loss(self, batch: Batch) -> torch.Tensor:
        self.met.append(batch.index.tolist())
        self.first += 1
        return super().loss(batch)


def test_an_epoch_has_the_rows_that_its_sample_gives_after_the_hook() -> None:
    method = Shrinking()
    trainer_of(method).run()
    assert method.hooks == [(0, 0), (1, 5), (2, 9), (3, 12)]  # of 5, 4, 3 and 2 rows
    assert [len(positions) for positions in method.met] == [7] * STEPS


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_sampling_that_depends_on_state_resumes_with_the_rows_that_were_drawn(stop: int, tmp_path: Path) -> None:
    whole = Shrinking()
    undisturbed = trainer_of(whole)
    undisturbed.run()
    checkpoints = Checkpoints(tmp_path / "trial.pt", "toy")
    with pytest.raises(Interrupted):
        trainer_of(Shrinking(), checkpoints=checkpoints, watch=StopAt(stop)).run()
    method = Shrinking()
    resumed = trainer_of(method, checkpoints=checkpoints)
    assert resumed.run().history == undisturbed.progress.history
    assert method.met == whole.met[stop:]
    torch.testing.assert_close(state(resumed), state(undisturbed), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.zeros(3), r"int64 positions \(rows, width\), not torch.float32 \(3,\)"),
        (torch.zeros(0, 4, dtype=torch.int64), r"not torch.int64 \(0, 4\)"),
        (torch.zeros(2, 0, dtype=torch.int64), r"not torch.int64 \(2, 0\)"),
    ],
)
def test_a_sample_that_is_no_epoch_is_refused(rows: torch.Tensor, message: str) -> None:
    class Wrong(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, self.loss, sample=lambda *_: rows)]

    with pytest.raises(UserError, match=message):
        trainer_of(Wrong()).run()


def test_rows_of_another_width_are_refused() -> None:
    class Widening(Shrinking):
        def _sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
            return uniform(labels, 20 + int(self.epochs), generator)

    with pytest.raises(UserError, match="rows of 22 positions after rows of 21: the width must stay"):
        trainer_of(Widening()).run()


# --- the clock


def test_the_clock_reports_step_epoch_share_and_learning_rate_of_each_phase() -> None:
    class Telling(Baseline):
        def loss(self, batch: Batch) -> torch.Tensor:
            clock = batch.clock
            self.noted.append((clock.step.item(), clock.epoch.item(), clock.share.item(), clock.lr.item(), clock.steps, batch.source))
            return super().loss(batch)

    class Both(FineTune):
        def _clean_loss(self, batch: Batch) -> torch.Tensor:
            return self.base.loss(batch)

    method = Telling()
    method.noted = []
    trainer = trainer_of(Both(method))
    trainer.run()
    rows = len(trainer.task.train) // 20
    main = [(s, s // rows + s % rows / rows, s / STEPS, 0.1 if s < 8 else 0.01, STEPS, "train") for s in range(STEPS)]
    tuning = [(s, float(s), s / 4, 0.01, 4, "clean") for s in range(4)]  # the clean set is one batch
    assert [noted[-1] for noted in method.noted] == ["train"] * STEPS + ["clean"] * 4
    for noted, expected in zip(method.noted, main + tuning, strict=True):
        assert noted[:5] == pytest.approx(expected[:5], abs=1e-6)


# --- updates


class Scaled(Method):
    """A scale s learns (s - 3)^2 by its own optimiser, before a loss that it multiplies; the loss uses the updated scale."""

    def __init__(self, optimiser: Optimiser | None) -> None:
        super().__init__()
        self.optimiser = optimiser

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.scale = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.before: list[float] = []
        self.after: list[float] = []

    def phases(self, schedules: Schedules) -> list[Phase]:
        updates = Update(self._scale_loss, ("scale",), self.optimiser), Update(self.loss)
        return [Phase("main", schedules.main, updates), Phase("again", schedules.finetune, updates)]

    def _scale_loss(self, batch: Batch) -> torch.Tensor:
        self.before.append(self.scale.item())
        batch.shared["labels"] = batch.labels
        return (self.scale - 3) ** 2

    def loss(self, batch: Batch) -> torch.Tensor:
        self.after.append(self.scale.item())
        assert batch.shared["labels"] is batch.labels
        return self.scale.float() * F.cross_entropy(self.model(batch.images), batch.labels)


def adam_path(steps: int, lr: float) -> list[float]:
    scale = nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimiser = torch.optim.Adam([scale], lr)
    return descended(scale, optimiser, [lr] * steps)


def sgd_path(lrs: list[float], start: float = 0.0) -> list[float]:
    scale = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    return descended(scale, torch.optim.SGD([scale], 1.0, momentum=0.9), lrs)


def descended(scale: nn.Parameter, optimiser: torch.optim.Optimizer, lrs: list[float]) -> list[float]:
    path = []
    for lr in lrs:
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        ((scale - 3) ** 2).backward()
        optimiser.step()
        path.append(scale.item())
    return path


def test_an_update_with_parts_has_its_own_optimiser_and_comes_before_the_next_one() -> None:
    method = Scaled(Optimiser("adam", lr=0.05))
    trainer_of(method).run()
    expected = adam_path(STEPS, 0.05)
    assert method.after[:STEPS] == pytest.approx(expected, rel=1e-6)  # though the second loss depends on the scale too
    assert method.before[: STEPS + 1] == [0.0, *method.after[:STEPS]]


def test_an_own_optimiser_is_by_default_of_the_trial_s_kind_and_begins_with_the_phase() -> None:
    method = Scaled(None)
    trainer_of(method).run()
    main = sgd_path([0.1] * 8 + [0.01] * (STEPS - 8))
    assert method.after[:STEPS] == pytest.approx(main, rel=1e-6)
    assert method.after[STEPS:] == pytest.approx(sgd_path([0.01] * 4, start=main[-1]), rel=1e-6)


@pytest.mark.parametrize("stop", [1, 7, STEPS, STEPS + 2])
@pytest.mark.parametrize("optimiser", [Optimiser("adam", lr=0.05), None], ids=["adam", "the trial's"])
def test_optimisers_of_updates_resume(optimiser: Optimiser | None, stop: int, tmp_path: Path) -> None:
    undisturbed = trainer_of(Scaled(optimiser))
    undisturbed.run()
    checkpoints = Checkpoints(tmp_path / "trial.pt", "toy")
    with pytest.raises(Interrupted):
        trainer_of(Scaled(optimiser), checkpoints=checkpoints, watch=StopAt(stop)).run()
    resumed = trainer_of(Scaled(optimiser), checkpoints=checkpoints)
    assert resumed.run().history == undisturbed.progress.history
    torch.testing.assert_close(state(resumed), state(undisturbed), rtol=0, atol=0)


def test_parts_that_are_none_are_refused() -> None:
    class Misspelt(Scaled):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, (Update(self._scale_loss, ("scales",)),))]

    with pytest.raises(UserError, match="no part with parameters in Misspelt 'scales'; nearest: scale"):
        trainer_of(Misspelt(None)).run()


def test_an_optimiser_without_parts_is_refused() -> None:
    with pytest.raises(UserError, match="must name its parts"):
        Update(Baseline().loss, optimiser=Optimiser("adam"))


def test_a_frozen_parameter_among_the_parts_stays_as_it_is() -> None:
    class Frozen(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            self.model.output.bias.requires_grad_(False)
            return [Phase("main", schedules.main, (Update(self.loss, ("model.output",)),))]

    trainer = trainer_of(Frozen())
    before = state(trainer)
    trainer.run()
    assert torch.equal(state(trainer)["model.output.bias"], before["model.output.bias"])
    assert not torch.equal(state(trainer)["model.output.weight"], before["model.output.weight"])


def test_two_updates_of_the_trial_s_optimiser_are_two_steps_of_it() -> None:
    class Twice(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, (Update(self.loss), Update(self.loss)))]

    trainer = trainer_of(Twice(), toy_task())
    by_hand = small_convnet(3, torch.Size((1, 8, 8)))
    by_hand.load_state_dict(trainer.method.model.state_dict())
    optimiser = torch.optim.SGD(by_hand.parameters(), 0.1, momentum=0.9)
    running = trainer.running(trainer.phases[0])
    for _ in range(3):
        running.take_step(trainer.view)
        index = running.batches.index
        for _ in range(2):
            optimiser.zero_grad()
            images = trainer.task.preprocessing.normalise(trainer.task.train.images[index])
            F.cross_entropy(by_hand(images), trainer.task.train.labels[index]).backward()
            optimiser.step()
    torch.testing.assert_close(dict(trainer.method.model.named_parameters()), dict(by_hand.named_parameters()), rtol=1e-4, atol=1e-5)


# --- examples that join, models with other outputs, late stages alone


class Oversampling(Baseline):
    """Adds examples before training, like SMOTE; weights them all."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[int] = []

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, before=self._add), Phase("plain", schedules.finetune, self.loss)]

    def _add(self, view: View) -> Examples:
        first, second = view.images[:30].float(), view.images[30:60].float()
        blended = (first + torch.rand(30, 1, 1, 1) * (second - first)).to(torch.uint8)
        return Examples(blended, view.labels[:30], view.labels[:30])

    def loss(self, batch: Batch) -> Weighted:
        self.met.extend(batch.index.tolist())
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        return Weighted(losses.mean(), torch.full_like(losses, 1 / len(losses)))


def test_examples_that_join_are_trained_on_in_their_phase_alone() -> None:
    method, task = Oversampling(), augmented()
    trainer = trainer_of(method, task)
    trainer.run()
    n, seen = len(task.train), method.met
    assert max(seen[: STEPS * 20]) >= n + 20
    assert max(seen[STEPS * 20 : (STEPS + 4) * 20]) < n
    assert trainer.example_weights.shape == (n,)
    assert trainer.progress.weights_precision


@pytest.mark.parametrize("stop", [1, 6, STEPS, STEPS + 1])
def test_examples_that_join_come_back_after_an_interruption(stop: int, tmp_path: Path) -> None:
    undisturbed = trainer_of(Oversampling())
    undisturbed.run()
    checkpoints = Checkpoints(tmp_path / "trial.pt", "toy")
    with pytest.raises(Interrupted):
        trainer_of(Oversampling(), checkpoints=checkpoints, watch=StopAt(stop)).run()
    resumed = trainer_of(Oversampling(), checkpoints=checkpoints)
    assert resumed.run().history == undisturbed.progress.history
    torch.testing.assert_close(state(resumed), state(undisturbed), rtol=0, atol=0)


def test_a_model_may_have_other_outputs_than_classes_and_the_first_one_is_shared() -> None:
    class Extra(Baseline):
        def setup(self, make_model: MakeModel, view: View) -> None:
            super().setup(make_model, view)
            self.wide = make_model(outputs=view.num_classes + 1)

    method, plain = Extra(), Baseline()
    for each in (method, plain):
        trainer_of(each)
    assert method.wide(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    torch.testing.assert_close(method.model.state_dict(), plain.model.state_dict(), rtol=0, atol=0)


def test_a_late_stage_of_a_model_trains_alone_by_its_name() -> None:
    class Late(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("late", schedules.main, (Update(self.loss, ("model.output",)),))]

    trainer = trainer_of(Late())
    before = state(trainer)
    trainer.run()
    moved = {name for name, _ in trainer.method.named_parameters() if not torch.equal(state(trainer)[name], before[name])}
    assert moved == {"model.output.weight", "model.output.bias"}
    assert list(trainer.method.model.stages())[-1] == "output"


# --- a loss at other parameters


class Everything(L2RW):
    """Weights by clean images, draws random numbers, has per-example state and changes running averages."""

    memory: torch.Tensor

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(lambda outputs=None: nn.Sequential(small_convnet(16, torch.Size((1, 8, 8))), nn.Dropout(0.5), nn.Linear(16, 3)), view)
        self.register_buffer("memory", torch.zeros(len(view.labels)))

    def loss(self, batch: Batch) -> Weighted:
        loss, weights = super().loss(batch)
        self.memory[batch.index] += 1 + loss.detach()
        return Weighted(loss * (1 + torch.rand(())) + self.memory[batch.index].mean(), weights)


def a_step(method: Method) -> tuple[Trainer, Batch]:
    """A trainer after a step, and the batch of that step with one clean minibatch for all draws."""
    trainer = trainer_of(method)
    running = trainer.running(trainer.phases[0])
    running.take_step(trainer.view)
    clean = trainer.trial.clean.draw(8)
    return trainer, running.batches.batch(lambda _: clean)


def test_a_second_evaluation_meets_what_the_first_one_met_and_state_moves_once() -> None:
    trainer, batch = a_step(Everything(clean_batch_size=8))
    method = trainer.method
    before = state(trainer)
    random = torch.get_rng_state()
    value, again = repeatable(method, method.loss, batch)
    after, random_after = state(trainer), torch.get_rng_state()
    assert not torch.equal(after["memory"], before["memory"])

    same = again(dict(method.named_parameters()))
    torch.testing.assert_close(same, value, rtol=0, atol=0)
    torch.testing.assert_close(state(trainer), after, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_after)

    moved = {name: parameter + 0.1 for name, parameter in method.named_parameters()}
    found = again(moved)
    gradients = torch.autograd.grad(found.loss, list(method.parameters()))
    method.load_state_dict(before | {name: value.detach() for name, value in moved.items()})
    torch.set_rng_state(random)
    expected = method.loss(batch)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.loss, list(method.parameters())))


def test_a_second_evaluation_draws_no_new_clean_images() -> None:
    class Counting(L2RW):
        drawn = 0

        def loss(self, batch: Batch) -> Weighted:
            first, second = batch.draw_clean(4), batch.draw_clean(4)
            assert not torch.equal(first.index, second.index)
            self.met.append((first.index, second.index))
            return super().loss(batch)

    method = Counting(clean_batch_size=8)
    method.met = []
    trainer = trainer_of(method)
    batch = trainer.running(trainer.phases[0]).batches.draw(trainer.trial.clean.draw)
    _, again = repeatable(method, method.loss, batch)
    again(dict(method.named_parameters()))
    (first, second) = method.met
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert Knowledge.CLEAN_SET in method.needs


# --- invalid results of a method

LABELS3 = torch.zeros(3, dtype=torch.int64)


class Giving(Baseline):
    """Its loss is the function of the plain loss."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def loss(self, batch: Batch) -> Any:
        return self.change(super().loss(batch))


WRONG_LOSSES: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "none": (lambda loss: None, "not None"),
    "a number": (lambda loss: 1.5, "not float"),
    "a vector": (lambda loss: loss.expand(4), r"not a tensor of shape \(4,\)"),
    "a plain pair": (lambda loss: (loss, loss), "not tuple"),
    "a constant": (lambda loss: loss.detach(), "differentiable by a parameter"),
    "weights of another shape": (lambda loss: Weighted(loss, torch.ones(3)), r"each of the 20 examples, not \(3,\)"),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_a_loss_that_is_none_is_refused_in_a_sentence(name: str) -> None:
    change, sentence = WRONG_LOSSES[name]
    with pytest.raises(UserError, match=rf"^the loss of phase 'main' of Giving must be .*{sentence}"):
        trainer_of(Giving(change)).run()


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("views", (), "must be a tuple such as"),
        ("views", "weak", "must be a tuple such as"),
        ("loss", (), "a tuple of Update"),
        ("loss", [Update(Baseline().loss)], "a tuple of Update"),
        ("loss", (Baseline().loss,), "a tuple of Update"),
        ("loss", (Update(Baseline().loss, "model"),), "must be a tuple of names, not 'model'"),
    ],
)
def test_a_phase_rejects_invalid_parts(part: str, value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Phase(**{"name": "main", "schedule": Schedule(), "loss": Baseline().loss, part: value})


@pytest.mark.parametrize("phases", [[], None, [Phase("main", Schedule(0), Baseline().loss)]], ids=["none", "no list", "no step"])
def test_a_method_without_a_step_is_refused(phases: Any) -> None:
    class Idle(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return phases

    with pytest.raises(UserError, match=r"Idle\.phases must give a list of phases with at least one step in all"):
        trainer_of(Idle())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (Examples(torch.zeros(3, 1, 8, 8), LABELS3, LABELS3), r"must be torch.uint8 \(n, 1, 8, 8\) .*, not torch.float32 \(3, 1, 8, 8\)"),
        (Examples(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), LABELS3, LABELS3), r"not torch.uint8 \(3, 1, 4, 4\)"),
        (Examples(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), LABELS3, LABELS3), r"int64 \(5,\), as many as the images"),
        (Examples(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), LABELS3.float(), LABELS3), r"not torch.float32 \(3,\)"),
    ],
)
def test_examples_that_do_not_fit_the_source_are_refused(more: Examples, sentence: str) -> None:
    class Joining(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, self.loss, before=lambda view: more)]

    with pytest.raises(UserError, match=sentence):
        trainer_of(Joining()).run()


@pytest.mark.parametrize(("options", "sentence"), [({"kind": "sdg"}, "nearest: sgd"), ({"lr": -1.0}, "lr of an optimiser")])
def test_an_optimiser_rejects_another_kind_and_a_negative_rate(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Optimiser(**options)


def test_a_model_of_no_outputs_is_refused() -> None:
    class Mute(Baseline):
        def setup(self, make_model: MakeModel, view: View) -> None:
            self.model = make_model(outputs=0)

    with pytest.raises(UserError, match="outputs of a model"):
        trainer_of(Mute())
