"""On a CUDA device: captured steps give the results of eager ones, for every method, side by side and after a stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark import run, trial
from benchmark.check import small_cells
from benchmark.checks.observed import Subject
from benchmark.checks.waits import waits
from benchmark.config import Cell
from benchmark.models.resnet import ResNet
from benchmark.records.store import read_all
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.compute import Compute
from benchmark.training.graphs import WAITED, cuda_graph
from benchmark.training.lanes import take_turns
from benchmark.training.trainer import Interrupted, Settings, Trainer, Watch
from datasets.augment import Preprocessing
from methods import registry
from methods.base import Batch, Method
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.mentornet import MentorNet
from methods.random import Random
from methods.s_model import SModel
from methods.schedules import Schedule, Schedules
from tests.conftest import StopAt, dropout_net, kept_in, toy_task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")
SETTINGS = Settings(Schedules(Schedule(12, 0.1, (8,)), finetune=Schedule(5, 0.01)), batch_size=20, evaluate_every=5)
METHODS: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "l2rw": lambda: L2RW(clean_batch_size=8),
    "random": Random,
    "mentornet": MentorNet,
    "s_model": SModel,
    "l2rw +FT": lambda: FineTune(L2RW(clean_batch_size=8)),
}
CELLS = small_cells([]) if torch.cuda.is_available() else []


def small_resnet(classes: int, shape: torch.Size) -> nn.Module:
    return ResNet(classes, shape, units=1)


def trainer(
    name: str,
    compute: Compute,
    seed: int = 0,
    make: Callable[[int, torch.Size], nn.Module] = dropout_net,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
) -> Trainer:
    task = replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True))
    return Trainer(METHODS[name](), make, task, SETTINGS, seed, CUDA, checkpoints, watch, compute)


def state(trained: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.method.state_dict().items()}


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Some sums are in any order, so that two runs differ by rounding."""
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [dropout_net, small_resnet])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_equal_launched_ones(name: str, precision: str, make: Callable[[int, torch.Size], nn.Module]) -> None:
    found = []
    for cuda_graphs in (False, True):
        trained = trainer(name, Compute(precision, cuda_graphs=cuda_graphs), make=make)
        trained.run()
        assert trained.trial.prover.active is cuda_graphs  # nothing was given up
        found.append(state(trained))
    if precision == "float32":
        close(found[1], found[0])
    else:
        torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_the_memory_format_changes_no_result(name: str) -> None:
    """Compare two steps, because a few more amplify rounding a thousand times."""
    losses = []
    for channels_last in (False, True):
        trained = trainer(name, Compute(channels_last=channels_last), make=small_resnet)
        running = trained.running(trained.phases[0])
        for _ in range(2):
            running.take_step(trained.view)
        losses.append(trained.trial.loss_sum.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_trials_side_by_side_are_the_trials_alone(name: str) -> None:
    alone = []
    for seed in range(4):
        trained = trainer(name, Compute(), seed)
        trained.run()
        alone.append(state(trained))
    together: dict[int, Trainer] = {}

    def turns(seed: int) -> Iterator[None]:
        together[seed] = trainer(name, Compute(), seed)
        yield from together[seed].turns()

    take_turns(map(turns, range(4)), 3, CUDA)
    for seed, expected in enumerate(alone):
        assert together[seed].trial.prover.active
        close(state(together[seed]), expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [2, 7, 13])
def test_training_that_stops_and_goes_on_ends_as_without_a_stop(name: str, stop: int, tmp_path: Path) -> None:
    uninterrupted = trainer(name, Compute())
    uninterrupted.run()
    checkpoints = Checkpoints(tmp_path / "seed-0.pt", "{}")
    if stop < uninterrupted.steps:
        with pytest.raises(Interrupted):
            trainer(name, Compute(), checkpoints=checkpoints, watch=StopAt(stop)).run()
    resumed = trainer(name, Compute(), checkpoints=checkpoints)
    resumed.run()
    close(state(resumed), state(uninterrupted))


def test_a_capture_detects_work_that_waits_and_no_other() -> None:
    number = torch.ones((), device=CUDA)

    def adds() -> None:
        number.add_(1)

    replay = cuda_graph(adds, [])
    assert number.item() == 2  # it ran once, and capturing does not run it
    replay()
    assert number.item() == 3
    with pytest.raises(Exception, match="a step makes the host wait"):
        cuda_graph(lambda: float(number) and None, [])


def test_the_end_of_one_capture_leaves_the_others_their_memory() -> None:
    a, b, found = (torch.randn(shape, device=CUDA) for shape in ((4, 2**20), (2**20, 4), (4, 4)))  # long sums, which use the workspace
    work = partial(torch.mm, a, b, out=found)
    first, second = cuda_graph(work, []), cuda_graph(work, [])
    expected = found.clone()
    assert first._stream != second._stream
    ended = second._stream
    del second
    torch.cuda.empty_cache()
    found.zero_()
    first()
    torch.testing.assert_close(found, expected)
    assert cuda_graph(work, [])._stream == ended  # streams are used again


@pytest.mark.parametrize("noise", ["bgflip", "uniflip", "none"])
def test_runs_leave_whole_records_and_artifacts(noise: str, tmp_path: Path) -> None:
    arguments = [
        *(f"noise={noise}", "method=baseline,l2rw,dividemix", "trainer.steps=40", "trainer.evaluate_every=20", "trials=2"),
        *("dataset.preprocessing.pad=1", "keep=[weights,evidence,predictions]", "device=cuda", "side_by_side=3"),
        *kept_in(tmp_path),
    ]
    assert run.main(arguments) == 0
    records, mistakes = read_all(tmp_path / "results")
    assert len(records) == 6
    assert not mistakes
    for record in records:
        assert record["environment"]["device"] == torch.cuda.get_device_name()
        assert record["metrics"]["test_accuracy"] > (0.4 if record["method"] == "l2rw" else 0)
        assert len([*(tmp_path / "checkpoints" / record["key"]).glob(f"seed-{record['seed']}.*")]) == 3


def test_torch_warns_of_waiting_with_the_text_that_is_searched() -> None:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.cuda.set_sync_debug_mode("warn")
            torch.ones((), device=CUDA).item()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    assert any(WAITED in str(warning.message) for warning in caught)


def test_a_capture_that_fails_leaves_training_as_without_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    class Shy(L2RW):
        def loss(self, batch: Batch) -> torch.Tensor:
            if torch.cuda.is_current_stream_capturing():
                raise RuntimeError("no capture today")
            return super().loss(batch)

    found = []
    for graphs in (False, True):
        trained = Trainer(Shy(8), dropout_net, toy_task(), SETTINGS, 0, CUDA, compute=Compute(cuda_graphs=graphs))
        trained.run()
        found.append(state(trained))
    assert capsys.readouterr().err.count("training goes on without graphs\n") == 1
    close(found[1], found[0])


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_every_method_trains_here_and_is_captured_unless_its_steps_wait(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    subject = Subject(cell)
    expected = waits(subject.trainer(subject.kind))
    losses = []
    for graphs in (False, True):
        method = registry.build(cell.identity["method"])
        settings = trial.settings(cell.config)
        trained = Trainer(method, subject.kind.make_model, subject.kind.task, settings, 0, CUDA, compute=Compute(cuda_graphs=graphs))
        progress = trained.run()
        assert not progress.diverged
        losses.append(progress.history[0]["train_loss"])
    message = capsys.readouterr().err
    print(f"captured: {trained.trial.prover.active}; {message}")
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    if not expected and "on the host" not in message:
        assert trained.trial.prover.active, message
