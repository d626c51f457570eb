"""SAM against its definition: copy the method, move the copy's parameters, and take the gradient there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.training.trainer import Trainer
from methods.base import Batch, Clock, Method, Objective, Phase, Update, Weighted, scalar
from methods.baseline import Baseline
from methods.early_stopping import EarlyStopping
from methods.elr import ELR
from methods.finetune import FineTune
from methods.l2rw import L2RW
from methods.random import Random
from methods.sam import SAM
from methods.schedules import Optimiser, Schedule, Schedules
from tests.by_hand import Stepping, TinyNet, bench, gradient_of, some_images, some_labels
from tests.conftest import small_convnet, toy_task
from tests.references import sam as reference
from tests.resuming import CPU, SETTINGS, assert_resumes, assert_same_state, trained

Parameters = dict[str, torch.Tensor]


class Quadratic(Method):
    """1/2 theta' H theta, for any batch."""

    def __init__(self, H: torch.Tensor, start: torch.Tensor) -> None:
        super().__init__()
        self.H, self.theta = H, nn.Parameter(start)

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.theta @ self.H @ self.theta / 2


BASES: dict[str, Callable[[], Method]] = {
    "baseline": Baseline,
    "random weights": Random,
    "state of each example": ELR,
    "L2RW": lambda: L2RW(clean_batch_size=6),
    "fine-tuning": lambda: FineTune(Random()),
}


def ready(base: Method, **options: float) -> SAM:
    """Return the method in float64, after a few steps, so that batch norm's averages and per-example state differ from the initial ones."""
    method = SAM(base, **options)  # type: ignore[arg-type]
    Trainer(method, small_convnet, toy_task(), replace(SETTINGS, evaluate_every=100), 0, CPU).run()
    return method.double().train()


def objectives(method: Method) -> Iterator[Objective]:
    return (update.objective for phase in method.phases(Schedules()) for update in phase.updates)


def batch_of(size: int, seed: int, draws: list[int] | None = None) -> Batch:
    """Its clean batches are another at each draw; `draws` counts them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (size,), generator=generator)
    draws = [0] if draws is None else draws

    def draw(size: int) -> Batch:
        draws[0] += 1
        return batch_of(size, 100 + draws[0])

    return Batch(images, labels, torch.arange(size), draw, clock=Clock(10))


def evaluated(method: Method, objective_number: int, batch: Batch) -> tuple[torch.Tensor | Weighted, Parameters]:
    """An objective of the base and its gradient, by the name of the parameter."""
    torch.manual_seed(9)
    value = [*objectives(method)][objective_number](batch)
    for parameter in method.parameters():
        parameter.grad = None
    scalar(value).backward()
    return value, {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}


def moved_copy(base: Method, gradient: Parameters, rho: float, adaptive: bool) -> Method:
    """A copy of the base at theta + e."""
    moved = copy.deepcopy(base)
    parameters = {name: parameter for name, parameter in moved.named_parameters() if name in gradient}
    s = {name: theta.detach().abs() if adaptive else torch.ones_like(theta) for name, theta in parameters.items()}
    norm = torch.cat([(s[name] * gradient[name]).flatten() for name in parameters]).square().sum().sqrt()
    with torch.no_grad():
        for name, theta in parameters.items():
            theta += rho * s[name] ** 2 * gradient[name] / (norm + 1e-12)
    return moved


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", BASES)
def test_the_gradient_is_that_of_a_copy_at_the_perturbed_parameters(name: str, adaptive: bool) -> None:
    method = ready(BASES[name](), rho=0.3, adaptive=adaptive)
    for number, _ in enumerate(objectives(method)):
        base = copy.deepcopy(method.base)
        _, gradient = evaluated(copy.deepcopy(base), number, batch_of(12, 1))
        expected_value, expected = evaluated(moved_copy(base, gradient, 0.3, adaptive), number, batch_of(12, 1))
        value, found = evaluated(method, number, batch_of(12, 1))
        torch.testing.assert_close(scalar(value), scalar(expected_value), rtol=1e-12, atol=0)
        torch.testing.assert_close(found, {f"base.{name}": part for name, part in expected.items()}, rtol=1e-9, atol=1e-12)
        assert isinstance(value, Weighted) == isinstance(expected_value, Weighted)
        if isinstance(value, Weighted) and isinstance(expected_value, Weighted):
            torch.testing.assert_close(value.example_weights, expected_value.example_weights, rtol=1e-10, atol=1e-14)


def tied(model: nn.Module, parameters: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Logits at other parameters; the running statistics stay."""
    named = dict(zip((name for name, _ in model.named_parameters()), parameters, strict=True))
    return torch.func.functional_call(copy.deepcopy(model).train(), named, (images,))


def test_both_passes_share_the_dropout_mask() -> None:
    labels, index = some_labels(20), torch.arange(8)
    config = {"name": "sam", "base": {"name": "baseline"}, "rho": 0.3}
    b = bench(config, labels, some_images(20), lambda outputs: TinyNet(outputs, dropout=0.5))
    model = copy.deepcopy(b.models[0])

    def loss(parameters: list[torch.Tensor]) -> torch.Tensor:
        torch.manual_seed(7)
        return F.cross_entropy(tied(model, parameters, b.images[index]), labels[index])

    expected = reference.gradient(loss, list(model.parameters()), 0.3)
    torch.manual_seed(7)
    seen = Stepping(b.method, b.phases()[0]).step(b.batch(index))
    torch.testing.assert_close(gradient_of(seen, b.method, b.models[0]), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", BASES)
def test_state_moves_once_as_by_a_step_of_the_base_alone(name: str) -> None:
    method = ready(BASES[name](), rho=0.3)
    base = copy.deepcopy(method.base)
    before = copy.deepcopy(dict(base.named_buffers()))
    draws, expected_draws = [0], [0]
    evaluated(base, 0, batch_of(12, 1, expected_draws))
    evaluated(method, 0, batch_of(12, 1, draws))
    torch.testing.assert_close(dict(method.base.named_buffers()), dict(base.named_buffers()), rtol=0, atol=0)
    assert any(not torch.equal(buffer, before[buffer_name]) for buffer_name, buffer in base.named_buffers())
    assert draws == expected_draws


@pytest.mark.parametrize("name", BASES)
def test_at_radius_zero_training_is_that_of_the_base_bit_for_bit(name: str) -> None:
    plain, sharp = trained(BASES[name]), trained(lambda: SAM(BASES[name](), rho=0.0))
    assert sharp.progress.history == plain.progress.history
    assert_same_state(sharp.method.base, plain.method)  # type: ignore[arg-type]


def quadratic() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    return root @ root.T, torch.randn(5, generator=generator, dtype=torch.float64)


def test_on_a_quadratic_the_gradient_has_its_closed_form() -> None:
    H, theta = quadratic()
    method = SAM(Quadratic(H, theta.clone()), rho=0.4)
    _, gradient = evaluated(method, 0, batch_of(1, 0))
    g = H @ theta
    torch.testing.assert_close(gradient["base.theta"], H @ (theta + 0.4 * g / g.norm()))


@pytest.mark.parametrize("rho", [0.05, 2.0])
def test_the_step_is_rho_long(rho: float) -> None:
    _, theta = quadratic()
    identity = torch.eye(5, dtype=torch.float64)
    _, gradient = evaluated(SAM(Quadratic(identity, theta.clone()), rho=rho), 0, batch_of(1, 0))
    torch.testing.assert_close((gradient["base.theta"] - theta).norm(), torch.tensor(rho, dtype=torch.float64))
    _, gradient = evaluated(SAM(Quadratic(identity, theta.clone()), rho=rho, adaptive=True), 0, batch_of(1, 0))
    torch.testing.assert_close(((gradient["base.theta"] - theta) / theta.abs()).norm(), torch.tensor(rho, dtype=torch.float64))


def test_a_gradient_of_zero_moves_nothing() -> None:
    method = SAM(Quadratic(*(torch.zeros_like(part) for part in quadratic())), rho=0.5)
    _, gradient = evaluated(method, 0, batch_of(1, 0))
    assert gradient["base.theta"].tolist() == [0.0] * 5


def test_updates_with_parts_of_their_own_stay_as_they_are() -> None:
    own = Update(lambda batch: torch.zeros(()), parts=("model",), optimiser=Optimiser("sgd", lr=0.1))

    class Two(Baseline):
        def phases(self, schedules: Schedules) -> list[Phase]:
            return [Phase("main", schedules.main, (own, Update(self.loss)))]

    first, second = SAM(Two()).phases(Schedules())[0].updates
    assert first == replace(own, parts=("base.model",))
    assert second.objective != Two.loss


def test_evaluation_is_at_the_parameters_themselves() -> None:
    method = ready(Baseline(), rho=5.0).eval()
    images = batch_of(12, 1).images
    torch.testing.assert_close(method.predict(images), method.base.model(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["state of each example", "L2RW", "fine-tuning"])
def test_a_stopped_trial_ends_bit_for_bit_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    assert_resumes(lambda: SAM(BASES[name](), rho=0.2), tmp_path, (1, 6, 10))


class TwoOptimisers(Baseline):
    """Its output layer has an optimiser of its own."""

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, (Update(self.loss, ("model.output",), Optimiser("sgd", lr=0.3)), Update(self.loss)))]


@pytest.mark.parametrize(
    "wrap",
    [lambda base: SAM(base, rho=0.0), FineTune, EarlyStopping, lambda base: SAM(FineTune(base), rho=0.0)],
    ids=["sam", "ft", "es", "both"],
)
def test_a_wrapper_s_base_trains_its_parts_by_their_own_optimiser(wrap: Callable[[Method], Method]) -> None:
    schedules = replace(SETTINGS.schedules, early_stopping=SETTINGS.schedules.main, finetune=Schedule(1, lr=0.0))
    settings = replace(SETTINGS, schedules=schedules)
    plain, wrapped = trained(TwoOptimisers, settings=settings), trained(lambda: wrap(TwoOptimisers()), settings=settings)
    expected, found = dict(plain.method.named_parameters()), [*wrapped.method.parameters()]
    torch.testing.assert_close(found, [*expected.values()], rtol=0, atol=0)
