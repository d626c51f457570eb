"""L2RW's step in other implementations, which go backward through one step of gradient descent: unrolled, `higher` and `torchopt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from benchmark.speed.measure import Effort, Work, compare
from benchmark.speed.steps import MODELS, bare_step, random_batch, update
from benchmark.training.compute import Compute
from methods.base import Batch, normalised
from methods.baseline import Baseline
from methods.l2rw import L2RW

Weigh = Callable[[nn.Module, Batch, Batch], torch.Tensor]  # from a batch and a clean batch


def peers(effort: Effort) -> Iterator[list[str]]:
    """Compare exact L2RW steps, n = m = 100, with the plain step; packages that are not installed are skipped."""
    ways = {"unrolled": unrolled} | {name: way for name, way in (("higher", by_higher), ("torchopt", by_torchopt)) if find_spec(name)}
    for model in effort.models:
        contenders = {"plain": bare_step(Baseline(), model, effort.device), "L2RW, forward mode": bare_step(L2RW(), model, effort.device)}
        contenders |= {f"L2RW, {name}": _step(way, model, effort.device) for name, way in ways.items()}
        yield from compare(model, contenders, effort)


def _step(weigh: Weigh, name: str, device: torch.device) -> Work:
    make, shape, _ = MODELS[name]
    model = Compute().on(device).place(make(10, torch.Size(shape)), device).train()
    images, labels = random_batch(name, device)
    batch = Batch(images, labels, labels)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def loss() -> torch.Tensor:
        weights = weigh(model, batch, batch)
        return (weights * F.cross_entropy(model(images), labels, reduction="none")).sum()

    return partial(update, optimiser, loss)


def _weights(clean_loss: torch.Tensor, epsilon: torch.Tensor) -> torch.Tensor:
    return normalised((-torch.autograd.grad(clean_loss, epsilon)[0]).clamp(min=0))


def unrolled(model: nn.Module, batch: Batch, clean: Batch) -> torch.Tensor:
    """Return weights, (n,), directly by the paper's Eq. 5 to 9."""
    parameters = dict(model.named_parameters())
    epsilon = batch.images.new_zeros(len(batch.labels), requires_grad=True)
    losses = F.cross_entropy(model(batch.images), batch.labels, reduction="none")
    gradients = torch.autograd.grad((epsilon * losses).sum(), list(parameters.values()), create_graph=True)
    ahead = {name: value - gradient for (name, value), gradient in zip(parameters.items(), gradients, strict=True)}
    return _weights(F.cross_entropy(functional_call(model, ahead, (clean.images,)), clean.labels), epsilon)


def by_higher(model: nn.Module, batch: Batch, clean: Batch) -> torch.Tensor:
    """Return the same weights, by `higher`."""
    higher = import_module("higher")
    with higher.innerloop_ctx(model, torch.optim.SGD(model.parameters(), lr=1.0)) as (ahead, optimiser):
        epsilon = batch.images.new_zeros(len(batch.labels), requires_grad=True)
        optimiser.step((epsilon * F.cross_entropy(ahead(batch.images), batch.labels, reduction="none")).sum())
        return _weights(F.cross_entropy(ahead(clean.images), clean.labels), epsilon)


def by_torchopt(model: nn.Module, batch: Batch, clean: Batch) -> torch.Tensor:
    """Return the same weights, by `torchopt`."""
    torchopt = import_module("torchopt")
    optimiser = torchopt.MetaSGD(model, lr=1.0)
    here = torchopt.extract_state_dict(model, by="reference")
    epsilon = batch.images.new_zeros(len(batch.labels), requires_grad=True)
    optimiser.step((epsilon * F.cross_entropy(model(batch.images), batch.labels, reduction="none")).sum())
    weights = _weights(F.cross_entropy(model(clean.images), clean.labels), epsilon)
    torchopt.recover_state_dict(model, here)
    return weights
