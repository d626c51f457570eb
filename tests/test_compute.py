"""The compute options of the device change no result: memory format, compilation, bfloat16, trials side by side, CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark import run, trial
from benchmark.config import cells
from benchmark.models.convnet import ConvNet
from benchmark.models.resnet import ResNet
from benchmark.records.store import read_all
from benchmark.speed.peers import unrolled
from benchmark.training.compute import Compute
from benchmark.training.graphs import fingerprint
from benchmark.training.lanes import take_turns
from benchmark.training.trainer import Settings, Trainer
from datasets.augment import Preprocessing
from datasets.task import Task
from methods.base import Batch, Method
from methods.baseline import Baseline
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.mentornet import MentorNet
from methods.random import Random
from methods.s_model import SModel
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import dropout_net, small_convnet, tiny_in, toy_task

CPU = torch.device("cpu")
MakeNet = Callable[[int, torch.Size], nn.Module]
SETTINGS = Settings(Schedules(Schedule(12, 0.1, (8,)), finetune=Schedule(4, 0.01)), batch_size=20, evaluate_every=5)
METHODS: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "l2rw": lambda: L2RW(clean_batch_size=8),
    "random": Random,
    "mentornet": MentorNet,
    "s_model": SModel,
    "finetune": lambda: FineTune(Baseline()),
}


def task() -> Task:
    return replace(toy_task(), preprocessing=Preprocessing(pad=1, flip=True))


def trainer(name: str, compute: Compute | None = None, seed: int = 0, make: MakeNet = dropout_net) -> Trainer:
    return Trainer(METHODS[name](), make, task(), SETTINGS, seed, CPU, compute=compute)


def tiny_mlp(num_classes: int, image_shape: torch.Size) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape.numel(), 8), nn.ReLU(), nn.Linear(8, num_classes))


def state(trained: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.method.state_dict().items()}


# --- side by side


@pytest.mark.parametrize("width", [2, 3, 8])
def test_trials_side_by_side_end_bit_for_bit_as_alone(width: int) -> None:
    alone = {}
    for seed, name in enumerate(METHODS):
        one = trainer(name, seed=seed)
        one.run()
        alone[name] = state(one), one.progress.history

    together: dict[str, Trainer] = {}

    def turns(name: str, seed: int) -> Iterator[None]:
        together[name] = trainer(name, seed=seed)
        yield from together[name].turns()

    take_turns((turns(name, seed) for seed, name in enumerate(METHODS)), width, CPU)
    assert together.keys() == alone.keys()
    for name, (weights, history) in alone.items():
        torch.testing.assert_close(state(together[name]), weights, rtol=0, atol=0)
        assert together[name].progress.history == history


def test_side_by_side_no_more_run_at_once_than_asked_and_each_gets_its_turns() -> None:
    order: list[str] = []

    def turns(name: str, count: int) -> Iterator[None]:
        for _ in range(count):
            order.append(name)
            yield

    take_turns((turns(name, count) for name, count in [("a", 3), ("b", 1), ("c", 2)]), 2, CPU)
    assert order == ["a", "b", "a", "a", "c", "c"]  # c starts after b has ended, which takes a turn


def test_taking_turns_leaves_the_callers_random_numbers_alone() -> None:
    def turns() -> Iterator[None]:
        torch.rand(3)
        yield
        torch.rand(5)

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    take_turns(iter([turns(), turns()]), 2, CPU)
    assert torch.equal(torch.rand(4), expected)


def test_a_grid_run_side_by_side_leaves_the_same_records(tmp_path: Path) -> None:
    found = []
    for width in (1, 3):
        places = [f"results_dir={tmp_path}/results{width}", f"checkpoint_dir={tmp_path}/checkpoints"]
        options = ["method=l2rw,baseline,random", "trials=2", "trainer.steps=12", "trainer.evaluate_every=5", "model.width=2", "device=cpu"]
        assert run.main([*places, *options, f"side_by_side={width}"]) == 0
        records, errors = read_all(tmp_path / f"results{width}")
        assert errors == []
        assert {record["environment"]["compute"]["side_by_side"] for record in records} == {width}
        found.append([(record["key"], record["seed"], record["config"], record["metrics"], record["data"]) for record in records])
    assert len(found[0]) == 6
    assert found[0] == found[1]


def test_a_failing_trial_among_those_side_by_side_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Random.loss

    def failing(self: Random, batch: Batch) -> torch.Tensor:
        if torch.rand(()) < 0.3:
            raise ValueError("no luck")
        return loss(self, batch)

    monkeypatch.setattr(Random, "loss", failing)
    options = ["method=random,baseline", "trials=2", "trainer.steps=30", "side_by_side=4", "processes=1"]
    assert run.main(tiny_in(tmp_path, *options)) == 1
    records, _ = read_all(tmp_path / "results")
    assert [record["method"] for record in records] == ["baseline", "baseline"]


# --- what a graph of a step would miss


@pytest.mark.parametrize(
    "change",
    [
        lambda method: setattr(method, "count", method.count + 1),
        lambda method: setattr(method, "word", "later"),
        lambda method: method.seen.append(1),
        lambda method: setattr(method, "average", method.average * 0.9),
        lambda method: setattr(method.inner, "count", 1),
    ],
)
def test_what_a_graph_would_miss_shows_in_the_fingerprint(change: Callable[[Method], object]) -> None:
    method = Baseline()
    method.inner = nn.Linear(1, 1)
    method.count, method.word, method.seen, method.average, method.inner.count = 0, "now", [], torch.ones(2), 0  # type: ignore[attr-defined]
    before = fingerprint(method)
    change(method)
    assert fingerprint(method) != before


def test_what_a_graph_holds_does_not_show_in_the_fingerprint() -> None:
    method = Baseline()
    method.inner = nn.BatchNorm1d(3)
    method.average = torch.ones(2)
    before = fingerprint(method)
    method.average *= 0.9
    method.inner(torch.randn(4, 3)).sum().backward()
    assert fingerprint(method) == before


# --- draws of the clean set within a step


def test_two_draws_of_a_step_are_two_minibatches_and_the_next_step_has_others() -> None:
    class Twice(L2RW):
        def loss(self, batch: Batch) -> torch.Tensor:
            self.drawn.append([batch.draw_clean(3).index.tolist() for _ in range(2)])
            return super().loss(batch)

    method = Twice(clean_batch_size=8)
    method.drawn = []
    Trainer(method, small_convnet, toy_task(), SETTINGS, 0, CPU).run()
    steps = method.drawn[: SETTINGS.schedules.main.steps]
    assert all(first != second for first, second in steps)
    for draw in (0, 1):
        epoch = [position for step in steps[:5] for position in step[draw]]  # 15 clean images, 3 a draw
        assert sorted(epoch) == list(range(15))


# --- memory format, compilation, precision


@pytest.mark.parametrize("name", ["baseline", "l2rw"])
def test_the_memory_format_changes_rounding_alone(name: str) -> None:
    by_format = []
    for channels_last in (False, True):
        trained = trainer(name, Compute(channels_last=channels_last), make=small_convnet)
        assert any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in trained.method.parameters()) is (
            channels_last
        )
        trained.run()
        by_format.append(state(trained))
    torch.testing.assert_close(by_format[0], by_format[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("make", "backend"), [(small_convnet, "aot_eager"), (tiny_mlp, "inductor")])  # inductor: a minute for a convnet
def test_a_compiled_l2rw_trial_equals_an_eager_one_to_rounding(make: MakeNet, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    eager, compiled = trainer("l2rw", make=make), trainer("l2rw", Compute(compile=True), make=make)
    eager.run()
    compiled.run()
    torch.testing.assert_close(state(compiled), state(eager), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [ConvNet, lambda classes, shape: ResNet(classes, shape, units=1)], ids=["convnet", "resnet"])
def test_l2rw_in_bf16_is_as_near_the_exact_weights_as_the_unrolled_form_in_bf16(make: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    shape = torch.Size((3, 16, 16))
    method = L2RW()
    method.model = make(10, shape).train()
    images, labels = torch.randn(80, *shape), torch.randint(10, (80,))
    batch, clean = (Batch(images[part], labels[part], labels[part]) for part in (slice(40), slice(40, None)))
    exact = unrolled(method.model, batch, clean)
    with torch.autocast("cpu", torch.bfloat16):
        by_backward = unrolled(method.model, batch, clean)
        losses, weights = method.losses_and_weights(batch, clean)
    assert losses.dtype == torch.float32
    error, reference = (weights - exact).norm(), (by_backward - exact).norm()
    assert reference > 1e-4  # bf16 was at work
    assert error < 1.5 * reference
    assert ((weights > 0) == (exact > 0)).float().mean() > 0.9


def test_bf16_is_another_configuration_and_float32_the_one_it_always_was() -> None:
    default, same, other = (cells([f"precision={name}"] if name else [])[0] for name in ("", "float32", "bf16"))
    assert default.key == same.key
    assert "precision" not in default.identity
    assert other.key != default.key
    assert other.identity["precision"] == "bf16"


def test_how_steps_are_launched_does_not_make_another_configuration() -> None:
    assert (
        len(
            {
                cells([option])[0].key
                for option in ("compile=true", "channels_last=false", "cuda_graphs=false", "side_by_side=3", "processes=3")
            }
        )
        == 1
    )


def test_bf16_trains_as_well_as_float32(tmp_path: Path) -> None:
    accuracies = []
    for precision in ("float32", "bf16"):
        options = ["method=l2rw", f"precision={precision}", "trainer.steps=150", "trials=1", "device=cpu"]
        (cell,) = cells([*options, f"checkpoint_dir={tmp_path}"])
        accuracies.append(trial.prepare(cell, 0).run().history[-1]["test_accuracy"])
    assert accuracies[0] > 0.7
    assert abs(accuracies[0] - accuracies[1]) < 0.05


def test_a_record_says_how_it_was_computed(tmp_path: Path) -> None:
    (cell,) = cells(["method=baseline", "trainer.steps=2", f"checkpoint_dir={tmp_path}", f"results_dir={tmp_path}/r", "precision=bf16"])
    message = trial.run(cell, 0)["environment"]["compute"]
    assert message["precision"] == "bf16"
    assert message["compile"] is False
    assert isinstance(message["channels_last"], bool)


@pytest.mark.parametrize("precision", ["bf61", "float64", "half"])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision: str) -> None:
    with pytest.raises(UserError, match=rf"no precision '{precision}'; nearest: (bf16|float32)"):
        cells([f"precision={precision}"])


def test_a_cuda_graph_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match="cuda_graphs=true needs a CUDA device"):
        trainer("baseline", Compute(cuda_graphs=True))
