"""A captured graph is used after its proof. Captures are fakes here, on a CPU: a faithful one, and others with one fault each."""

from __future__ import annotations

import copy
import random
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.training.checkpoint import Checkpoints
from benchmark.training.graphs import Work, _waits, unsaved
from benchmark.training.lanes import take_turns
from benchmark.training.proof import FACTOR, PROOF_STEPS, Prover, Steps, differing
from benchmark.training.running import Running
from benchmark.training.stepper import WARM_UP
from benchmark.training.trainer import Interrupted, Settings, Trainer
from datasets.augment import Preprocessing
from methods.base import Batch, Clock, MakeModel, Method, Phase, View, Weighted
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.mentornet import MentorNet
from methods.random import Random
from methods.s_model import SModel
from methods.sampling import uniform
from methods.schedules import Schedule, Schedules
from tests.conftest import StopAt, dropout_net, toy_task

CPU = torch.device("cpu")
SETTINGS = Settings(Schedules(Schedule(12, 0.1, (8,)), finetune=Schedule(5, 0.01)), batch_size=20, evaluate_every=5)
METHODS: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "l2rw": lambda: L2RW(clean_batch_size=8),
    "random": Random,
    "mentornet": MentorNet,
    "s_model_conf": lambda: SModel("confusion"),
    "l2rw +FT": lambda: FineTune(L2RW(clean_batch_size=8)),
}
GRAPHLESS = r"; training goes on without graphs\n"
Fake = Callable[[Running, Work], Work]  # a capture with a known fault
Tensors = Callable[[Running], list[torch.Tensor]]


class Everything(L2RW):
    """Its loss reads everything that a step may change: a clock, clean images, random numbers, and tensors that are in no checkpoint."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("clock", torch.zeros(()))
        self.register_buffer("fading", torch.ones(()), persistent=False)
        self.kept = {"averages": [torch.zeros(())]}

    def loss(self, batch: Batch) -> Weighted:
        loss, weights = super().loss(batch)
        loss = loss * (1 + 0.05 * self.clock + 0.1 * self.kept["averages"][0] + 0.1 * self.fading + batch.clock.epoch)
        self.clock += 1
        self.fading *= 0.9
        self.kept["averages"][0].lerp_(loss.detach(), 0.1)
        return Weighted(loss, weights)


NOISE = torch.Generator()


class Noisy(Everything):
    """Eager steps are not reproducible, as when threads add in any order."""

    def loss(self, batch: Batch) -> Weighted:
        loss, weights = super().loss(batch)
        return Weighted(loss * (1 + 1e-6 * torch.randn((), generator=NOISE)), weights)


class NoiseKept(Prover):
    """Restores the source of the noise, so that training has the same noise with and without proofs."""

    def proved(self, steps: Steps) -> Work | None:
        state = NOISE.get_state()
        try:
            return super().proved(steps)
        finally:
            NOISE.set_state(state)


class Taking:
    """Takes steps of the first phase, one by one."""

    def __init__(self, method: Method, fake: Fake | None = None) -> None:
        NOISE.manual_seed(7)
        task = replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True))
        self.trainer = Trainer(method, dropout_net, task, SETTINGS, 0, CPU)
        self.captures = 0
        if fake is not None:
            self.trainer.trial.prover = NoiseKept(lambda work, _: self._capture(fake, work))
        self.running = self.trainer.running(self.trainer.phases[0])
        self.running._lr = torch.zeros(())  # as on CUDA

    def _capture(self, fake: Fake, work: Work) -> Work:
        self.captures += 1
        return fake(self.running, work)

    def take(self, steps: int) -> Taking:
        for _ in range(steps):
            self.running.take_step(self.trainer.view)
        return self

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(self.running.state() | {"attributes": unsaved(self.trainer.method)})


def assert_same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


# --- fakes


def faithful(_: Running, work: Work) -> Work:
    return work


def holding(tensors: Tensors) -> Fake:
    """Replays read the `tensors` of the capture."""

    def capture(running: Running, work: Work) -> Work:
        held = [tensor.clone() for tensor in tensors(running)]

        def replay() -> None:
            for tensor, value in zip(tensors(running), held, strict=True):
                tensor.copy_(value)
            work()

        return replay

    return capture


def skipping(tensors: Tensors) -> Fake:
    """Replays do not write the `tensors`."""

    def capture(running: Running, work: Work) -> Work:
        def replay() -> None:
            before = [tensor.detach().clone() for tensor in tensors(running)]
            work()
            with torch.no_grad():
                for tensor, value in zip(tensors(running), before, strict=True):
                    tensor.copy_(value)

        return replay

    return capture


def drawing_nothing_new(running: Running, work: Work) -> Work:
    state = torch.get_rng_state()

    def replay() -> None:
        torch.set_rng_state(state)
        work()

    return replay


def augmenting_alike(running: Running, work: Work) -> Work:
    state = running.batches.generators[0].get_state()

    def replay() -> None:
        running.batches.generators[0].set_state(state)
        work()

    return replay


def wrong_by(share: float) -> Fake:
    """One number of one weight is wrong, by this share of the largest."""

    def capture(running: Running, work: Work) -> Work:
        def replay() -> None:
            work()
            with torch.no_grad():
                weight = running.trial.method.model[3].weight
                weight[0, 0] += share * weight.abs().max()

        return replay

    return capture


def refusing(running: Running, work: Work) -> Work:
    work()  # what an attempt at a capture leaves behind is undone as well
    raise RuntimeError("no capture today\nand another line")


def failing_at(number: int) -> Fake:
    """The replay of this number, from 1 on, does nothing but raise."""

    def capture(running: Running, work: Work) -> Work:
        replays = iter(range(1, 1000))

        def replay() -> None:
            if next(replays) == number:
                raise RuntimeError("no launch today")
            work()

        return replay

    return capture


def running_statistics(running: Running) -> list[torch.Tensor]:
    return [buffer for name, buffer in running.trial.method.named_buffers() if "running" in name]


def momentum(running: Running) -> list[torch.Tensor]:
    return [each["momentum_buffer"] for each in running.trial.optimiser.state_dict()["state"].values()]


WEIGHT = r"method\.model\.0\.body\.stage1\.0\.weight"  # the first parameter
WRONG: dict[str, tuple[Fake, str]] = {  # the fake, and the first value that it leaves wrong (a pattern)
    "replays the first batch again": (holding(lambda running: [running.batches.index]), WEIGHT),
    "replays the first clean batch": (holding(lambda running: [each.index for each in running.trial.clean._streams.values()]), WEIGHT),
    "keeps the first learning rate": (holding(lambda running: [running._lr]), WEIGHT),
    "keeps the first step number": (holding(lambda running: [running.trial.method.clock]), r"method\.clock"),
    "draws no new random numbers": (drawing_nothing_new, WEIGHT),
    "draws no new augmentation": (augmenting_alike, WEIGHT),
    "skips the running statistics": (skipping(running_statistics), r"method\.model\.0\.body\.stage1\.1\.running_mean"),
    "skips the momentum": (skipping(momentum), WEIGHT),
    "skips the loss": (skipping(lambda running: [running.trial.loss_sum]), r"loss_sum"),
    "skips the weight log": (skipping(lambda running: [running.trial.weights.values]), r"weights\.values"),
    "skips a tensor in no checkpoint": (skipping(lambda running: [running.trial.method.fading]), WEIGHT),
    "is wrong by a thousandth": (wrong_by(1e-3), r"method\.model\.[\w.]+"),
}
FAILING: dict[str, tuple[Fake, str]] = {
    "raises on capture": (refusing, "RuntimeError: no capture today"),
    "raises on the first replay": (failing_at(1), "RuntimeError: no launch today"),
    "raises on the second replay": (failing_at(2), "RuntimeError: no launch today"),
    "raises on a replay in training": (failing_at(PROOF_STEPS + 3), "RuntimeError: no launch today"),
}


# --- a faulty capture is detected, and changes nothing


@pytest.mark.parametrize("method", [Everything, Noisy])
@pytest.mark.parametrize("name", WRONG)
def test_a_capture_that_is_wrong_is_named_and_training_equals_eager_training(
    name: str, method: type[Method], capsys: pytest.CaptureFixture[str]
) -> None:
    fake, differs = WRONG[name]
    taking = Taking(method(), fake).take(12)
    message = capsys.readouterr().err
    assert re.fullmatch(rf"the captured CUDA graph gives another '{differs}' than eager steps{GRAPHLESS}", message)
    assert taking.captures == 1  # and no other is tried
    assert_same(taking.state(), Taking(method()).take(12).state())


@pytest.mark.parametrize("name", FAILING)
def test_a_capture_that_raises_is_reported_in_a_line_and_training_equals_eager_training(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake, error = FAILING[name]
    taking = Taking(Everything(), fake).take(12)
    assert re.fullmatch(rf"the CUDA graph fails with {error}{GRAPHLESS}", capsys.readouterr().err)
    assert taking.captures == 1
    assert_same(taking.state(), Taking(Everything()).take(12).state())


def test_where_eager_steps_repeat_themselves_a_capture_wrong_in_the_last_bit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    def capture(running: Running, work: Work) -> Work:
        def replay() -> None:
            work()
            bias = running.trial.method.model[3].bias.data
            bias[0] = torch.nextafter(bias[0], torch.tensor(torch.inf))

        return replay

    taking = Taking(Everything(), capture).take(12)
    assert "gives another 'method.model." in capsys.readouterr().err
    assert_same(taking.state(), Taking(Everything()).take(12).state())


def test_a_trial_of_several_phases_gives_up_graphs_once(capsys: pytest.CaptureFixture[str]) -> None:
    eager = eager_trial("l2rw +FT")
    refused = whole_trial("l2rw +FT")
    refused.trial.prover = Prover(lambda work, _: refusing(refused.running(refused.phases[0]), work))
    assert refused.run().history == eager.progress.history
    assert capsys.readouterr().err.count("\n") == 1
    assert_same(refused.method.state_dict(), eager.method.state_dict())


# --- a faithful one is used, and changes nothing


@pytest.mark.parametrize("method", [Everything, Noisy])
def test_a_faithful_capture_is_used_and_training_equals_eager_training(method: type[Method], capsys: pytest.CaptureFixture[str]) -> None:
    replayed = []

    def capture(running: Running, work: Work) -> Work:
        def replay() -> None:
            replayed.append(running.step)
            work()

        return replay

    taking = Taking(method(), capture).take(12)
    assert replayed == [WARM_UP] * PROOF_STEPS + list(range(WARM_UP, 12))
    assert capsys.readouterr().err == ""
    assert_same(taking.state(), Taking(method()).take(12).state())


def test_a_capture_may_do_the_work_of_a_step_more_than_once(capsys: pytest.CaptureFixture[str]) -> None:
    drawn: list[list[str]] = []

    def capture(running: Running, work: Work) -> Work:
        work()  # as `cuda_graph` does, to see whether it waits
        work()
        drawn.append([*running.trial.clean._streams])
        return work

    taking = Taking(Everything(), capture).take(12)
    assert capsys.readouterr().err == ""
    assert drawn == [["clean 100"]]  # no second draw, whose stream would begin within the graph
    assert_same(taking.state(), Taking(Everything()).take(12).state())


@pytest.mark.parametrize(("method", "runs"), [(Everything, 2), (Noisy, 4)])
def test_eager_steps_are_run_twice_in_a_proof_and_four_times_where_they_differ(method: type[Method], runs: int) -> None:
    taking, calls = Taking(method(), faithful).take(WARM_UP), []
    taking.trainer.method.model.register_forward_hook(lambda *_: calls.append(1))
    taking.take(1)
    with_proof = len(calls)
    taking.take(1)
    a_step = len(calls) - with_proof
    assert with_proof == a_step * (runs * PROOF_STEPS + PROOF_STEPS + 1)  # eager runs, replays, and the step itself


def test_noise_shows_in_eager_steps_so_that_its_tests_tell_something() -> None:
    one = Taking(Noisy()).take(2)
    other = Taking(Noisy())
    NOISE.manual_seed(8)
    assert differing([one.state()], other.take(2).state()) is not None
    assert differing([Taking(Noisy()).take(2).state()], one.state()) is None


def test_a_proof_leaves_every_tensor_and_generator_where_it_was() -> None:
    taking = Taking(Everything(), faithful).take(WARM_UP)
    before = places(taking)
    taking.take(1)
    assert taking.captures == 1
    assert places(taking) == before


def places(taking: Taking) -> list[int]:
    """Addresses of what a graph reads and writes."""
    running, trial = taking.running, taking.running.trial
    streams = [running.batches, *trial.clean._streams.values()]
    tensors = [*trial.method.state_dict().values(), *unsaved(trial.method).values(), *momentum(running)]
    tensors += [trial.loss_sum, trial.weights.values, running._lr, *(stream.index for stream in streams)]
    tensors += [running.clock.step, running.clock.epoch, running.clock.lr]
    return [tensor.data_ptr() for tensor in tensors] + [id(generator) for stream in streams for generator in stream.generators]


@pytest.mark.parametrize("name", METHODS)
def test_a_trial_with_proved_captures_ends_bit_for_bit_as_an_eager_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    eager = eager_trial(name)
    proved = whole_trial(name)
    replays = counting(proved)
    assert proved.run().history == eager.progress.history
    assert len(replays) == sum(phase.schedule.steps - WARM_UP + PROOF_STEPS for phase in proved.phases)
    assert capsys.readouterr().err == ""
    assert_same(proved.method.state_dict(), eager.method.state_dict())
    assert proved.progress.weight_histograms == eager.progress.weight_histograms


@pytest.mark.parametrize("stop", [2, 5, 7, 13])
def test_a_trial_with_proved_captures_resumes_bit_for_bit(stop: int, tmp_path: Path) -> None:
    eager = eager_trial("l2rw +FT")
    checkpoints = Checkpoints(tmp_path / "trial.pt", "toy")
    interrupted = whole_trial("l2rw +FT", checkpoints, StopAt(stop))
    counting(interrupted)
    with pytest.raises(Interrupted):
        interrupted.run()
    resumed = whole_trial("l2rw +FT", checkpoints)
    replays = counting(resumed)
    assert resumed.run().history == eager.progress.history
    assert replays
    assert_same(resumed.method.state_dict(), eager.method.state_dict())


def test_proofs_of_trials_side_by_side_do_not_meet() -> None:
    proved: dict[str, Trainer] = {}
    replays: dict[str, list[int]] = {}

    def turns(name: str) -> Iterator[None]:
        proved[name] = whole_trial(name)
        replays[name] = counting(proved[name])
        yield from proved[name].turns()

    take_turns(map(turns, METHODS), 3, CPU)
    assert replays.keys() == METHODS.keys()
    assert all(replays.values())
    for name in METHODS:
        assert_same(proved[name].method.state_dict(), eager_trial(name).method.state_dict())


def whole_trial(name: str, checkpoints: Checkpoints | None = None, watch: StopAt | None = None) -> Trainer:
    task = replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True))
    return Trainer(METHODS[name](), dropout_net, task, SETTINGS, 3, CPU, checkpoints, watch)


def eager_trial(name: str) -> Trainer:
    """At its end."""
    trainer = whole_trial(name)
    trainer.run()
    return trainer


def counting(trainer: Trainer) -> list[int]:
    """Make the trainer's captures faithful; lists the steps that are replayed."""
    replayed: list[int] = []

    def capture(work: Work, generators: Sequence[torch.Generator]) -> Work:
        assert all(isinstance(each, torch.Generator) for each in generators)

        def replay() -> None:
            replayed.append(trainer.progress.step)
            work()

        return replay

    trainer.trial.prover = Prover(capture)
    return replayed


# --- after code that may change the method


def bound_to_addresses(stale: list[str]) -> Fake:
    """Reads the parameters and buffers at their addresses from the capture, like a graph; notes a replay after they have moved."""

    def capture(running: Running, work: Work) -> Work:
        method = running.trial.method
        temperature = method.temperature
        addresses = {name: value.data_ptr() for name, value in method.state_dict().items()}

        def replay() -> None:
            stale.extend(name for name, value in method.state_dict().items() if value.data_ptr() != addresses[name])
            method.temperature = temperature  # a number is what it was
            work()

        return replay

    return capture


class Warm(Everything):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    def loss(self, batch: Batch) -> Weighted:
        loss, weights = super().loss(batch)
        return Weighted(loss / self.temperature, weights)


HELD = []  # so that nothing else gets their places


def move_a_parameter(method: Method) -> None:
    HELD.append(method.model[3].weight.data)
    method.model[3].weight.data = method.model[3].weight.data.clone()


def move_a_buffer(method: Method) -> None:
    norm = method.model[0].body.stage1[1]
    HELD.append(norm.running_mean)
    norm.running_mean = norm.running_mean.clone()


def set_a_number(method: Method) -> None:
    method.temperature = 2.0


def freeze(method: Method) -> None:
    method.model[0].requires_grad_(False)


@pytest.mark.parametrize("hook", [move_a_parameter, move_a_buffer, set_a_number, freeze])
def test_a_method_that_a_hook_has_changed_is_captured_again(hook: Callable[[Method], None], capsys: pytest.CaptureFixture[str]) -> None:
    stale: list[str] = []
    found = []
    for fake, captures in ((bound_to_addresses(stale), 2), (None, 0)):
        taking = Taking(Warm(), fake).take(6)
        hook(taking.trainer.method)
        taking.running.check()
        found.append(taking.take(7).state())
        assert taking.captures == captures
    assert stale == []
    assert capsys.readouterr().err == ""
    assert_same(*found)


def test_a_hook_that_changes_nothing_costs_no_capture() -> None:
    taking = Taking(Warm(), faithful).take(6)
    taking.running.check()
    with torch.no_grad():
        taking.trainer.method.model[3].weight.mul_(0.5)  # in its place
    taking.running.check()
    taking.take(3)
    assert taking.captures == 1


def test_a_parameter_moved_in_an_evaluation_is_never_read_where_it_was() -> None:
    class Moving(Warm):
        def predict(self, images: torch.Tensor) -> torch.Tensor:
            move_a_parameter(self)
            return super().predict(images)

    def trial() -> Trainer:
        return Trainer(Moving(), dropout_net, toy_task(), SETTINGS, 0, CPU)

    eager = trial()
    eager.run()
    proved = trial()
    stale: list[str] = []
    captured = []

    def capture(work: Work, _: Sequence[torch.Generator]) -> Work:
        captured.append(proved.progress.step)
        return bound_to_addresses(stale)(proved.running(proved.phases[0]), work)

    proved.trial.prover = Prover(capture)
    assert proved.run().history == eager.progress.history
    assert captured == [3, 8]  # each time after three eager steps; evaluations are at 5, 10 and 12
    assert stale == []
    assert_same(proved.method.state_dict(), eager.method.state_dict())


@pytest.mark.parametrize("part", ["every_epoch", "sample"])
def test_what_comes_with_an_epoch_may_move_a_parameter(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Moving(Warm):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [replace(phase, **{part: getattr(self, part)}) for phase in super().phases(schedules)]

        def every_epoch(self, view: View, clock: Clock) -> None:
            move_a_parameter(self)

        def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
            move_a_parameter(self)
            return uniform(labels, size, generator)

    stale: list[str] = []
    found = [Taking(Moving(), fake).take(12).state() for fake in (bound_to_addresses(stale), None)]
    assert stale == []
    assert capsys.readouterr().err == ""
    assert_same(*found)


# --- steps that are never captured, because the host has a part in them


class OnHost(Baseline):
    """Scales its loss by a number of the host's."""

    def __init__(self, draw: Callable[[], Callable[[Method], float]]) -> None:
        super().__init__()
        self.draw = draw()
        self.count, self.rng, self.python, self.torch = 0, np.random.default_rng(5), random.Random(5), torch.Generator().manual_seed(5)

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) * (1 + self.draw(self))


def counted(method: Method) -> float:
    method.count += 1
    return method.count / 10


DRAWS: dict[str, Callable[[Method], float]] = {
    "count": counted,
    "rng": lambda method: method.rng.beta(1, 1),
    "python": lambda method: method.python.random(),
    "torch": lambda method: torch.rand((), generator=method.torch).item(),
    "Python's random numbers": lambda _: random.random(),
    "NumPy's random numbers": lambda _: float(np.random.beta(1, 1)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_step_that_counts_or_draws_on_the_host_is_never_captured_nor_repeated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for fake in (faithful, None):
        random.seed(3)
        np.random.seed(3)
        taking = Taking(OnHost(lambda: DRAWS[name]), fake).take(9)
        found.append(taking.state())
        assert taking.captures == 0
    assert re.fullmatch(rf"a step changes '{name}' on the host, which a CUDA graph would not{GRAPHLESS}", capsys.readouterr().err)
    assert_same(*found)


# --- what differs


def test_equal_bits_are_asked_for_where_eager_steps_repeat_themselves() -> None:
    value = torch.tensor([1.0, torch.nan, -torch.inf])
    assert differing([{"a": value}, {"a": value.clone()}], {"a": value.clone()}) is None
    for other in (torch.tensor([1.0 + 2**-23, torch.nan, -torch.inf]), value.double(), value[:2], None, 1.0):
        assert differing([{"a": value}, {"a": value}], {"a": other}) == "a"
    assert differing([{"a": torch.zeros(2)}], {"a": -torch.zeros(2)}) == "a"  # a sign is a bit


def test_numbers_and_missing_values_differ_by_name() -> None:
    state = {"a": {"drawn": 3, "none": None}, "b": torch.ones(2, 3)}
    assert differing([state], copy.deepcopy(state)) is None
    assert differing([state], {**state, "a": {"drawn": 4, "none": None}}) == "a.drawn"
    assert differing([state], {"a": state["a"]}) == "b"
    assert differing([state], {**state, "c": 1}) == "c"


def test_the_tolerance_is_a_multiple_of_the_largest_difference_of_eager_runs() -> None:
    def state(value: float) -> dict[str, torch.Tensor]:
        return {"a": torch.tensor([value, 100.0, torch.nan, torch.inf]), "same": torch.tensor(5)}

    eager = [state(1.0), state(1.0 + 2**-10), state(1.0 - 2**-9)]
    assert differing(eager, state(1.0 + FACTOR * 2**-9)) is None
    assert differing(eager, state(1.0 + (FACTOR + 0.1) * 2**-9)) == "a"
    assert differing(eager, {"a": eager[0]["a"], "same": torch.tensor(6)}) == "same"


def test_where_eager_steps_differ_somewhere_other_tensors_may_differ_by_rounding_alone() -> None:
    eager = [{"noisy": torch.tensor(noise), "sum": torch.tensor([8.0, 1.0])} for noise in (1.0, 1.1)]
    unit = 8 * 2**-23
    for units, name in ((FACTOR, None), (FACTOR + 1, "sum")):
        assert differing(eager, {"noisy": torch.tensor(1.0), "sum": torch.tensor([8.0, 1.0 + units * unit])}) == name


def test_only_torchs_warning_of_a_wait_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def mode(_: int | str) -> None:
        warnings.warn(
            "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations", stacklevel=1
        )

    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", mode)
    assert not _waits(lambda: None)
    assert _waits(lambda: warnings.warn("called a synchronizing CUDA operation (Triggered internally at c10.)", stacklevel=1))
