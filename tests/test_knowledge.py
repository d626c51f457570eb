"""Fairness by construction: a method cannot access information that `needs` does not declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmark.models.convnet import ConvNet
from benchmark.training.trainer import Settings, Trainer
from datasets.noise import BackgroundFlip, UniformFlip
from datasets.task import Task
from methods.base import Batch, Clock, Knowledge, MakeModel, Method, Phase, UndeclaredKnowledge, View
from methods.baseline import Baseline
from methods.clean_only import CleanOnly
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.s_model import SModel
from methods.sam import SAM
from methods.schedules import Schedule, Schedules
from methods.weighted import Weighted
from robust_benchmark.errors import UserError
from tests.conftest import toy_task


class Asking(Baseline):
    """Asks its View for one thing when it is set up."""

    def __init__(self, what: str, needs: Knowledge) -> None:
        super().__init__()
        self.what, self.needs = what, needs

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.answer = getattr(view, self.what)


class Drawing(Baseline):
    """Asks for clean images in the middle of training."""

    def __init__(self, needs: Knowledge) -> None:
        super().__init__()
        self.needs, self.sizes = needs, []

    def loss(self, batch: Batch) -> torch.Tensor:
        self.sizes.append(len(batch.draw_clean(4).labels))
        return super().loss(batch)


class TrainingOnClean(Baseline):
    """Has a phase on the clean set."""

    def __init__(self, needs: Knowledge) -> None:
        super().__init__()
        self.needs = needs

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("secret", schedules.main, self.loss, source="clean")]


def trainer_of(method: Baseline, task: Task | None = None) -> Trainer:
    settings = Settings(Schedules(*[Schedule(2)] * 4), batch_size=10)
    return Trainer(method, lambda classes, shape: ConvNet(classes, shape, width=2), task or toy_task(), settings, 0, torch.device("cpu"))


GUARDED: dict[str, tuple[Knowledge, Callable[[Task], Any]]] = {
    "noise_rate": (Knowledge.NOISE_RATE, lambda task: task.train.wrong() / len(task.train)),
    "transition_matrix": (Knowledge.TRANSITION_MATRIX, lambda task: task.transition_matrix),
    "class_priors": (Knowledge.TRANSITION_MATRIX, lambda task: torch.bincount(task.train.true_labels).double() / len(task.train)),
    "true_labels": (Knowledge.TRUE_LABELS, lambda task: task.train.true_labels),
    "clean_set": (Knowledge.CLEAN_SET, lambda task: task.clean.labels),
}
EVERYTHING = Knowledge.CLEAN_SET | Knowledge.NOISE_RATE | Knowledge.TRANSITION_MATRIX | Knowledge.TRUE_LABELS


@pytest.mark.parametrize("what", GUARDED)
def test_asking_for_what_is_not_declared_names_the_missing_declaration(what: str) -> None:
    knowledge, _ = GUARDED[what]
    words = what.replace("_", " ")
    for needs in (Knowledge.NONE, EVERYTHING & ~knowledge):
        with pytest.raises(UndeclaredKnowledge, match=rf"^the {words} w(as|ere) asked for without Knowledge\.{knowledge.name} in `needs`$"):
            trainer_of(Asking(what, needs))


@pytest.mark.parametrize("what", GUARDED)
def test_what_is_declared_is_reported(what: str) -> None:
    knowledge, truth = GUARDED[what]
    task, method = toy_task(UniformFlip(0.3)), Asking(what, knowledge)
    trainer_of(method, task)
    answer = method.answer.labels if what == "clean_set" else method.answer
    torch.testing.assert_close(answer, truth(task), rtol=0, atol=0)


def test_the_noise_rate_is_the_share_of_labels_that_are_wrong() -> None:
    task, method = toy_task(BackgroundFlip(0.4)), Asking("noise_rate", Knowledge.NOISE_RATE)
    trainer_of(method, task)
    assert 0 < method.answer < 0.35  # of three classes, one is the background
    assert method.answer == float((task.train.labels != task.train.true_labels).double().mean())


def test_drawing_clean_images_undeclared_names_the_missing_declaration() -> None:
    with pytest.raises(UndeclaredKnowledge, match=r"^the clean set was asked for without Knowledge\.CLEAN_SET in `needs`$"):
        trainer_of(Drawing(EVERYTHING & ~Knowledge.CLEAN_SET)).run()


def test_declared_clean_images_are_drawn() -> None:
    method = Drawing(Knowledge.CLEAN_SET)
    trainer_of(method).run()
    assert method.sizes == [4, 4]


def test_a_phase_on_the_clean_set_undeclared_names_the_phase_and_the_declaration() -> None:
    with pytest.raises(UndeclaredKnowledge, match=r"phase 'secret' .* without Knowledge\.CLEAN_SET in `needs`$"):
        trainer_of(TrainingOnClean(Knowledge.NONE)).run()


def test_a_declared_phase_on_the_clean_set_draws_from_it() -> None:
    task = toy_task()
    trainer = trainer_of(TrainingOnClean(Knowledge.CLEAN_SET), task)
    batch = trainer.running(trainer.phases[0]).batches.draw()
    torch.testing.assert_close(batch.images, task.preprocessing.normalise(task.clean.images[batch.index]))
    torch.testing.assert_close(batch.labels, task.clean.labels[batch.index])
    trainer.run()


@pytest.mark.parametrize(
    "method", [L2RW(), CleanOnly(), Weighted(), SModel("oracle"), FineTune(Baseline())], ids=lambda m: type(m).__name__
)
def test_built_in_methods_declare_what_they_use(method: Baseline) -> None:
    progress = trainer_of(method).run()
    assert progress.history[-1]["test_accuracy"] >= 0


def test_a_method_sees_noisy_labels() -> None:
    task = toy_task(UniformFlip(0.5))
    method = Asking("labels", Knowledge.NONE)
    trainer_of(method, task)
    assert torch.equal(method.answer, task.train.labels)
    assert not torch.equal(method.answer, task.train.true_labels)


def test_a_batch_holds_nothing_but_views_noisy_labels_positions_and_the_time() -> None:
    task = toy_task(UniformFlip(0.5))
    trainer = trainer_of(Baseline(), task)
    batch = trainer.running(trainer.phases[0]).batches.draw()
    assert {name for name in vars(batch) if not name.startswith("_")} == {"images", "other_views", "labels", "source", "clock", "shared"}
    torch.testing.assert_close(batch.labels, task.train.labels[batch.index])


def test_the_view_s_training_set_is_the_noisy_one_in_order() -> None:
    task = toy_task(UniformFlip(0.5))
    method = Asking("batches", Knowledge.NONE)
    trainer_of(method, task)
    labels = torch.cat([batch.labels for batch in method.answer()])
    assert torch.equal(labels, task.train.labels)


def test_a_view_has_no_way_to_the_test_set() -> None:
    public = {name for name in dir(View) if not name.startswith("_")} | {"batches", "labels", "needs", "num_classes"}
    hidden = {"class_priors", "clean_set", "noise_rate", "transition_matrix", "true_labels"}
    assert public == {"batches", "images", "labels", "needs", "num_classes"} | hidden


def test_undeclared_knowledge_is_the_user_s_error() -> None:
    assert issubclass(UndeclaredKnowledge, UserError)


@pytest.mark.parametrize("method", [L2RW(), CleanOnly(), FineTune(Baseline())], ids=lambda m: type(m).__name__)
def test_a_method_that_needs_a_clean_set_says_so_where_there_is_none(method: Baseline) -> None:
    with pytest.raises(UserError, match=rf"{type(method).__name__} needs a clean set.*split\.clean_per_class"):
        trainer_of(method, toy_task(clean_per_class=0))


def test_knowledge_is_recorded_by_name() -> None:
    assert (Knowledge.TRANSITION_MATRIX | Knowledge.CLEAN_SET).names() == ["clean_set", "transition_matrix"]
    assert Knowledge.NONE.names() == []


# --- declarations of a wrapper do not apply to its base


class Peeking(Baseline):
    """Asks for clean images at one place."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def phases(self, schedules: Schedules) -> list[Phase]:
        hooks = {"before": self._before, "every_epoch": self._every_epoch}
        hook = {self.place: hooks[self.place]} if self.place in hooks else {}
        return [Phase("main", schedules.main, self.loss, source="clean" if self.place == "source" else "train", **hook)]

    def _before(self, view: View) -> None:
        view.clean_set  # noqa: B018

    def _every_epoch(self, view: View, clock: Clock) -> None:
        view.clean_set  # noqa: B018

    def loss(self, batch: Batch) -> torch.Tensor:
        if self.place == "loss":
            batch.draw_clean(4)
        return super().loss(batch)


@pytest.mark.parametrize("place", ["before", "every_epoch", "loss", "source"])
@pytest.mark.parametrize("wrap", [FineTune, lambda base: SAM(FineTune(base)), lambda base: FineTune(SAM(base))])
def test_a_wrapped_method_sees_no_more_than_it_declares_itself(wrap: Callable[[Method], Method], place: str) -> None:
    with pytest.raises(UndeclaredKnowledge, match=r"clean set.* without Knowledge\.CLEAN_SET in `needs`$"):
        trainer_of(wrap(Peeking(place))).run()


def test_a_wrapped_method_sees_what_it_declares() -> None:
    base = Drawing(Knowledge.CLEAN_SET)
    trainer_of(FineTune(base)).run()
    assert base.sizes == [4, 4]
