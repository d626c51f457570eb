"""ELR+: averages, memories and the loss on mixed images against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.base import Knowledge
from tests.by_hand import CLASSES, Bench, at, bench, some_labels
from tests.references import elr_plus as reference

N = 12
LABELS = some_labels(N, seed=3)
Y = LABELS.numpy()


class Table(torch.nn.Module):
    """Its images are one-hot, so its weights are the logits of each example, and a mixed image shows of what it is mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.output = torch.nn.Flatten(), torch.nn.Linear(N, CLASSES, bias=False)
        self.output.weight.data = torch.randn(CLASSES, N, dtype=torch.float64)
        self.seen = torch.empty(0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.seen = images.flatten(1)
        return self.output(self.features(images))


def a_bench(**options: float) -> Bench:
    images = torch.eye(N, dtype=torch.float64).view(N, N, 1, 1)
    return bench({"name": "elr_plus", **options}, LABELS, images, lambda _: Table())


def tables(modules: object) -> list[np.ndarray]:
    """Weights as logits, (N, K) each."""
    return [module.output.weight.detach().T.numpy().copy() for module in modules]


@pytest.mark.parametrize(("options", "share"), [
    ({}, 0.0), ({}, 0.3), ({}, 0.9), ({"ramp": 0.5, "lam": 2.0, "beta": 0.9}, 0.2), ({"decay": 0.9, "decay_ramp": 0.0}, 0.1),
])  # fmt: skip
def test_two_steps_are_those_of_the_reference(options: dict[str, float], share: float) -> None:
    b = a_bench(**options)
    beta, lam, ramp = options.get("beta", 0.7), options.get("lam", 3.0), options.get("ramp", 0.0)
    decay, decay_ramp = options.get("decay", 0.997), options.get("decay_ramp", 0.5)
    memory = np.zeros((2, N, CLASSES))
    for visit in range(2):
        for model in b.models:
            model.output.weight.data += 0.3 * torch.randn_like(model.output.weight)  # as by a step
        own = tables(b.models)
        averages = [reference.averaged(a, o, share, decay, decay_ramp) for a, o in zip(tables(b.method.averages), own, strict=True)]
        index = torch.randperm(N, generator=torch.Generator().manual_seed(visit))[:8]
        rows = index.numpy()
        found = b.method.loss(b.batch(index, clock=at(step=round(1000 * share), steps=1000)))
        for me in (0, 1):
            memory[me][rows] = reference.memory_after(memory[me][rows], averages[1 - me][rows], beta)
        np.testing.assert_allclose(b.method.memory.numpy(), memory, rtol=1e-6)
        expected = 0.0
        for me in (0, 1):
            mixed = b.models[me].seen.numpy()
            w = float(mixed[np.arange(8), rows].min())
            rest = mixed - w * np.eye(N)[rows]
            partners = [int(np.flatnonzero(rows == row.argmax())[0]) for row in rest]
            strength = lam * reference.risen(share, ramp)
            expected += reference.loss(mixed @ own[me], Y[rows], memory[me][rows], partners, w, strength)
        assert found.loss.item() == pytest.approx(expected, rel=1e-6)
        trust = memory.mean(axis=0)[rows, Y[rows]]
        np.testing.assert_allclose(found.example_weights.numpy(), trust / 8, rtol=1e-6)


def test_averages_and_memories_get_no_gradient() -> None:
    b = a_bench()
    b.method.loss(b.batch(torch.arange(N), clock=at())).loss.backward()
    assert all(p.grad is None for p in b.method.averages.parameters())
    assert all(model.output.weight.grad.abs().sum() > 0 for model in b.models)


def test_the_mean_of_both_predicts() -> None:
    b = a_bench()
    images = b.images[:3]
    torch.testing.assert_close(b.method.predict(images), (b.models[0](images) + b.models[1](images)) / 2)
    assert b.method.needs == Knowledge.NONE
