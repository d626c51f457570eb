"""The rules for every method, one check each."""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmark import trial
from benchmark.checks.observed import Course, Subject, digests
from benchmark.checks.poison import Poison, undeclared
from benchmark.checks.small import SEED, Kind
from benchmark.checks.waits import innermost
from benchmark.config import cells
from benchmark.names import expand, label
from benchmark.records.store import canonical
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluation import check_logits
from benchmark.training.graphs import changed, fingerprint, unsaved
from benchmark.training.lanes import take_turns
from benchmark.training.threads import CPU
from benchmark.training.trainer import Trainer
from methods import registry
from methods.base import Knowledge, Method
from robust_benchmark.errors import UserError


class Broken(Exception):
    """A broken rule; the message describes the error and the correction."""


@dataclass(frozen=True)
class Finding:
    """The result of a check: 'ok', 'failed' with a sentence, or '-' if the failure of an earlier check leaves nothing to check."""

    state: str
    sentence: str = ""


def configuration(subject: Subject) -> None:
    """A configuration builds the method, and its label composes the same one again."""
    cell = subject.cell
    part = cell.identity["method"]
    given = json.loads(canonical(part))
    registry.build(given)
    if given != part:
        raise Broken("__init__ changes one of its arguments: copy lists and dicts before changing them")
    overrides = [override for override in cell.overrides if override.partition("=")[0].partition(".")[0] != "method"]
    expanded = expand(label(part))
    if {*overrides, *expanded} == {*cell.overrides}:
        return  # the same label composed the cell
    (again,) = cells([*overrides, *expanded])
    if (again.key, again.label) != (cell.key, cell.label):
        raise Broken(f"method={cell.label} composes a different configuration than this label: use plain values for options")


def trains(subject: Subject) -> None:
    """The method trains to its end with finite numbers, in phases that do not depend on the data, and predicts logits."""
    trainer = subject.trainer(subject.kind)
    trial.check_steps(subject.cell, trainer)
    if registry.build(subject.cell.identity["method"]).needs != trainer.method.needs:
        raise Broken("`needs` changes after __init__: declare it in the class or in __init__")
    check_logits(_logits(trainer), len(trainer.task.test), len(trainer.task.classes))
    progress = subject.course.trainer.progress
    if progress.diverged:
        raise Broken(f"training diverges by step {progress.history[-1]['step']}: keep loss, parameters and predictions finite")


@torch.no_grad()
def _logits(trainer: Trainer) -> torch.Tensor:
    trainer.method.eval()
    return trainer.method.predict(_test_images(trainer))


def seed(subject: Subject) -> None:
    """The same seed gives the same numbers, independent of other random draws in the process."""
    difference = subject.course.difference(subject.observed())
    if difference is not None:
        raise Broken(
            f"two trainings with the same seed differ in {difference}: draw only from torch's default generator, "
            "and keep no state between trials"
        )


def knowledge(subject: Subject) -> None:
    """Information that `needs` does not declare has no influence."""
    needs = subject.course.trainer.method.needs
    hidden = [*undeclared(needs)]
    if _difference(subject, needs, [poison for _, _, poison in hidden]) is None:
        return
    for name, declaration, poison in hidden:
        difference = _difference(subject, needs, [poison])
        if difference is not None:
            way = f"declare Knowledge.{declaration.name} in `needs`, or use only the View" if declaration else "no method may see it"
            raise Broken(f"training depends on {name}, which `needs` does not declare ({difference}): {way}")
    raise Broken("training depends on what `needs` does not declare: use only the View")


def _difference(subject: Subject, needs: Knowledge, poisons: list[Poison]) -> str | None:
    """Describe the difference between steps on a task with changed hidden content; its metrics may differ."""
    task = subject.kind.task
    for poison in poisons:
        task = poison(task, needs)
    other = subject.observed(replace(subject.kind, task=task))
    return subject.course.step_difference(other)


@dataclass(frozen=True, order=True)
class Stop:
    """A point where a training stops after a step, or dies in its evaluation before the step is saved."""

    step: int
    stopped: bool
    place: str

    @property
    def kept(self) -> int:
        """The last step in the checkpoint."""
        return self.step if self.stopped else self.step - 1


def resume(subject: Subject) -> None:
    """A training that is repeatedly stopped or killed ends like an uninterrupted one."""
    whole, last = subject.course, Stop(0, True, "the start")
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = Checkpoints(Path(directory) / "trial.pt", "check")
        for stop in stops(whole):
            leg = subject.leg(checkpoints, stop=stop.step) if stop.stopped else subject.leg(checkpoints, die=stop.step)
            _compare(whole, leg, last)
            last = stop
        _compare(whole, subject.leg(checkpoints), last)


def stops(course: Course) -> list[Stop]:
    """Return stops after the first step, in and at the end of the first epoch, in the first evaluation, and at the end of each phase."""
    first_end = next(end for end in course.phase_ends if end)  # a phase may have no steps
    within = [step for step in range(2, first_end) if step not in course.epoch_ends][1:2]
    evaluation = min(course.trainer.settings.evaluate_every, first_end)
    return sorted(
        [
            Stop(1, True, "the first step"),
            *(Stop(step, True, f"step {step}, within an epoch") for step in within),
            *(Stop(step, True, f"step {step}, which ends an epoch") for step in course.epoch_ends[:1] if step not in course.phase_ends),
            *(Stop(step, True, f"step {step}, which ends a phase") for step in course.phase_ends if step > 1),
            Stop(evaluation, False, f"a kill in the evaluation of step {evaluation}"),
        ]
    )


def _compare(whole: Course, leg: Course, last: Stop) -> None:
    if leg.marks and min(leg.marks) != last.kept + 1:
        raise Broken(f"the checkpoint after {last.place} cannot be read back: use only tensors and numbers as state")
    difference = whole.difference(leg)
    if difference is not None:
        raise Broken(
            f"resumed after {last.place}, training differs in {difference}: "
            "keep state in buffers (register_buffer) that are changed in place, not in other attributes"
        )


def lanes(subject: Subject) -> None:
    """Side by side with another trial in one process, the method trains as it does alone."""
    courses: list[Course] = []

    def turns(number: int) -> Iterator[None]:
        course = Course()
        courses.append(course)
        course.watch(subject.trainer(subject.kind, number, watch=course))
        yield from course.trainer.turns()

    take_turns([turns(SEED), turns(SEED + 1)], 2, CPU)
    difference = subject.course.difference(courses[0])
    if difference is not None:
        raise Broken(
            f"side by side with another trial, training differs in {difference}: keep state in the instance, not in the class or the module"
        )


def data(subject: Subject) -> None:
    """The method stays finite on every kind of data that it accepts."""
    lost: list[str] = []
    for name, kind in subject.kinds.items():
        if name not in subject.refusals and kind is not subject.kind:  # which `trains` has checked
            lost += _lost(subject, name, kind)
    if lost:
        raise Broken(f"{'; '.join(lost)}: keep it finite, or raise UserError in `setup`")


def _lost(subject: Subject, name: str, kind: Kind) -> list[str]:
    """Describe the failure of training on that kind of data, if any."""
    try:
        progress = subject.observed(kind).trainer.progress
    except (Exception, SystemExit) as error:  # a method may raise anything
        return [f"training on {name} ends with {_words(error)}"]
    return [f"training on {name} diverges by step {progress.history[-1]['step']}"] if progress.diverged else []


@torch.no_grad()
def predictions(subject: Subject) -> None:
    """The same images give the same logits in evaluation mode, and predicting changes nothing."""
    trainer = subject.course.trainer
    method, images = trainer.method, _test_images(trainer)
    kept = images.clone()
    method.eval()
    before = _state(method)
    first = method.predict(images)
    name = changed(before, _state(method))
    second = method.predict(kept.clone())
    method.train()
    if name is not None or not torch.equal(images, kept):
        raise Broken(f"`predict` changes {name or 'the images'}: compute logits and change nothing else")
    if not torch.equal(first, second):
        raise Broken("`predict` gives different logits for the same images: use no randomness in evaluation mode (self.training is False)")


def _test_images(trainer: Trainer) -> torch.Tensor:
    return trainer.task.preprocessing.normalise(trainer.task.test.images[:])


def _state(method: Method) -> dict[str, Any]:
    """Return the whole state of the method: its host data, its tensors, and the state of random numbers."""
    tensors = digests({**method.state_dict(), **unsaved(method)})
    return {**fingerprint(method), **tensors, "random numbers": digests([torch.get_rng_state()])}


@dataclass(frozen=True)
class Check:
    """A check, and the checks that must pass before it."""

    run: Callable[[Subject], None]
    after: tuple[str, ...] = ()


CHECKS = {
    "configuration": Check(configuration),
    "trains": Check(trains),
    "seed": Check(seed, ("trains",)),
    "knowledge": Check(knowledge, ("seed",)),
    "resume": Check(resume, ("seed",)),
    "side by side": Check(lanes, ("seed",)),
    "data": Check(data, ("trains",)),
    "predictions": Check(predictions, ("trains",)),
}


def examine(subject: Subject) -> dict[str, Finding]:
    """Return the finding of each check, by its name."""
    found: dict[str, Finding] = {}
    for name, check in CHECKS.items():
        ready = all(found[other].state == "ok" for other in check.after)
        found[name] = _found(check, subject) if ready else Finding("-")
    return found


def _found(check: Check, subject: Subject) -> Finding:
    try:
        check.run(subject)
    except (Broken, UserError) as error:
        return Finding("failed", str(error))
    except (Exception, SystemExit) as error:  # a method may raise anything
        return Finding("failed", _words(error))
    return Finding("ok")


def _words(error: BaseException) -> str:
    """Return the error, and the innermost line of the method's own code that raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    place = innermost(frames[-1]) or "the trainer"
    return f"{type(error).__name__} in {place}: {(str(error).splitlines() or [''])[0]}"
