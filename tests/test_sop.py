"""SOP and SOP+: loss, gradient and the steps of u and v against numerical gradients of the slow form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from methods.base import Batch, HeldOut, Knowledge
from tests.by_hand import CLASSES, Bare, Bench, bench, some_images, some_labels
from tests.references import cross_entropies, numerical_gradient, softmax
from tests.references import sop as reference

N, SIZE = 20, 8
LABELS = some_labels(N, seed=3)
IMAGES = some_images(N, shape=(1, 1, CLASSES), scale=2.0)
AUTHORS_BATCH = 128


def a_bench(sd: float = 0.3, **options: float) -> Bench:
    return bench({"name": "sop", "sd": sd, **options}, LABELS, IMAGES, lambda _: Bare())


def state(b: Bench, index: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return b.method.u[index].numpy().copy(), b.method.v[index].numpy().copy()


def visit(b: Bench, index: torch.Tensor, seed: int = 0) -> tuple[object, np.ndarray, np.ndarray]:
    images = (IMAGES[index] + some_images(len(index), 50 + seed, (1, 1, CLASSES))).requires_grad_()
    found = b.method.loss(b.batch(index, images=images, other_views=(images.detach().flip(0),)))
    (gradient,) = torch.autograd.grad(found.loss, images)
    return found, images.detach().numpy().reshape(len(index), CLASSES), gradient.numpy().reshape(len(index), CLASSES)


@pytest.mark.parametrize("sd", [1e-8, 0.3, 1.5])  # the last one reaches the clamps
def test_several_visits_are_those_of_the_reference(sd: float) -> None:
    b = a_bench(sd, lr_u=3.0, lr_v=5.0)
    for number in range(3):
        index = torch.randperm(N, generator=torch.Generator().manual_seed(number))[:SIZE]
        u, v = state(b, index)
        y = LABELS[index].numpy()
        found, z, gradient = visit(b, index, number)
        assert found.loss.item() == pytest.approx(reference.loss(z, u, v, y), rel=1e-9)
        slow = numerical_gradient(lambda x, u=u, v=v, y=y: reference.cross_entropy(x, u, v, y, v), z)
        np.testing.assert_allclose(gradient, slow, atol=1e-6)
        by_u = numerical_gradient(lambda x, z=z, v=v, y=y: reference.loss(z, x, v, y, v), u) if sd > 1e-6 else None
        by_v = numerical_gradient(lambda x, z=z, u=u, v=v, y=y: reference.loss(z, u, x, y, v), v) if sd > 1e-6 else None
        scale = SIZE / AUTHORS_BATCH  # of the mean over this batch to that over theirs
        if by_u is not None and by_v is not None:
            np.testing.assert_allclose(b.method.u[index].numpy(), u - 3.0 * scale * by_u, atol=1e-6)
            np.testing.assert_allclose(b.method.v[index].numpy(), v - 5.0 * scale * by_v, atol=1e-6)
        V = np.array([reference.corruption(*each)[1].max() for each in zip(u, v, y, strict=True)])
        np.testing.assert_allclose(found.example_weights.numpy(), (1 - V) / SIZE)


def test_without_u_and_v_it_is_cross_entropy_and_a_constant() -> None:
    b = a_bench(0.0)
    index = torch.arange(N)
    found, z, gradient = visit(b, index)
    wrong = (z.argmax(axis=1) != LABELS.numpy()).mean()
    assert found.loss.item() == pytest.approx(cross_entropies(z, LABELS.numpy()).mean() + 2 * wrong)
    np.testing.assert_allclose(gradient, (softmax(z) - np.eye(CLASSES)[LABELS]) / N, atol=1e-12)


def test_a_visit_leaves_other_examples_alone() -> None:
    b = a_bench()
    rest = torch.arange(SIZE, N)
    before = state(b, rest)
    visit(b, torch.arange(SIZE))
    np.testing.assert_array_equal(b.method.u[rest].numpy(), before[0])
    np.testing.assert_array_equal(b.method.v[rest].numpy(), before[1])


def test_v_grows_where_another_class_is_predicted_and_saturates_at_one() -> None:
    b = bench({"name": "sop", "lr_v": 10.0, "sd": 1e-8}, torch.zeros(1, dtype=torch.int64), IMAGES[:1], lambda _: Bare())
    image = torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64).view(1, 1, 1, 3)
    begun = b.method.v[0, 1].abs().item()
    sizes = []
    for _ in range(100):
        b.method.loss(b.batch(torch.tensor([0]), images=image))
        sizes.append(b.method.v[0, 1].abs().item())
    growth = 1 + 4 * 10 / AUTHORS_BATCH
    assert sizes[9] == pytest.approx(begun * growth**10, rel=1e-6)
    assert sizes[math.ceil(math.log(1e8) / math.log(growth)) + 10] == pytest.approx(1, abs=0.2)
    assert b.method.v[0, 2].abs() < 1e-7


def test_the_step_of_a_visit_does_not_depend_on_the_batch_size() -> None:
    one, many = a_bench(), a_bench()
    many.method.load_state_dict(one.method.state_dict())
    one.method.loss(one.batch(torch.arange(1)))
    many.method.loss(many.batch(torch.arange(N)))
    torch.testing.assert_close(one.method.u[0], many.method.u[0])
    torch.testing.assert_close(one.method.v[0], many.method.v[0])


def test_sop_plus_adds_consistency_and_balance() -> None:
    options = {"consistency": 0.9, "balance": 0.1}
    b = a_bench(0.3, **options)
    assert b.phases()[0].views == ("weak", "strong")
    assert a_bench().phases()[0].views == ("weak",)
    index = torch.arange(SIZE)
    u, v = state(b, index)
    y = LABELS[:SIZE].numpy()
    images = IMAGES[:SIZE].clone().requires_grad_()
    strong = some_images(SIZE, 9, (1, 1, CLASSES)).requires_grad_()
    found = b.method.loss(b.batch(index, images=images, other_views=(strong,)))
    by_weak, by_strong = (g.numpy().reshape(SIZE, CLASSES) for g in torch.autograd.grad(found.loss, [images, strong]))
    z, s = (x.detach().numpy().reshape(SIZE, CLASSES) for x in (images, strong))

    def supervised(x: np.ndarray) -> float:
        return reference.loss(x, u, v, y) + 0.1 * reference.balance(reference.corrected(x, u, v, y, v))

    assert found.loss.item() == pytest.approx(supervised(z) + 0.9 * reference.consistency(z, s), rel=1e-9)
    np.testing.assert_allclose(by_weak, numerical_gradient(supervised, z), atol=1e-7)
    np.testing.assert_allclose(by_strong, numerical_gradient(lambda x: 0.9 * reference.consistency(z, x), s), atol=1e-7)


def test_u_follows_the_balance_of_sop_plus_and_v_does_not() -> None:
    b = a_bench(0.3, balance=5.0, lr_u=3.0, lr_v=5.0)
    index = torch.arange(SIZE)
    u, v = state(b, index)
    y = LABELS[:SIZE].numpy()
    _, z, _ = visit(b, index)

    def objective(u: np.ndarray, v_of_squares: np.ndarray) -> float:
        return reference.loss(z, u, v_of_squares, y, v) + 5.0 * reference.balance(reference.corrected(z, u, v, y, v))

    scale = SIZE / AUTHORS_BATCH
    np.testing.assert_allclose(b.method.u[index].numpy(), u - 3.0 * scale * numerical_gradient(lambda x: objective(x, v), u), atol=1e-6)
    np.testing.assert_allclose(b.method.v[index].numpy(), v - 5.0 * scale * numerical_gradient(lambda x: objective(u, x), v), atol=1e-6)


def test_images_without_positions_are_refused_before_anything_moves() -> None:
    b = a_bench()
    before = b.method.u.clone()
    with pytest.raises(HeldOut):
        b.method.loss(Batch(IMAGES, LABELS))
    assert torch.equal(b.method.u, before)
    assert b.method.needs == Knowledge.NONE
