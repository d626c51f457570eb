"""The optimiser: the same numbers as torch.optim.SGD, without the imports of that class."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark import ROOT
from benchmark.training.optimisers import make
from benchmark.training.sgd import SGD
from methods.base import decayed_weights
from methods.schedules import Optimiser


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def step(model: nn.Sequential, number: int, frozen: bool = False) -> None:
    """Leave the gradients of a loss; none on the last layer's bias where `frozen`."""
    images = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
    model(images).square().mean().backward()
    if frozen:
        model[2].bias.grad = None


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_every_step_is_that_of_torch_to_the_bit(momentum: float, weight_decay: float) -> None:
    ours, theirs = network(), network()
    groups = [[each[0].weight, each[2].weight] for each in (ours, theirs)], [[each[0].bias, each[2].bias] for each in (ours, theirs)]
    mine = SGD([(groups[0][0], weight_decay), (groups[1][0], 0.0)], momentum)
    reference = torch.optim.SGD(
        [{"params": groups[0][1], "weight_decay": weight_decay}, {"params": groups[1][1]}], lr=1.0, momentum=momentum, fused=True
    )
    for number, lr in enumerate((0.5, 0.5, 0.05, 0.05)):
        for group in reference.param_groups:
            group["lr"] = lr
        mine.zero_grad()
        reference.zero_grad()
        step(ours, number, frozen=number == 2)
        step(theirs, number, frozen=number == 2)
        mine.step(lr)
        reference.step()
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_learning_rate_on_the_device_gives_the_same_step() -> None:
    ends = []
    for lr in (0.1, torch.tensor(0.1)):
        model = network()
        optimiser = make(Optimiser(weight_decay=0.01), model.named_parameters(), decayed_weights(model))
        for number in range(3):
            optimiser.zero_grad()
            step(model, number)
            optimiser.step(lr)
        ends.append(model.state_dict())
    torch.testing.assert_close(ends[0], ends[1])


def test_a_parameter_that_first_gets_a_gradient_later_starts_from_rest() -> None:
    model = network()
    optimiser = SGD([(list(model.parameters()), 0.0)], 0.9)
    before = model[2].bias.detach().clone()
    step(model, 0, frozen=True)
    optimiser.step(0.1)
    assert torch.equal(model[2].bias, before)
    optimiser.zero_grad()
    step(model, 1)
    gradient = model[2].bias.grad.clone()
    optimiser.step(0.1)
    torch.testing.assert_close(model[2].bias, before - 0.1 * gradient)


def test_a_copy_with_the_state_continues_identically() -> None:
    first = network()
    optimiser = SGD([(list(first.parameters()), 0.01)], 0.9)
    step(first, 0)
    optimiser.step(0.1)
    second = copy.deepcopy(first)
    resumed = SGD([(list(second.parameters()), 0.01)], 0.9)
    resumed.load_state_dict(optimiser.state_dict())
    for model, each in ((first, optimiser), (second, resumed)):
        each.zero_grad()
        step(model, 1)
        each.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


FIRST_STEP = """
import os, sys
from benchmark import run
from benchmark.training.running import Running
take_step = Running.take_step
def first(*arguments):
    take_step(*arguments)
    found = {"torch._dynamo", "matplotlib", "benchmark.analysis"} & sys.modules.keys()
    os.write(1, " ".join(["imported:", *found]).encode())
    os._exit(0)
Running.take_step = first
run.main(sys.argv[1:])
sys.exit("no step was taken")
"""


def test_a_run_imports_nothing_slow_before_its_first_step_that_the_step_does_not_need(tmp_path: Path) -> None:
    options = [f"results_dir={tmp_path}", f"checkpoint_dir={tmp_path}", "device=cpu", "trials=1", "method=l2rw"]
    done = subprocess.run([sys.executable, "-c", FIRST_STEP, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "imported:"
