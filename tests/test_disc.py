"""DISC: the division of examples, thresholds and the loss against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.base import Knowledge
from methods.disc import partners
from tests.by_hand import CLASSES, Bench, at, bench, some_images, some_labels
from tests.references import cross_entropies, softmax
from tests.references import disc as reference

N = 30
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()


class Table(torch.nn.Module):
    """Its images are one-hot, so its weights are the logits of each view of each example, and a mixed image shows of what it is mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = torch.nn.Flatten(), torch.nn.Linear(2 * N, CLASSES, bias=False)
        self.output.weight.data = some_images(2 * N, 1, (CLASSES,), scale=3.0).T.clone()
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.flatten(1))
        return self.output(self.features(images))


def view(number: int) -> torch.Tensor:
    return torch.eye(2 * N, dtype=torch.float64)[number * N : (number + 1) * N].view(N, 2 * N, 1, 1)


def a_bench(**options: float) -> Bench:
    return bench({"name": "disc", **options}, LABELS, view(0), lambda _: Table())


def probabilities(b: Bench) -> tuple[np.ndarray, np.ndarray]:
    z = b.models[0].output.weight.detach().T.numpy()
    return softmax(z[:N]), softmax(z[N:])


def seen_once(b: Bench) -> None:
    phase = b.phases()[0]
    phase.loss(b.batch(torch.arange(N), other_views=(view(1),)))


def groups(b: Bench) -> list[list[bool]]:
    return [row.bool().tolist() for row in b.method.group]


def test_the_warm_up_is_cross_entropy_of_both_views() -> None:
    b = a_bench(warm_up=0.3)
    first, main = b.phases()
    assert (first.schedule.steps, main.schedule.steps, first.views) == (3, 7, ("weak", "strong"))
    z = b.models[0].output.weight.detach().T.numpy()
    loss = first.loss(b.batch(torch.arange(N), other_views=(view(1),)))
    assert loss.item() == pytest.approx(cross_entropies(z[:N], Y).mean() + cross_entropies(z[N:], Y).mean())


@pytest.mark.parametrize("m", [0.0, 0.5, 0.99])
def test_examples_are_divided_as_by_the_reference_epoch_by_epoch(m: float) -> None:
    b = a_bench(m=m)
    c = [np.full(N, 1 / N), np.full(N, 1 / N)]
    sizes = np.zeros(3)
    for epoch in range(4):
        seen_once(b)
        b.method.divide(b.view, at(epoch=epoch))
        weak, strong = probabilities(b)
        expected = reference.divided(weak, strong, Y, *c)
        assert groups(b) == [expected.clean, expected.hard, expected.corrected]
        assert b.method.labels.tolist() == expected.labels
        c = [reference.confidence_after(old, p, m) for old, p in zip(c, (weak, strong), strict=True)]
        np.testing.assert_allclose(b.method.confidence.numpy(), c, rtol=1e-6)
        sizes += b.method.group.sum(dim=1).numpy()
        b.models[0].output.weight.data += some_images(2 * N, 10 + epoch, (CLASSES,), scale=1.5).T
    assert (b.method.group.sum(dim=0) <= 1).all()
    assert (sizes > 0).all() or m == 0.99


def test_thresholds_of_constant_predictions_are_their_closed_form() -> None:
    b = a_bench(m=0.9)
    for epoch in range(5):
        seen_once(b)
        b.method.divide(b.view, at(epoch=epoch))
    weak, _ = probabilities(b)
    np.testing.assert_allclose(b.method.confidence[0].numpy(), 0.9**5 / N + (1 - 0.9**5) * weak.max(axis=1), rtol=1e-6)


def test_examples_without_a_record_are_in_no_group() -> None:
    b = a_bench()
    b.method.divide(b.view, at())
    assert not b.method.group.any()
    np.testing.assert_allclose(b.method.confidence.numpy(), 1 / N)


@pytest.mark.parametrize("lam", [1.0, 0.2])
def test_the_loss_is_that_of_the_reference(lam: float) -> None:
    b = a_bench(lam=lam, m=0.0)
    seen_once(b)
    b.method.divide(b.view, at())
    b.models[0].output.weight.data += some_images(2 * N, 5, (CLASSES,), scale=1.0).T
    seen_once(b)
    b.method.divide(b.view, at())  # some are hard, some corrected
    z = b.models[0].output.weight.detach().T.numpy()
    division = reference.Division(*groups(b), b.method.labels.tolist())
    b.models[0].seen.clear()
    found = b.method.loss(b.batch(torch.arange(N), other_views=(view(1),)))
    expected = sum(reference.supervised(z[v * N : (v + 1) * N], Y, division, lam) for v in (0, 1))
    members = [n for n in range(N) if division.clean[n] or division.hard[n] or division.corrected[n]]
    assert 3 < len(members) < N
    for v in (0, 1):
        mixed = b.models[0].seen[2 + v].numpy()
        own = mixed[:, v * N : (v + 1) * N]
        w = float(own.diagonal().min())
        mates = {n: int((own[n] - w * np.eye(N)[n]).argmax()) for n in members}
        assert sorted(mates.values()) == members
        assert w >= 0.5
        expected += reference.mixup(mixed @ z, division.labels, members, mates, w)
    assert found.loss.item() == pytest.approx(expected, rel=1e-6)
    weights = (np.array(division.clean) + lam * np.array(division.hard)) / N
    np.testing.assert_allclose(found.example_weights.numpy(), weights, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10])
def test_members_are_each_others_partners(count: int) -> None:
    members = (torch.arange(10) < count).float()[torch.randperm(10, generator=torch.Generator().manual_seed(count))]
    found = partners(members)
    mine = torch.nonzero(members).flatten()
    assert sorted(found[mine].tolist()) == mine.tolist()
    assert count < 2 or (found[mine] != mine).all()


def test_it_sees_nothing_but_noisy_labels() -> None:
    assert a_bench().method.needs == Knowledge.NONE
