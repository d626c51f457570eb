"""Every method follows the rules of the interface, and only the corresponding check detects a method that breaks a rule."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import ROOT, check
from benchmark.checks.rules import CHECKS
from benchmark.checks.waits import Waits
from benchmark.names import choices
from methods import mentornet
from methods.base import Batch, Clock, Knowledge, MakeModel, Method, Phase, View
from methods.baseline import Baseline
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import UserError

FAST = ["model.width=4"]


@pytest.fixture(autouse=True)
def short_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mentornet, "LESSONS", 5)


def report_of(method: str) -> check.Report:
    (cell,) = check.small_cells([f"method={method}", *FAST])
    return check.report(cell)


@pytest.mark.parametrize("method", sorted(choices().values()))
def test_every_method_keeps_every_rule(method: str) -> None:
    report = report_of(method)
    assert report.failures == []
    assert {found.state for found in report.findings.values()} == {"ok"}
    assert report.waits == []


def test_the_documented_table_has_a_row_for_each_method_and_the_checks_for_columns() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8").partition("## All methods")[2]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows] == sorted(choices().values())
    assert header[2 : 2 + len(CHECKS)] == [*CHECKS]


# --- methods that break one rule each


class BackDoor(Baseline):
    """Weights by the true labels, which it does not declare."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("right", (view._task.train.true_labels == view.labels).float())

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = F.cross_entropy(self.model(batch.images), batch.labels, reduction="none")
        return (self.get_buffer("right")[batch.index] * losses).mean()


class CleanBackDoor(Baseline):
    """Reads the clean set when its phase starts."""

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, before=self._begin)]

    @torch.no_grad()
    def _begin(self, view: View) -> None:
        for parameter in self.parameters():
            parameter.mul_(1 + 1e-3 * view._task.clean.images.float().mean() / 255)


class Peeking(CleanBackDoor):
    """Reads the test set."""

    @torch.no_grad()
    def _begin(self, view: View) -> None:
        for parameter in self.parameters():
            parameter.mul_(1 + 1e-3 * view._task.test.images.float().mean() / 255)


class NoiseRateOnly(BackDoor):
    """Declares the noise rate, but also reads which labels are wrong."""

    needs = Knowledge.NOISE_RATE


class Forgetful(Baseline):
    """Counts its steps in an attribute, which no checkpoint keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def loss(self, batch: Batch) -> torch.Tensor:
        self.steps += 1
        return super().loss(batch) / self.steps


class ForgetfulEpochs(Baseline):
    """Keeps a plain tensor from epoch to epoch."""

    factor = torch.ones(())

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, every_epoch=self._begin)]

    def _begin(self, view: View, clock: Clock) -> None:
        self.factor = 1 / (1 + clock.epoch.clone())
        self.factor = self.factor + next(self.parameters()).detach().abs().mean()

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) * self.factor


class Unreadable(Baseline):
    """Has an object in its state that makes checkpoints unreadable."""

    def get_extra_state(self) -> object:
        return Path("state")

    def set_extra_state(self, state: object) -> None: ...


class Shared(Baseline):
    """Stores the last loss in the class, where another trial reads it; starts without one."""

    last: list[torch.Tensor] = []  # noqa: RUF012

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("mine", torch.zeros(()))
        Shared.last[:] = [self.get_buffer("mine")]

    def loss(self, batch: Batch) -> torch.Tensor:
        loss = super().loss(batch)
        Shared.last[0].copy_(loss.detach())
        return loss * (1 + 0 * self.get_buffer("mine"))


class Scattered(Baseline):
    """Draws Python's random numbers."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) * (1 + random.random())


class LostOnTwoClasses(Baseline):
    """Divides by the number of further classes."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("others", torch.tensor(float(view.num_classes - 2)))

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) / self.get_buffer("others")


class CrashingOnTwoClasses(Baseline):
    """Looks at the third logit."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) + 0 * self.model(batch.images)[:, 2].mean()


class LostWithoutNoise(Baseline):
    """Divides by the noise rate."""

    needs = Knowledge.NOISE_RATE

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("rate", torch.tensor(view.noise_rate))

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) * (0.4 / self.get_buffer("rate"))


class Counting(Baseline):
    """Counts predictions in a buffer."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.register_buffer("predicted", torch.zeros(()))

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        self.get_buffer("predicted").add_(1)
        return self.model(images)


class Overwriting(Baseline):
    """Changes the images that it predicts."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.mul_(0.5))


class Probable(Baseline):
    """Predicts a probability of the first class alone."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images).softmax(dim=1)[:, :-1]


class Growing(Baseline):
    """Has another phase once it knows its model."""

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss)] * (2 if hasattr(self, "model") else 1)


class Crashing(Baseline):
    """Raises in its loss."""

    def loss(self, batch: Batch) -> torch.Tensor:
        raise KeyError("lost")


BROKEN: dict[type[Method], tuple[str, str]] = {
    BackDoor: ("knowledge", r"depends on the true labels, .* declare Knowledge\.TRUE_LABELS in `needs`"),
    NoiseRateOnly: ("knowledge", r"depends on the true labels, .* declare Knowledge\.TRUE_LABELS in `needs`"),
    CleanBackDoor: ("knowledge", r"depends on the clean set, .* declare Knowledge\.CLEAN_SET in `needs`"),
    Peeking: ("knowledge", r"depends on the test set, .* no method may see it"),
    Forgetful: ("resume", r"resumed after the first step, training differs in '[\w.]+' after step 2: keep state in buffers"),
    ForgetfulEpochs: ("resume", r"keep state in buffers"),
    Unreadable: ("resume", r"the checkpoint after the first step cannot be read back: use only tensors and numbers as state"),
    Shared: (
        "side by side",
        r"side by side with another trial, training differs in 'method\.mine' after step \d+: keep state in the instance",
    ),
    Scattered: ("seed", r"differ in '[\w.]+' after step 1: draw only from torch's default generator"),
    LostOnTwoClasses: (
        "data",
        r"training on two classes, imbalanced, by one logit diverges by step 5: keep it finite, or raise UserError in `setup`",
    ),
    CrashingOnTwoClasses: ("data", r"training on two classes, .* ends with IndexError in tests/test_conformance\.py:\d+: index 2 is out"),
    LostWithoutNoise: ("data", r"training on two classes, .*; training on right labels diverges by step 5: "),
    Counting: ("predictions", r"`predict` changes predicted: compute logits and change nothing else"),
    Overwriting: ("predictions", r"`predict` changes the images"),
    Probable: ("trains", r"`predict` gives torch\.float32 \(50, 9\), not logits of shape \(50, 10\)"),
    Growing: ("trains", r"`phases` returns different steps before and after `setup`"),
    Crashing: ("trains", r"KeyError in tests/test_conformance\.py:\d+: 'lost'"),
}


@pytest.mark.parametrize("method", BROKEN, ids=lambda method: method.__name__)
@pytest.mark.usefixtures("no_method_stays")
def test_a_method_that_breaks_a_rule_fails_that_check_alone(method: type[Method]) -> None:
    failing, sentence = BROKEN[method]
    register("broken")(method)
    report = report_of("broken")
    states = {name: found.state for name, found in report.findings.items() if found.state != "ok"}
    unchecked = dict.fromkeys(_resting_on(failing), "-")
    assert states == {failing: "failed", **unchecked}, report.failures
    (failure,) = report.failures
    assert failure.startswith(f"broken, {failing}: ")
    assert pytest.raises(AssertionError, match=sentence).matches(AssertionError(failure)), failure


def _resting_on(failing: str) -> list[str]:
    """The checks that have nothing to check after that one."""
    gone = [failing]
    for name, each in CHECKS.items():
        gone += [name] if set(each.after) & set(gone) else []
    return gone[1:]


@pytest.mark.usefixtures("no_method_stays")
def test_options_that_do_not_come_back_from_their_label_fail_the_configuration() -> None:
    class Listed(Baseline):
        """Has a list for an option."""

        def __init__(self, shares: list[float] = [0.5]) -> None:  # noqa: B006
            super().__init__()
            shares.append(0.25)

    register("broken")(Listed)
    report = report_of("broken")
    assert {name for name, found in report.findings.items() if found.state != "ok"} == {"configuration"}
    assert "copy lists and dicts" in report.failures[0]


@pytest.mark.usefixtures("no_method_stays")
def test_a_kind_of_data_that_a_method_rejects_is_shown_with_its_sentence() -> None:
    class Choosy(Baseline):
        """Accepts only two classes."""

        def setup(self, make_model: MakeModel, view: View) -> None:
            if view.num_classes > 2:
                raise UserError(f"it is for two classes, not {view.num_classes}")
            super().setup(make_model, view)

    register("choosy")(Choosy)
    report = report_of("choosy")
    assert report.failures == []
    assert set(report.refusals.values()) == {"it is for two classes, not 10"}
    assert "refuses right labels: it is for two classes, not 10" in check.text([report])


@pytest.mark.usefixtures("no_method_stays")
def test_a_method_that_rejects_all_data_fails_with_its_sentence() -> None:
    class Refusing(Baseline):
        """Accepts no data."""

        def setup(self, make_model: MakeModel, view: View) -> None:
            raise UserError("it takes no data at all")

    register("refusing")(Refusing)
    assert report_of("refusing").failures == ["refusing, trains: it takes no data at all"]


# --- operations that would wait for a GPU


@pytest.mark.usefixtures("no_method_stays")
def test_what_waits_in_a_step_is_stated_with_its_line_and_is_no_failure() -> None:
    class Waiting(Baseline):
        """Reads its loss."""

        def loss(self, batch: Batch) -> torch.Tensor:
            loss = super().loss(batch)
            return loss if loss.item() > 0 else -loss

    register("waiting")(Waiting)
    report = report_of("waiting")
    assert report.failures == []
    line = Waiting.loss.__code__.co_firstlineno + 2
    assert report.waits == [f"aten._local_scalar_dense in tests/test_conformance.py:{line}"]


@pytest.mark.usefixtures("no_method_stays")
def test_what_waits_when_an_epoch_begins_is_not_stated() -> None:
    class Between(Baseline):
        """Counts its labels at each epoch; a small training set has one epoch per step."""

        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, self.loss, sample=self._sample, every_epoch=self._begin)]

        def _sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
            return torch.nonzero(labels == labels.unique()[1]).view(1, -1)

        def _begin(self, view: View, clock: Clock) -> None:
            assert view.labels.sum().item() > 0

    register("between")(Between)
    assert report_of("between").waits == []


x, k = torch.arange(6.0), torch.arange(3)
STATED: dict[str, Callable[[], object]] = {
    "aten._local_scalar_dense": lambda: bool(x.sum() > 0),
    "aten.nonzero": lambda: torch.where(x > 2),
    "aten.index": lambda: x[x > 2],
    "aten.masked_select": lambda: x.masked_select(x > 2),
    "aten.index_put_": lambda: x.clone().__setitem__(x > 2, x[3:].clone()),
    "aten._unique2": lambda: x.unique(),
    "aten.equal": lambda: torch.equal(x, x),
    "aten.bincount": lambda: torch.bincount(k),
    "aten.repeat_interleave": lambda: torch.repeat_interleave(k, k),
    "Tensor.cpu": lambda: x.cpu(),
    "Tensor.numpy": lambda: x.numpy(),
    "Tensor.tolist": lambda: x.tolist(),
    "torch.tensor": lambda: torch.tensor([1.0]),
}
SILENT: dict[str, Callable[[], object]] = {
    "an index of positions": lambda: x[k],
    "a mask set to a number": lambda: x.clone().__setitem__(x > 2, 0.0),
    "torch.where of three": lambda: torch.where(x > 2, x, 0),
    "a quantile": lambda: torch.quantile(x, 0.5),
    "one-hot labels of known width": lambda: F.one_hot(k, 3),
    "repeats of a known sum": lambda: torch.repeat_interleave(k, k, output_size=3),
    "a backward pass": lambda: nn.Linear(6, 1)(x).sum().backward(),
}


@pytest.mark.parametrize("operation", STATED)
def test_an_operation_whose_outcome_the_host_reads_is_stated(operation: str) -> None:
    waits = Waits()
    with waits.watching():
        STATED[operation]()
    assert {place.partition(" in ")[0] for place in waits.places} >= {operation}
    assert all(" in tests/test_conformance.py:" in place for place in waits.places)


@pytest.mark.parametrize("operation", SILENT)
def test_work_for_the_device_alone_is_not_stated(operation: str) -> None:
    waits = Waits()
    with waits.watching():
        SILENT[operation]()
    assert waits.places == {}


# --- the command


PLUG_IN = """
from methods.baseline import Baseline
from methods.registry import register

@register("mine")
class Mine(Baseline):
    def loss(self, batch):
        return super().loss(batch) * 0.5

@register("forgetful")
class Forgetful(Baseline):
    steps = 0

    def loss(self, batch):
        self.steps += 1
        return super().loss(batch) / self.steps
"""


def test_the_command_checks_a_plug_in_and_prints_a_markdown_table(tmp_path: Path) -> None:
    (tmp_path / "my_methods.py").write_text(PLUG_IN)
    environment = os.environ | {
        "ROBUST_TRAINING_METHODS": "my_methods",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "robust_benchmark", "check", "--no-cost", "method=mine,forgetful", *FAST]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    header, rule, mine, forgetful, _, failure = done.stdout.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == ["method", "sees", "configuration"]
    assert set(rule) == {"|", "-"}
    assert mine.count("| ok ") == len(CHECKS)
    assert (mine.count("failed"), forgetful.count("failed")) == (0, 1)
    assert failure.startswith("- forgetful, resume: resumed after the first step, ")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("my_methods.py", "__pycache__")]


def test_the_command_returns_0_where_all_is_well_and_states_the_cost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(check, "relative_seconds", lambda overrides, rounds, repeats: asked.append(overrides) or [1.0, 1.25, 9.0])
    assert check.main(["method=baseline", *FAST]) == 0
    assert "| 1.25 " in capsys.readouterr().out.splitlines()[2]
    assert sorted(asked[0]) == sorted(["method=baseline", "noise=uniflip", "dataset.preprocessing.pad=1", "device=cpu", "trials=1", *FAST])


@pytest.mark.usefixtures("no_method_stays")
def test_a_method_that_cannot_be_built_fails_and_the_others_are_still_checked(capsys: pytest.CaptureFixture[str]) -> None:
    class Hopeless(Baseline):
        """Raises in __init__."""

        def __init__(self) -> None:
            raise ValueError("no luck")

    register("hopeless")(Hopeless)
    assert check.main(["method=hopeless,baseline", "--no-cost", *FAST]) == 1
    _, _, hopeless, baseline, _, failure = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in hopeless.strip("|").split("|")] == ["hopeless", "?", "-", "failed", *"-" * 8]
    assert baseline.count("| ok ") == len(CHECKS)
    assert failure.startswith("- hopeless, trains: method 'hopeless'")
    assert failure.endswith("ValueError: no luck")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("method=basline", "no method 'basline'; nearest: baseline"),
        ("device=cuda", "device must be cpu"),
        ("trainer.steps=0", "at least 1"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(override: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([override, *([] if override.startswith("method") else ["method=baseline"])]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert sentence in message
    assert message.count("\n") == 1
