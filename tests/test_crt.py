"""cRT: the parameters and batches of its second phase, and the parts that it does not change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.models.lenet import LeNet
from benchmark.models.resnet import ResNet
from benchmark.training.trainer import Settings, Trainer
from datasets.noise import NoNoise
from methods.base import Batch, View
from methods.baseline import Baseline
from methods.crt import CRT
from methods.early_stopping import EarlyStopping
from methods.schedules import Schedule, Schedules
from robust_benchmark.errors import UserError
from tests.conftest import small_convnet, toy_task
from tests.resuming import CPU, SETTINGS, assert_resumes, trained

SHARE = 0.5  # of ten steps


class Recorded(CRT):
    """Stores the model at the start of the second phase, and the labels of that phase's batches."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.found: dict[str, torch.Tensor] = {}
        self.begun: dict[str, torch.Tensor] = {}
        self.labels: list[torch.Tensor] = []

    def _start_afresh(self, view: View) -> None:
        self.found = copy.deepcopy(self.model.state_dict())
        super()._start_afresh(view)
        self.begun = copy.deepcopy(self.model.state_dict())

    def _classifier_loss(self, batch: Batch) -> torch.Tensor:
        self.labels.append(batch.labels.clone())
        return super()._classifier_loss(batch)


def recorded(**options: Any) -> tuple[Recorded, Trainer]:
    trainer = trained(lambda: Recorded(share=SHARE, **options))
    assert isinstance(trainer.method, Recorded)
    return trainer.method, trainer


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_features_stay_bit_for_bit() -> None:
    method, _ = recorded()
    assert changed(method.begun, method.model.state_dict()) == {"output.weight", "output.bias"}


def test_adapting_batch_norm_moves_running_averages_and_nothing_else_of_the_features() -> None:
    method, _ = recorded(bn="adapt")
    statistics = {name for name in method.begun if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")}
    assert len(statistics) == 6
    assert changed(method.begun, method.model.state_dict()) == {"output.weight", "output.bias"} | statistics


def test_the_first_phase_is_plain_training_bit_for_bit() -> None:
    method, _ = recorded()
    torch.testing.assert_close(method.found, trained(Baseline).method.get_submodule("model").state_dict(), rtol=0, atol=0)


def test_the_second_phase_begins_with_the_output_layer_of_a_second_model() -> None:
    made = []

    def make_model(classes: int, shape: torch.Size) -> nn.Module:
        made.append(small_convnet(classes, shape))
        return copy.deepcopy(made[-1])

    method = Recorded(share=SHARE)
    Trainer(method, make_model, toy_task(), SETTINGS, 1, CPU).run()
    assert len(made) == 2
    expected = {f"output.{name}": value for name, value in made[1].get_submodule("output").state_dict().items()}
    assert changed(method.found, method.begun) == expected.keys()
    torch.testing.assert_close({name: method.begun[name] for name in expected}, expected, rtol=0, atol=0)


@pytest.mark.parametrize("bn", ["frozen", "adapt"])
def test_the_second_phase_trains_a_linear_model_of_the_features_by_momentum_sgd(bn: str) -> None:
    """Its steps by torch.optim, from the batches that the trainer gave."""
    batches: list[Batch] = []

    class Kept(Recorded):
        def _classifier_loss(self, batch: Batch) -> torch.Tensor:
            batches.append(Batch(batch.images.clone(), batch.labels.clone()))
            return super()._classifier_loss(batch)

    method = Kept(share=SHARE, bn=bn)
    Trainer(method, small_convnet, toy_task(), SETTINGS, 1, CPU).run()
    model = small_convnet(3, torch.Size((1, 8, 8))).train(bn == "adapt")
    model.load_state_dict(method.begun)
    optimiser = torch.optim.SGD(model.get_submodule("output").parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5)
    for batch in batches:
        optimiser.zero_grad()
        F.cross_entropy(model(batch.images), batch.labels).backward()
        optimiser.step()
        schedule.step()
    torch.testing.assert_close(method.model.state_dict(), model.state_dict())


def test_batches_of_the_second_phase_have_equal_numbers_of_each_label() -> None:
    method, _ = recorded()
    assert len(method.labels) == 5
    counts = torch.stack([torch.bincount(labels, minlength=3) for labels in method.labels])
    assert counts.sum(dim=1).tolist() == [20] * 5
    assert set(counts.flatten().tolist()) == {6, 7}


@pytest.mark.parametrize(("share", "steps"), [(0.1, 8_000), (0.25, 20_000)])
def test_the_second_phase_comes_on_top_at_the_main_learning_rate_along_a_cosine(share: float, steps: int) -> None:
    schedules = Schedules(Schedule(80_000, 0.1, (40_000, 60_000)), early_stopping=Schedule(60_000, 0.1, (40_000,)))
    first, second = CRT(share=share).phases(schedules)
    assert first.schedule == schedules.main
    assert second.schedule.steps == steps
    rates = [second.schedule.lr_at(step) for step in (0, steps // 2, steps - 1)]
    assert rates == pytest.approx([0.1, 0.05, 0.0], abs=1e-8)
    assert EarlyStopping(CRT()).phases(schedules)[1].schedule.steps == 6_000


def test_the_method_is_in_training_form_after_the_loss() -> None:
    method = CRT()
    trainer = Trainer(method, small_convnet, toy_task(NoNoise()), SETTINGS, 1, CPU)
    batch = next(iter(trainer.view.batches()))
    method._classifier_loss(batch)
    assert all(module.training for module in method.modules())


@pytest.mark.parametrize("bn", ["frozen", "adapt"])
def test_the_gradient_is_of_the_output_layer_alone(bn: str) -> None:
    method = CRT(bn=bn)
    trainer = Trainer(method, small_convnet, toy_task(NoNoise()), SETTINGS, 1, CPU)
    method._classifier_loss(next(iter(trainer.view.batches()))).backward()
    assert {name for name, parameter in method.named_parameters() if parameter.grad is not None} == {
        "model.output.weight",
        "model.output.bias",
    }


@pytest.mark.parametrize("make_model", [LeNet, lambda classes, shape: ResNet(classes, shape, units=1)], ids=["lenet", "resnet"])
def test_other_models_have_their_features_frozen_too(make_model: Any) -> None:
    method = Recorded(share=SHARE)
    settings = Settings(Schedules(Schedule(2, lr=0.01)), batch_size=20)
    Trainer(method, make_model, toy_task(), settings, 1, CPU).run()
    assert changed(method.begun, method.model.state_dict()) == {"output.weight", "output.bias"}


def test_a_model_without_features_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^crt needs a model with `features` and a linear layer `output`, which Sequential does not have$"):
        Trainer(CRT(), lambda classes, _: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)), toy_task(), SETTINGS, 1, CPU)


def test_with_adapting_batch_norm_a_stopped_trial_ends_bit_for_bit_as_an_undisturbed_one(tmp_path: Path) -> None:
    assert_resumes(lambda: CRT(share=SHARE, bn="adapt"), tmp_path, (1, 9, 10, 12, 15))  # tests/test_conformance.py stops the default
