"""Optimisers, clipping and averages: the same numbers as PyTorch's, in place, without waiting for the device."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark import ROOT, trial
from benchmark.config import cells
from benchmark.training.averaging import Average
from benchmark.training.optimisers import clip, make
from benchmark.training.sgd import InPlaceOptimiser
from benchmark.training.trainer import Settings, Trainer
from methods.base import decayed_weights
from methods.crt import CRT
from methods.schedules import Optimiser, Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import small_convnet, toy_task

SPECS = {
    "sgd": Optimiser(weight_decay=0.1),
    "nesterov": Optimiser(nesterov=True, weight_decay=0.1),
    "adam": Optimiser("adam", weight_decay=0.1, betas=(0.8, 0.95)),
    "adamw": Optimiser("adamw", weight_decay=0.1, betas=(0.8, 0.95)),
}
RATES = (0.05, 0.05, 0.02, 0.02, 0.01)


def network() -> nn.Sequential:
    """Batch norm, and a convolution and linear layers, on whose weights weight decay acts."""
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2))


def backward(model: nn.Sequential, number: int) -> None:
    """Leave the gradients of a loss; none on the last bias at step 1."""
    model.zero_grad()
    images = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(number))
    model(images).square().mean().backward()
    if number == 1:
        model[5].bias.grad = None


def ours(model: nn.Sequential, spec: Optimiser) -> InPlaceOptimiser:
    return make(spec, model.named_parameters(), decayed_weights(model))


def theirs(model: nn.Sequential, name: str, fused: bool) -> torch.optim.Optimizer:
    decayed = [model[1].weight, model[3].weight, model[5].weight]
    others = [*model[0].parameters(), model[1].bias, model[3].bias, model[5].bias]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    if name in ("sgd", "nesterov"):
        return torch.optim.SGD(groups, momentum=0.9, nesterov=name == "nesterov", fused=fused)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(groups, betas=(0.8, 0.95), fused=fused)


def train(model: nn.Sequential, optimiser: InPlaceOptimiser, steps: range) -> None:
    for number in steps:
        backward(model, number)
        optimiser.step(RATES[number])


def torch_train(model: nn.Sequential, optimiser: torch.optim.Optimizer) -> None:
    for number, lr in enumerate(RATES):
        backward(model, number)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def tensors(optimiser: InPlaceOptimiser) -> Iterator[torch.Tensor]:
    for state in optimiser.state_dict()["state"].values():
        yield from state.values()


@pytest.mark.parametrize("name", SPECS)
def test_steps_are_those_of_torch_s_fused_optimisers_to_the_bit(name: str) -> None:
    mine, reference = network(), network()
    train(mine, ours(mine, SPECS[name]), range(len(RATES)))
    torch_train(reference, theirs(reference, name, fused=True))
    assert same(mine, reference)


@pytest.mark.parametrize("name", SPECS)
def test_steps_are_those_of_torch_s_plain_optimisers_to_rounding(name: str) -> None:
    mine, reference = network(), network()
    train(mine, ours(mine, SPECS[name]), range(len(RATES)))
    torch_train(reference, theirs(reference, name, fused=False))
    torch.testing.assert_close(mine.state_dict(), reference.state_dict())


@pytest.mark.parametrize("name", SPECS)
def test_a_learning_rate_on_the_device_gives_the_same_step(name: str) -> None:
    mine, other = network(), network()
    for model, lr in ((mine, 0.05), (other, torch.tensor(0.05))):
        optimiser = ours(model, SPECS[name])
        backward(model, 0)
        optimiser.step(lr)
    torch.testing.assert_close(mine.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", SPECS)
def test_a_parameter_without_a_gradient_stays_as_it_is_with_its_state(name: str) -> None:
    model = network()
    optimiser = ours(model, SPECS[name])
    train(model, optimiser, range(1))
    before = model[5].bias.detach().clone()
    states = [tensor.clone() for tensor in optimiser.state_dict()["state"][7].values()]
    train(model, optimiser, range(1, 2))
    assert torch.equal(model[5].bias, before)
    assert all(torch.equal(a, b) for a, b in zip(states, optimiser.state_dict()["state"][7].values(), strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_a_new_optimiser_that_takes_over_a_state_continues_bit_for_bit(name: str) -> None:
    model, whole = network(), network()
    optimiser = ours(model, SPECS[name])
    train(model, optimiser, range(3))
    resumed = copy.deepcopy(model)
    fresh = ours(resumed, SPECS[name])
    fresh.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    train(resumed, fresh, range(3, 5))
    train(whole, ours(whole, SPECS[name]), range(5))
    assert same(resumed, whole)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("earlier", [0, 2])
def test_going_back_to_a_state_moves_no_tensor_and_repeats_the_steps(name: str, earlier: int) -> None:
    model = network()
    optimiser = ours(model, SPECS[name])
    addresses = [tensor.data_ptr() for tensor in tensors(optimiser)]
    train(model, optimiser, range(earlier))
    weights, saved = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
    train(model, optimiser, range(earlier, 4))
    ended = copy.deepcopy(model)
    model.load_state_dict(weights)
    optimiser.load_state_dict(saved)
    train(model, optimiser, range(earlier, 4))
    assert same(model, ended)
    assert [tensor.data_ptr() for tensor in tensors(optimiser)] == addresses


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no kind of optimiser 'adamm'; nearest: adam"):
        ours(network(), Optimiser("adamm"))


def test_making_an_optimiser_and_its_steps_do_not_import_torchdynamo() -> None:
    code = (
        "import sys, torch; from benchmark.training.optimisers import make; from methods.schedules import Optimiser\n"
        "w = torch.nn.Parameter(torch.ones(1)); w.grad = torch.ones(1)\n"
        "for kind in Optimiser.KINDS: make(Optimiser(kind), [('w', w)], []).step(0.1)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- clipping


@pytest.mark.parametrize(("max_norm", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_clipping_scales_all_gradients_by_their_common_norm(max_norm: float, expected: list[float]) -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    clip(parameters, max_norm)
    assert [parameter.grad.item() for parameter in parameters[:2]] == pytest.approx(expected)
    assert parameters[2].grad is None


# --- averages


def test_an_average_is_that_of_torch_from_the_initial_parameters_on() -> None:
    model = network()
    average, reference = Average(model, 0.9), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    reference.update_parameters(model)  # its first update copies
    optimiser = ours(model, SPECS["sgd"])
    for number in range(4):
        train(model, optimiser, range(number, number + 1))
        average.update()
        reference.update_parameters(model)
    with average.swapped():
        assert same(model, reference.module)


def test_an_average_is_the_closed_form() -> None:
    layer = nn.Linear(1, 1, bias=False)
    values = torch.tensor([1.0, 4.0, -2.0, 0.5])
    nn.init.constant_(layer.weight, 1.0)
    average = Average(layer, 0.75)
    for value in values[1:]:
        nn.init.constant_(layer.weight, value.item())
        average.update()
    weights = torch.tensor([0.75**3, 0.25 * 0.75**2, 0.25 * 0.75, 0.25])
    assert average.state()["weight"].item() == pytest.approx((weights * values).sum().item())


def test_after_an_evaluation_with_averages_the_parameters_are_back_to_the_bit_at_their_addresses() -> None:
    model = network()
    average = Average(model, 0.5)
    train(model, ours(model, SPECS["sgd"]), range(2))
    average.update()
    with torch.no_grad():
        model[3].bias[0] = float("nan")
    bits = [parameter.detach().clone().view(torch.int32) for parameter in model.parameters()]
    addresses = [parameter.data_ptr() for parameter in model.parameters()]

    with average.swapped():
        assert torch.equal(model[0].weight, average.state()["0.weight"])
    with pytest.raises(ZeroDivisionError), average.swapped():
        raise ZeroDivisionError
    assert all(torch.equal(a, b.view(torch.int32)) for a, b in zip(bits, model.parameters(), strict=True))
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses


def test_buffers_are_those_of_training() -> None:
    model = network()
    average = Average(model, 0.5)
    train(model, ours(model, SPECS["sgd"]), range(2))
    before = model[0].running_mean.clone()
    with average.swapped():
        assert torch.equal(model[0].running_mean, before)


def test_an_average_restored_continues_bit_for_bit_in_place() -> None:
    model = network()
    average = Average(model, 0.9)
    train(model, ours(model, SPECS["sgd"]), range(2))
    average.update()
    saved = copy.deepcopy(average.state())
    fresh = Average(model, 0.9)
    addresses = [tensor.data_ptr() for tensor in fresh.state().values()]
    fresh.restore(saved)
    train(model, ours(model, SPECS["sgd"]), range(2, 3))
    for each in (average, fresh):
        each.update()
    assert all(torch.equal(average.state()[name], fresh.state()[name]) for name in saved)
    assert [tensor.data_ptr() for tensor in fresh.state().values()] == addresses


def test_a_parameter_that_a_method_sets_back_begins_its_average_again_and_others_do_not() -> None:
    model = network()
    average = Average(model, 0.9)
    train(model, ours(model, SPECS["sgd"]), range(2))
    before = copy.deepcopy(average.state())
    with average.restarted(), torch.no_grad():
        model[0].weight.zero_()
    assert not average.state()["0.weight"].any()
    assert all(torch.equal(value, average.state()[name]) for name, value in before.items() if name != "0.weight")


def test_a_classifier_that_starts_afresh_is_evaluated_by_an_average_that_does_too() -> None:
    crt, settings = CRT(share=0.1), Settings(Schedules(Schedule(20, 0.05)), batch_size=20, ema=0.99)
    trainer = Trainer(crt, small_convnet, toy_task(), settings, 1, torch.device("cpu"))
    for number, phase in enumerate(trainer.phases):
        trainer.progress.phase = number
        running = trainer.running(phase)
        running.begin(trainer.view)
        if number == 0:
            for _ in range(phase.schedule.steps):
                running.take_step(trainer.view)
    with trainer.evaluated():
        torch.testing.assert_close(crt.model.output.state_dict(), crt.fresh.state_dict(), rtol=0, atol=0)


# --- the device


class NoReading(TorchDispatchMode):
    """Fails if a value goes to the host, which would have to wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", SPECS)
def test_no_step_clipping_or_average_reads_a_value_back(name: str) -> None:
    model = network()
    optimiser, average, lr = ours(model, SPECS[name]), Average(model, 0.9), torch.tensor(0.05)
    for number in range(2):
        backward(model, number)
        with NoReading():
            clip(model.parameters(), 0.1)
            optimiser.step(lr)
            average.update()
    with pytest.raises(AssertionError), NoReading():
        lr.item()


# --- options


def test_the_options_of_the_trainer_make_the_optimiser() -> None:
    changed = ["trainer.optimiser=adamw", "trainer.betas=[0.5,0.9]", "trainer.weight_decay=0.01"]
    assert cells(changed)[0].config.trainer.optimiser_spec() == Optimiser("adamw", weight_decay=0.01, betas=(0.5, 0.9))
    assert cells([])[0].config.trainer.optimiser_spec() == Optimiser()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.optimiser=adamm", "no trainer.optimiser 'adamm'; nearest: adam"),
        ("trainer.betas=[0.9]", "trainer.betas must be two numbers"),
        ("trainer.betas=[0.9,1]", r"trainer.betas must be a list of numbers in \[0, 1\), not \[0.9, 1\]"),
        ("trainer.clip_norm=-1", "trainer.clip_norm must be a number of at least 0, not -1"),
        ("trainer.ema=1", r"trainer.ema must be a number in \[0, 1\), not 1"),
        ("trainer.warm_up=2", r"trainer.warm_up must be a number in \[0, 1\], not 2"),
        ("trainer.final_share=0.1", "trainer.final_share=0.1 needs trainer.cosine=true"),
        ("trainer.main.share=-1", "trainer.main.share must be a number above 0, not -1"),
        ("trainer.finetune.lr=-1", "trainer.finetune.lr must be a number of at least 0 or null, not -1"),
    ],
)
def test_a_wrong_option_is_one_sentence(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells([override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.preprocessing.pad=1.5"], "dataset.preprocessing.pad must be a whole number of at least 0, not 1.5"),
        (["dataset.preprocessing.flip=maybe"], "flip must be true or false, not 'maybe'"),
        (["dataset.preprocessing=3"], "must give `preprocessing`, a mapping of options, but has 3"),
        (["+dataset.preprocessing.padd=1"], "no option 'dataset.preprocessing.padd'; nearest: dataset.preprocessing.pad "),
        (["model.width=1.5"], "model.width must be a whole number of at least 1, not 1.5"),
        (["+model.depth=2"], "no option 'model.depth'; nearest: model.width "),
        (["model=resnet32", "model.units=1.5"], "model.units must be a whole number of at least 1, not 1.5"),
        (["model=mlp", "model.hidden=[1.5]"], "model.hidden must be a list of whole numbers of at least 1, not .1.5."),
    ],
)
def test_nonsense_of_data_and_models_is_one_sentence_before_training(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trial.prepare(cells(["dataset=digits", *overrides])[0], 0)


@pytest.mark.parametrize("override", ["trainer.optimiser=adam", "trainer.momentum=0"])
def test_nesterov_needs_sgd_with_momentum(override: str) -> None:
    with pytest.raises(UserError, match=r"trainer.nesterov=true needs trainer.optimiser=sgd with a momentum above 0"):
        cells(["trainer.nesterov=true", override])


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.optimiser=adam"],
        ["trainer.nesterov=true"],
        ["trainer.betas=[0.5,0.9]"],
        ["trainer.clip_norm=5"],
        ["trainer.ema=0.9"],
        ["trainer.cosine=true"],
        ["trainer.cosine=true", "trainer.final_share=0.1"],
        ["trainer.warm_up=0.1"],
    ],
    ids=" ".join,
)
def test_every_new_option_changes_the_key_and_its_default_does_not(overrides: list[str]) -> None:
    assert cells(overrides)[0].key != cells(overrides[:-1])[0].key
    assert not {"optimiser", "nesterov", "betas", "ema", "cosine"} & cells([])[0].identity["trainer"].keys()
