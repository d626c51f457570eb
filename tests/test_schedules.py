"""Learning rates along a schedule: those of PyTorch's schedulers, and the same on a part as on the whole curve."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from benchmark.config import cells
from methods.schedules import Schedule

STEPS = 40
CURVES = [
    Schedule(STEPS, 0.3, (10, 25), 0.2),
    Schedule(STEPS, 0.3, cosine=True),
    Schedule(STEPS, 0.3, cosine=True, final_share=0.01, warm_up=8),
    Schedule(STEPS, 0.3, (10, 25), 0.2, warm_up=8),
]


def rates(schedule: Schedule) -> list[float]:
    return [schedule.lr_at(step) for step in range(schedule.steps)]


def torch_rates(scheduler: LRScheduler) -> list[float]:
    found = []
    for _ in range(STEPS):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def optimiser() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)


def warming(sgd: torch.optim.SGD, steps: int) -> LinearLR:
    return LinearLR(sgd, start_factor=1 / steps, total_iters=steps - 1)


def test_decays_are_those_of_multi_step_lr() -> None:
    assert rates(CURVES[0]) == pytest.approx(torch_rates(MultiStepLR(optimiser(), [10, 25], 0.2)))


@pytest.mark.parametrize("final_share", [0.0, 0.01])
def test_a_cosine_is_that_of_cosine_annealing_lr(final_share: float) -> None:
    schedule = Schedule(STEPS, 0.3, cosine=True, final_share=final_share)
    assert rates(schedule) == pytest.approx(torch_rates(CosineAnnealingLR(optimiser(), STEPS, eta_min=0.3 * final_share)))


@pytest.mark.parametrize("warm_up", [2, 8])
def test_a_warm_up_before_a_cosine_is_linear_lr_before_cosine_annealing_lr(warm_up: int) -> None:
    sgd = optimiser()
    theirs = SequentialLR(sgd, [warming(sgd, warm_up), CosineAnnealingLR(sgd, STEPS - warm_up)], milestones=[warm_up])
    assert rates(Schedule(STEPS, 0.3, cosine=True, warm_up=warm_up)) == pytest.approx(torch_rates(theirs))


def test_a_warm_up_multiplies_the_decays() -> None:
    warm = rates(CURVES[3])
    assert warm[:8] == pytest.approx(torch_rates(warming(optimiser(), 8))[:8])
    assert warm[8:] == rates(CURVES[0])[8:]


def test_a_schedule_of_decays_has_the_numbers_it_always_had_to_the_bit() -> None:
    for step in range(STEPS):
        assert CURVES[0].lr_at(step) == 0.3 * 0.2 ** sum(step >= at for at in (10, 25))


@pytest.mark.parametrize("curve", CURVES)
def test_parts_one_after_another_have_the_learning_rates_of_the_whole(curve: Schedule) -> None:
    parts = [curve.part(0, 5), curve.part(5, 30), curve.part(30, STEPS)]
    assert [part.steps for part in parts] == [5, 25, 10]
    assert [rate for part in parts for rate in rates(part)] == rates(curve)
    assert rates(parts[1].part(2, 20)) == rates(curve)[7:25]


@pytest.mark.parametrize(("begin", "end"), [(-1, 3), (3, STEPS + 1), (4, 3)])
def test_steps_outside_a_schedule_are_no_part_of_it(begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="no steps"):
        CURVES[0].part(begin, end)


def test_the_options_of_the_trainer_shape_every_schedule() -> None:
    (cell,) = cells(["trainer=cifar", "trainer.cosine=true", "trainer.final_share=0.1", "trainer.warm_up=0.25"])
    schedules = cell.config.trainer.schedules()
    assert schedules.main == Schedule(80_000, 0.1, cosine=True, final_share=0.1, warm_up=20_000)
    assert schedules.finetune == Schedule(5_000, 0.001, cosine=True, final_share=0.1, warm_up=1_250)
