"""Methods that select examples, weights or layers: against references in plain loops, and closed forms."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Knowledge, Method, Update, Weighted, decayed_weights, scalar
from methods.registry import build
from methods.shares import split
from robust_benchmark.errors import UserError
from tests.by_hand import CLASSES, Bare, Bench, Stepping, TinyNet, at, bench, gradient_of, schedules, some_images, some_labels
from tests.references import coteaching, cross_entropies
from tests.references import selection as reference
from tests.resuming import assert_same_state, trainer_of

N = 30
PIXELS = (1, 1, CLASSES)
LABELS = some_labels(N, seed=3)
INDEX = torch.tensor([4, 0, 11, 7, 19, 2, 25])


def on_logits(**config: Any) -> Bench:
    return bench(config, LABELS, some_images(N, 7, PIXELS, 1.5), lambda _: Bare(), wrong=12)


def on_images(**config: Any) -> Bench:
    return bench(config, LABELS, some_images(N), wrong=12)


def losses_of(b: Bench, index: torch.Tensor) -> list[float]:
    return cross_entropies(b.images[index].numpy().reshape(len(index), CLASSES), LABELS[index].numpy()).tolist()


def weighted(found: torch.Tensor | Weighted) -> Weighted:
    assert isinstance(found, Weighted)
    return found


def test_a_schedule_is_split_into_all_of_its_steps() -> None:
    whole = schedules(97).main
    for shares in ((), (0.5,), (0.1, 0.1, 0.9), (0.0, 1.0)):
        parts = split(whole, *shares)
        assert len(parts) == len(shares) + 1
        assert sum(part.steps for part in parts) == 97
        assert all(one.begin + one.steps == other.begin for one, other in pairwise(parts))


# self-paced learning


@pytest.mark.parametrize("step", [0, 3, 4, 10, 19])
@pytest.mark.parametrize("soft", [False, True])
def test_self_paced_weights_minimise_the_joint_objective_at_the_threshold_of_its_stage(soft: bool, step: int) -> None:
    b = on_logits(name="self_paced", soft=soft, stages=5)
    phase = b.phases()[1]
    assert phase.before is not None
    phase.before(b.view)
    threshold = float(np.sort(losses_of(b, torch.arange(N)))[(N - 1) // 2]) * 1.3 ** (step // 4)
    losses = losses_of(b, INDEX)
    v = np.array(reference.self_paced_soft(losses, threshold) if soft else reference.self_paced(losses, threshold))
    found = weighted(b.method.loss(b.batch(INDEX, clock=at(step, steps=20))))
    np.testing.assert_allclose(found.example_weights, v / v.sum(), rtol=1e-5)
    assert found.loss.item() == pytest.approx((v * losses).sum() / v.sum(), rel=1e-6)


def test_self_paced_without_anything_below_the_threshold_has_no_gradient_and_no_nan() -> None:
    b = on_logits(name="self_paced")
    b.method.threshold.zero_()  # type: ignore[operator]
    images = b.images[INDEX].requires_grad_()
    for soft in (False, True):
        b.method.soft = soft  # type: ignore[assignment]
        (gradient,) = torch.autograd.grad(scalar(b.method.loss(b.batch(INDEX, images=images))), images)
        assert (gradient == 0).all()


def test_self_paced_with_an_endless_threshold_is_cross_entropy() -> None:
    b = on_logits(name="self_paced")
    b.method.threshold.fill_(math.inf)  # type: ignore[operator]
    assert scalar(b.method.loss(b.batch(INDEX))).item() == pytest.approx(np.mean(losses_of(b, INDEX)))


# small losses


@pytest.mark.parametrize("wrong", [0, 3, 12, 29])
def test_small_loss_trains_on_the_share_of_right_labels_with_the_smallest_losses(wrong: int) -> None:
    b = bench({"name": "small_loss"}, LABELS, some_images(N, 7, PIXELS, 1.5), lambda _: Bare(), wrong=wrong)
    losses = losses_of(b, INDEX)
    k = max(1, coteaching.kept(1 - wrong / N, len(INDEX)))
    kept = coteaching.smallest(np.array(losses), k)
    found = weighted(b.method.loss(b.batch(INDEX)))
    assert found.loss.item() == pytest.approx(np.mean([losses[i] for i in kept]))
    np.testing.assert_allclose(found.example_weights, [(i in kept) / k for i in range(7)])


def test_small_loss_estimates_the_rate_by_the_higher_of_two_heaps_of_losses() -> None:
    b = on_logits(name="small_loss", rate="estimated")
    b.images.copy_(4 * F.one_hot(torch.where(torch.arange(N) < 12, (LABELS + 1) % CLASSES, LABELS), CLASSES).view(N, *PIXELS))
    warm_up, selection = b.phases()
    assert warm_up.before is None
    assert selection.before is not None
    assert b.method.noise_rate == 0
    selection.before(b.view)
    assert b.method.noise_rate.item() == pytest.approx(12 / N)  # type: ignore[union-attr,operator]


def test_small_loss_needs_the_noise_rate_unless_it_is_estimated() -> None:
    assert build({"name": "small_loss"}).needs == Knowledge.NOISE_RATE
    assert build({"name": "small_loss", "rate": "estimated"}).needs == Knowledge.NONE


@pytest.mark.parametrize("name", ["small_loss", "self_paced"])
def test_both_warm_up_by_plain_training_for_their_share(name: str) -> None:
    b = on_logits(name=name, warm_up=0.3)
    warm_up, main = b.phases(steps=10)
    assert (warm_up.schedule.steps, main.schedule.steps) == (3, 7)
    (update,) = warm_up.updates
    assert scalar(update.objective(b.batch(INDEX))).item() == pytest.approx(np.mean(losses_of(b, INDEX)))


# CDR


@pytest.mark.parametrize("wrong", [0, 6, 12, 24])
def test_cdr_gives_a_gradient_to_the_critical_share_of_weights_alone_and_scales_it(wrong: int) -> None:
    b = bench({"name": "cdr"}, LABELS, some_images(N), wrong=wrong)
    model = b.models[0]
    plain = copy.deepcopy(model)
    loss = F.cross_entropy(plain(b.images[INDEX]), LABELS[INDEX])
    expected = dict(zip(dict(plain.named_parameters()), torch.autograd.grad(loss, list(plain.parameters())), strict=True))
    names, tau = decayed_weights(plain), wrong / N
    weights = [dict(plain.named_parameters())[name].detach().numpy() for name in names]
    masked = reference.cdr(weights, [expected[name].numpy() for name in names], tau)
    expected |= {name: torch.from_numpy(g) for name, g in zip(names, masked, strict=True)}
    before = [p.detach().clone() for p in model.parameters()]
    step = Stepping(b.method, b.phases()[0]).step(b.batch(INDEX))
    torch.testing.assert_close(gradient_of(step, b.method, model), list(expected.values()), rtol=1e-9, atol=1e-12)
    assert step[0].loss.item() == pytest.approx(loss.item())
    alive = sum(int((g != 0).sum()) for g in masked)
    size = sum(g.size for g in masked)
    assert alive == pytest.approx((1 - tau) * size, abs=1)
    still = [(new == old).sum() for new, old in zip(model.parameters(), before, strict=True)]
    assert int(sum(still)) >= size - alive


def test_cdr_needs_the_noise_rate() -> None:
    assert build({"name": "cdr"}).needs == Knowledge.NOISE_RATE


# PES


def trained_parts(b: Bench, phase: int) -> set[str]:
    """Names of the model's parameters that a step of a phase moves."""
    before = {name: p.detach().clone() for name, p in b.models[0].named_parameters()}
    Stepping(b.method, b.phases()[phase]).step(b.batch(torch.arange(N)))
    return {name for name, p in b.models[0].named_parameters() if not torch.equal(p, before[name])}


class ThreeStages(TinyNet):
    """Its features are two stages."""

    def stages(self) -> dict[str, nn.Module]:
        return {"early": self.features[:3], "late": self.features[3:], "output": self.output}


def pes(**options: Any) -> Bench:
    return bench({"name": "pes", **options}, LABELS, some_images(N), ThreeStages)


OUTPUT = {"output.weight", "output.bias"}
LATE = OUTPUT | {"features.5.weight", "features.5.bias"}
EVERYTHING = LATE | {"features.0.weight", "features.1.weight", "features.1.bias"}


@pytest.mark.parametrize(("phase", "moves"), [(0, EVERYTHING), (1, LATE), (2, OUTPUT), (3, EVERYTHING)])
def test_each_phase_of_pes_trains_its_layers_and_no_others(phase: int, moves: set[str]) -> None:
    assert trained_parts(pes(), phase) == moves


def test_layers_that_start_afresh_are_those_that_train_and_go_on_to_train_in_the_last_phase() -> None:
    b = pes()
    model, fresh = b.models
    for number, same in ((1, ("late", "output")), (2, ("output",))):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.5)
        before = b.phases(steps=200)[number].before
        assert before is not None
        before(b.view)
        for name, stage in model.stages().items():  # type: ignore[operator]
            values = stage.state_dict()
            assert all(torch.equal(value, fresh.stages()[name].state_dict()[key]) for key, value in values.items()) == (name in same)  # type: ignore[operator]
    assert trained_parts(b, 3) == EVERYTHING


def test_pes_whose_first_phase_is_all_of_training_is_plain_training() -> None:
    found, plain = (
        trainer_of(build(config), steps=8) for config in ({"name": "pes", "early": 1, "late": 0, "output": 0}, {"name": "baseline"})
    )
    found.run(), plain.run()
    assert_same_state(found.method.model, plain.method.model)


class NormAtTheEnd(ThreeStages):
    """The last stage before its output layer is a norm."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.norm(self.features(images)))

    def stages(self) -> dict[str, nn.Module]:
        early, late, output = super().stages().values()
        return {"early": early, "late": late, "norm": self.norm, "output": output}


def test_a_norm_before_the_output_layer_is_no_last_stage_of_its_own() -> None:
    b = bench({"name": "pes"}, LABELS, some_images(N), NormAtTheEnd)
    assert trained_parts(b, 1) == LATE | {"norm.weight", "norm.bias"}
    assert trained_parts(b, 2) == OUTPUT


def test_the_optimisers_of_pes_hold_exactly_its_layers() -> None:
    b = pes()
    parts = [phase.updates[0].parts for phase in b.phases()]
    assert parts[0] == ()
    assert set(parts[1]) == {f"model.{name}" for name in LATE}
    assert set(parts[2]) == {f"model.{name}" for name in OUTPUT}
    assert parts[3] == ("model",)
    named = {id(p): name for name, p in b.method.named_parameters()}
    assert all(f"model.{name}" == named[id(p)] for name, p in b.models[0].named_parameters())


def test_pes_takes_the_examples_whose_label_is_predicted_and_weighs_their_classes() -> None:
    b = pes()
    phase = b.phases()[3]
    assert phase.every_epoch is not None
    phase.every_epoch(b.view, at())
    with torch.no_grad():
        logits = copy.deepcopy(b.models[0]).eval()(b.images)
    confident = logits.argmax(dim=1) == LABELS
    assert 0 < confident.sum() < N
    rows = phase.sample(LABELS, 4, torch.Generator().manual_seed(0))
    assert rows.shape == (int(confident.sum()) // 4, 4)
    assert confident[rows].all()
    assert len(rows.unique()) == rows.numel()
    weights = reference.class_weights(LABELS[confident].tolist(), CLASSES)
    batch = b.batch(rows.flatten())
    logits = copy.deepcopy(b.models[0])(batch.images).detach().numpy()
    expected = np.average(cross_entropies(logits, batch.labels.numpy()), weights=[weights[y] for y in batch.labels])
    (update,) = phase.updates
    assert isinstance(update, Update)
    assert scalar(update.objective(batch)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("confident", [0, 1, 3])
def test_pes_goes_on_where_few_or_none_are_confident(confident: int) -> None:
    b = pes()
    with torch.no_grad():
        b.models[0].output.bias.copy_(torch.tensor([0.0, 0.0, 1e3]))  # type: ignore[union-attr,operator]
    b.view.labels.copy_(torch.where(torch.arange(N) < confident, 2, 0))
    phase = b.phases()[3]
    assert phase.every_epoch is not None
    phase.every_epoch(b.view, at())
    rows = phase.sample(b.view.labels, 10, torch.Generator().manual_seed(0))
    assert rows.shape == ((N // 10, 10) if confident == 0 else (1, 10))
    assert set(rows.unique().tolist()) <= set(range(confident or N))
    (update,) = phase.updates
    assert torch.isfinite(scalar(update.objective(b.batch(rows[0]))))


@pytest.mark.parametrize(("steps", "lr"), [(78_200, 1e-4), (7_820, 1e-3), (10, 0.01)])
def test_learning_rate_times_steps_of_the_late_layers_is_that_of_the_released_code(steps: int, lr: float) -> None:
    _, late, output, _ = build({"name": "pes"}).phases(schedules(steps))
    for phase in (late, output):
        (update,) = phase.updates
        assert update.optimiser is not None
        assert (update.optimiser.kind, update.optimiser.lr) == ("adam", pytest.approx(lr))


def test_the_phases_of_pes_are_the_released_code_s_shares_of_training() -> None:
    parts = [phase.schedule.steps for phase in build({"name": "pes"}).phases(schedules(200))]
    assert parts == [25, 7, 5, 163]


def test_pes_refuses_a_model_without_stages_and_shares_above_one() -> None:
    with pytest.raises(UserError, match="pes needs a model with `stages`, which Bare"):
        bench({"name": "pes"}, LABELS, some_images(N, 7, PIXELS), lambda _: Bare())
    build({"name": "pes", "early": 0.33, "late": 0.56, "output": 0.11})  # their sum in floating point is above 1
    with pytest.raises(UserError, match=r"sum to 1\.1"):
        build({"name": "pes", "early": 0.9, "late": 0.1, "output": 0.1})


# training


@pytest.mark.parametrize("name", ["gce", "cores2", "self_paced", "small_loss"])
def test_weights_find_wrong_labels(name: str) -> None:
    method: Method = build({"name": name})
    assert trainer_of(method, steps=60).run().history[-1]["weights_auroc"] > 0.7  # of weights 0 and 1 it is less than of ranks
