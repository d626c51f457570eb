"""Steps: the trainer's and L2RW's compared with the plain step, the options of arithmetic, trials side by side, and memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from weakref import WeakSet

import torch
from torch import nn

from benchmark.models.convnet import ConvNet
from benchmark.models.lenet import LeNet
from benchmark.models.resnet import ResNet
from benchmark.speed.measure import Effort, Work, compare
from benchmark.training.compute import Compute
from benchmark.training.lanes import Lane
from benchmark.training.trainer import ModelFactory, Settings, Trainer
from datasets.augment import Preprocessing
from datasets.task import Examples, Task
from methods.base import Batch, Knowledge, Method, View, Weighted, scalar
from methods.baseline import Baseline
from methods.l2rw import L2RW
from methods.schedules import Schedule, Schedules

MODELS: dict[str, tuple[ModelFactory, tuple[int, int, int], Preprocessing]] = {
    "convnet": (ConvNet, (1, 8, 8), Preprocessing()),
    "lenet": (LeNet, (1, 28, 28), Preprocessing(0.0, 1.0)),
    "resnet32": (ResNet, (3, 32, 32), Preprocessing(0.5, 0.5, pad=2, flip=True)),
    "wrn28_10": (partial(ResNet, units=4, widen=10), (3, 32, 32), Preprocessing(0.5, 0.5, pad=2, flip=True)),
}
BATCH = 100
MEMORY_HEADERS = ["model", "pass", "ratio", "MiB kept for backward", "peak MiB on CUDA"]


def steps(effort: Effort) -> Iterator[list[str]]:
    """Measure plain and L2RW steps on a prepared batch, and the trainer's, which draws its own."""
    for name in effort.models:
        contenders = {"plain: forward, mean loss, backward, SGD": bare_step(Baseline(), name, effort.device)}
        contenders["plain, in the trainer"] = trainer_step(Baseline(), name, effort.device, Compute(cuda_graphs=False))
        contenders |= {f"L2RW, m = {m}": bare_step(L2RW(m), name, effort.device) for m in (100, 25, 10)}
        yield from compare(name, contenders, effort)


def options(effort: Effort) -> Iterator[list[str]]:
    """Compare the trainer's steps with each of the options of Compute with the plain step without options."""
    choices = {"PyTorch's defaults": Compute(channels_last=False, cuda_graphs=False)}
    choices["channels last"] = Compute(channels_last=True, cuda_graphs=False)
    if effort.device.type == "cuda":
        choices["CUDA graph"] = Compute(channels_last=False, cuda_graphs=True)
        choices["CUDA graph, channels last"] = Compute(channels_last=True, cuda_graphs=True)
    for name, compute in list(choices.items()):
        choices[f"{name}, bf16"] = replace(compute, precision="bf16")
        choices[f"{name}, compiled"] = replace(compute, compile=True)
    for model in effort.models:
        contenders = {
            f"{label}, {name}": trainer_step(make(), model, effort.device, compute)
            for label, make in (("plain", Baseline), ("L2RW, m = 100", L2RW))
            for name, compute in choices.items()
        }
        yield from compare(model, contenders, effort)


def side_by_side(effort: Effort) -> Iterator[list[str]]:
    """Compare the time per step of one trial when several take turns with a trial alone."""
    for name in effort.models:
        for label, make in (("plain", Baseline), ("L2RW, m = 100", L2RW)):
            alone = _turns(make, name, effort, 1)
            contenders = {f"{label}, alone": alone} | {f"{label}, a step of each of {n}": _turns(make, name, effort, n) for n in (2, 4)}
            yield from compare(name, contenders, effort)


def _turns(make: Callable[[], Method], name: str, effort: Effort, count: int) -> Work:
    lanes = [Lane(effort.device) for _ in range(count)]
    trials = []
    for lane in lanes:
        with lane.turn():
            trials.append(trainer_step(make(), name, effort.device, Compute()))

    def turns() -> None:
        for lane, step in zip(lanes, trials, strict=True):
            with lane.turn():
                step()

    return turns


def memory(effort: Effort) -> Iterator[list[str]]:
    """Measure the memory that the loss of a batch keeps for its backward pass and, on CUDA, the peak of a step with the model itself."""
    for name in effort.models:
        plain = kept_for_backward(Baseline(), name, effort.device)
        for label, make in (("plain", Baseline), ("L2RW, m = 100", L2RW)):
            kept = kept_for_backward(make(), name, effort.device)
            yield [name, label, f"{kept / plain:.3f}", f"{kept / 2**20:.1f}", _peak_of_step(make(), name, effort.device)]


def _peak_of_step(method: Method, name: str, device: torch.device) -> str:
    """Return the largest memory of tensors during an update, in MiB; the update before it makes the optimiser's momentum."""
    if device.type != "cuda":
        return ""
    gc.collect()  # an earlier model that goes away during the step would count against it
    others = torch.cuda.memory_allocated(device)
    step = bare_step(method, name, device)
    step()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return f"{(torch.cuda.max_memory_allocated(device) - others) / 2**20:.1f}"


def kept_for_backward(method: Method, name: str, device: torch.device) -> int:
    """Return the bytes of tensors that the method's loss saves for backward."""

    class Saved:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    saved: WeakSet[Saved] = WeakSet()

    def pack(tensor: torch.Tensor) -> Saved:
        kept = Saved(tensor)
        saved.add(kept)
        return kept

    loss = _bare_loss(method, name, device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        objective = scalar(loss())
    storages = {kept.tensor.untyped_storage().data_ptr(): kept.tensor.untyped_storage().nbytes() for kept in saved}
    objective.detach_()
    return sum(storages.values())


def bare_step(method: Method, name: str, device: torch.device) -> Work:
    """Return one update on a prepared batch: nothing is drawn, augmented or logged."""
    loss = _bare_loss(method, name, device)
    optimiser = torch.optim.SGD(method.parameters(), lr=1e-3, momentum=0.9, fused=True)
    return partial(update, optimiser, loss)


def update(optimiser: torch.optim.Optimizer, loss: Callable[[], torch.Tensor | Weighted]) -> None:
    """Take one step along the negative gradient of the loss."""
    objective = scalar(loss())
    optimiser.zero_grad()
    objective.backward()
    optimiser.step()


def _bare_loss(method: Method, name: str, device: torch.device) -> Callable[[], torch.Tensor | Weighted]:
    make, shape, _ = MODELS[name]
    images, labels = random_batch(name, device)

    def clean(size: int) -> Batch:
        return Batch(images[:size], labels[:size], labels[:size])

    def make_model(outputs: int | None = None) -> nn.Module:
        return make(outputs or 10, torch.Size(shape))

    method.setup(make_model, View(method.needs, 10, labels, lambda: iter(()), random_task(name)))
    Compute().on(device).place(method, device).train()
    return partial(method.loss, Batch(images, labels, labels, clean if Knowledge.CLEAN_SET in method.needs else None))


def random_batch(name: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images in the shape of the model's usual dataset, and labels."""
    _, shape, _ = MODELS[name]
    return torch.randn(BATCH, *shape, device=device), torch.randint(10, (BATCH,), device=device)


def trainer_step(method: Method, name: str, device: torch.device, compute: Compute) -> Work:
    """Return one update as in the trainer."""
    schedules = Schedules(main=Schedule(steps=10**9, lr=1e-3))
    trainer = Trainer(method, MODELS[name][0], random_task(name), Settings(schedules, BATCH), 0, device, compute=compute)
    phase = trainer.phases[0]
    return partial(trainer.running(phase).take_step, trainer.view)


def random_task(name: str, size: int = 5000) -> Task:
    """Return random pixels and labels in the shape of the model's usual dataset, with 100 clean images."""
    _, shape, preprocessing = MODELS[name]
    labels = torch.randint(10, (size,))
    examples = Examples(torch.randint(256, (size, *shape), dtype=torch.uint8), labels, labels)
    few = examples.take(slice(BATCH))
    return Task(examples, few, few, few, tuple("0123456789"), 0.0, torch.eye(10), preprocessing)
