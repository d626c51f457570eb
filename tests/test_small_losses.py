"""ProMix's core and AUM: what they select, against plain loops and hand cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.aum import margins
from methods.base import Knowledge
from methods.promix import smallest_of_each
from methods.registry import build
from tests.by_hand import CLASSES, Bare, Bench, at, bench, some_images, some_labels
from tests.references import aum as aum_reference
from tests.references import cross_entropies, softmax
from tests.references import promix as reference
from tests.resuming import trainer_of

N = 40
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()
IMAGES = some_images(N, shape=(1, 1, CLASSES), scale=2.0)
Z = IMAGES.numpy().reshape(N, CLASSES)


def a_bench(name: str, **options: float) -> Bench:
    return bench({"name": name, **options}, LABELS, IMAGES, lambda _: Bare())


@pytest.mark.parametrize("quota", [1, 3, 7, 100])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_of_each_label_the_smallest_losses_are_kept(quota: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    losses, labels = rng.integers(0, 6, 50) / 2, rng.integers(0, classes, 50) * 2  # with ties, and labels that are absent
    found = smallest_of_each(torch.from_numpy(losses), torch.from_numpy(labels), quota)
    by_hand = [n in sorted(np.flatnonzero(labels == labels[n]), key=lambda i: (losses[i], i))[:quota] for n in range(50)]
    assert found.tolist() == by_hand


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("tau", [0.6, 0.99])
def test_promix_trains_on_small_losses_of_each_class_and_sure_labels(rho: float, tau: float) -> None:
    b = a_bench("promix", rho=rho, tau=tau)
    main = b.phases()[1]
    main.every_epoch(b.view, at())
    selected = reference.class_wise(cross_entropies(Z, Y), Y, rho, CLASSES)
    assert b.method.selected.tolist() == selected
    index = torch.arange(5, 25)
    images = IMAGES[index] + some_images(20, 9, (1, 1, CLASSES))
    found = main.loss(b.batch(index, images=images))
    z, y = images.numpy().reshape(20, CLASSES), Y[5:25]
    chosen = np.array(selected)[5:25] | (softmax(z)[np.arange(20), y] > tau)
    assert found.loss.item() == pytest.approx(reference.loss(cross_entropies(z, y), softmax(z)[np.arange(20), y], selected[5:25], tau))
    np.testing.assert_allclose(found.example_weights.numpy(), chosen / chosen.sum())


def test_margins_are_those_of_hand_examples_and_ignore_constants() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])
    labels = torch.tensor([0, 1, 1])
    assert margins(logits, labels).tolist() == [1.0, -2.0, 5.0]
    assert margins(logits + 7, labels).tolist() == [aum_reference.margin(z, y) for z, y in zip(logits.numpy(), labels, strict=True)]


class Plus(torch.nn.Module):
    """Pixels are the first logits; another output, if any, is 0."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features, self.output = torch.nn.Flatten(), torch.nn.Linear(CLASSES, outputs, bias=False)
        torch.nn.init.eye_(self.output.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(images))


def aum_bench(**options: float) -> Bench:
    return bench({"name": "aum", **options}, LABELS, IMAGES, Plus)


def test_aum_sums_margins_after_the_first_epoch_and_flags_disjoint_sets() -> None:
    b = aum_bench()
    runs = b.phases()[:2]
    flagged = b.method.flagged.numpy()
    assert flagged.sum(axis=1).tolist() == [N // (CLASSES + 1)] * 2
    assert not (flagged[0] & flagged[1]).any()
    logits = np.concatenate([Z, np.zeros((N, 1))], axis=1)
    for run, phase in enumerate(runs):
        labels = np.where(flagged[run], CLASSES, Y)
        for epoch in (0.0, 0.9, 1.0, 2.5):
            loss = phase.loss(b.batch(torch.arange(N), clock=at(epoch=epoch)))
            assert loss.item() == pytest.approx(cross_entropies(logits, labels).mean())
        expected = [2 * aum_reference.margin(z, y) for z, y in zip(logits, labels, strict=True)]
        np.testing.assert_allclose(b.method.area[run].numpy(), expected, rtol=1e-6)
        assert (b.method.visits[run] == 2).all()


@pytest.mark.parametrize("percentile", [50.0, 99.0])
def test_aum_removes_what_is_bad_in_each_run_in_which_its_label_was_its_own(percentile: float) -> None:
    b = aum_bench(percentile=percentile)
    rng = np.random.default_rng(0)
    areas, flagged = rng.standard_normal((2, N)), b.method.flagged.numpy()
    b.method.area.copy_(torch.from_numpy(3 * areas))
    b.method.visits.fill_(3)
    main = b.phases()[2]
    main.before(b.view)
    bad = [aum_reference.bad(areas[run], list(np.flatnonzero(flagged[run])), percentile) for run in (0, 1)]
    kept = [not all(bad[run][n] for run in (0, 1) if not flagged[run][n]) for n in range(N)]
    assert b.method.kept.bool().tolist() == kept
    assert 0 < sum(kept) < N
    found = main.loss(b.batch(torch.arange(N)))
    assert found.loss.item() == pytest.approx(cross_entropies(Z, Y)[kept].mean())
    np.testing.assert_allclose(found.example_weights.numpy(), np.array(kept) / sum(kept))


def test_aum_without_a_second_epoch_removes_nothing() -> None:
    b = aum_bench()
    b.phases()[0].loss(b.batch(torch.arange(N), clock=at(epoch=0.5)))
    b.phases()[2].before(b.view)
    assert b.method.kept.all()


def test_aum_judges_at_a_constant_rate_from_the_same_start() -> None:
    trainer = trainer_of(build({"name": "aum"}), steps=12)
    assert [phase.schedule.steps for phase in trainer.phases] == [6, 6, 12]
    assert {trainer.phases[0].schedule.lr_at(step) for step in range(6)} == {0.1}
    trainer.run()
    one, other = trainer.method.initial.state_dict(), trainer.method.judge.state_dict()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    trainer.phases[1].before(trainer.view)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_they_see_nothing_but_noisy_labels() -> None:
    assert build({"name": "promix"}).needs == build({"name": "aum"}).needs == Knowledge.NONE
