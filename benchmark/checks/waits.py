"""Detection on a CPU of steps that would make the host wait for a GPU: operations whose result the host reads, including shapes."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark import ROOT
from benchmark.training.trainer import Trainer
from methods.base import Phase

STEPS = 2  # steps to watch in each phase
OPERATIONS = {  # aten operations whose result the host reads
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "_unique", "_unique2", "unique_dim"),
    *("unique_consecutive", "unique_dim_consecutive"),
}
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index", "_unsafe_index_put"}
FUNCTIONS = {  # copies from and to the device, which aten does not show on a CPU
    torch.Tensor.cpu: "Tensor.cpu",
    torch.Tensor.numpy: "Tensor.numpy",
    torch.Tensor.tolist: "Tensor.tolist",
    torch.Tensor.__array__: "Tensor.numpy",
    torch.tensor: "torch.tensor",
    torch.from_numpy: "torch.from_numpy",
}
CHECKED_ON_CPUS = {torch.quantile, torch.Tensor.quantile, torch.nanquantile, torch.Tensor.nanquantile}  # only these read arguments
SKIPPED = [str(Path(torch.__file__).parent), str(ROOT / "benchmark")]
COMMAND = str(ROOT / "benchmark" / "check.py")
STANDARD = sysconfig.get_path("stdlib")


class Waits:
    """Operations noted within `watching`, as 'operation in file:line' of the method's code."""

    def __init__(self) -> None:
        self.places: dict[str, None] = {}
        self._active = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note operations in this context."""
        with self._set(True), _Functions(self), _Operations(self):
            yield

    def ignored(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `function` so that nothing is noted within it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._set(False):
                return function(*args, **kwargs)

        return call

    @contextmanager
    def _set(self, active: bool) -> Iterator[None]:
        before, self._active = self._active, active
        try:
            yield
        finally:
            self._active = before

    def note(self, operation: str) -> None:
        """Note that `operation` would wait; it is not the method's if only code of the trainer and torch is running."""
        place = innermost(sys._getframe()) if self._active else None
        if place is not None:
            self.places[f"{operation} in {place}"] = None


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket).rpartition(".")[2]
        sizes_from_values = func is torch.ops.aten.repeat_interleave.Tensor and not (kwargs or {}).get("output_size")
        if name in OPERATIONS or sizes_from_values or (name in INDEXING and _by_mask(*args)):
            self._waits.note(f"aten.{name}")
        return func(*args, **(kwargs or {}))


def _by_mask(_: torch.Tensor, index: Any, value: torch.Tensor | None = None, *rest: Any) -> bool:
    """Return whether an index is a mask; setting a mask's elements to a number does not count them."""
    if value is not None and value.numel() == 1:
        return False
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in index)


class _Functions(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FUNCTIONS:
            self._waits.note(FUNCTIONS[func])
        one_hot_of_known_width = func is F.one_hot and (len(args) > 1 or kwargs.get("num_classes", -1) >= 0)
        called = self._waits.ignored(func) if func in CHECKED_ON_CPUS or one_hot_of_known_width else func
        return called(*args, **kwargs)


def innermost(frame: FrameType | None) -> str | None:
    """Return 'file:line' of the innermost running call outside torch, Python itself and the trainer; None if there is none."""
    while frame is not None and frame.f_code.co_filename != COMMAND:  # the caller of the checks is not a method
        if not _skipped(frame.f_code.co_filename):
            return f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _skipped(file: str) -> bool:
    standard = file.startswith((STANDARD, "<")) and "site-packages" not in file
    return standard or any(file.startswith(folder) for folder in SKIPPED)


def shown(file: str) -> str:
    """Return the file's path, relative to the working directory or the suite's root if it is inside."""
    for folder in (Path.cwd(), ROOT):
        if Path(file).is_relative_to(folder):
            return str(Path(file).relative_to(folder))
    return file


def waits(trainer: Trainer) -> list[str]:
    """Return where steps of its phases would wait; hooks of epochs and phase starts may wait. The trainer cannot be used afterwards."""
    found = Waits()
    for number, phase in enumerate(trainer.phases):
        trainer.progress.phase = number
        running = trainer.running(_without_epochs(phase, found))
        running.begin(trainer.view)
        first = min(1, phase.schedule.steps - 1)  # a first step may prepare others
        for step in range(phase.schedule.steps):
            with found.watching() if first <= step < first + STEPS else nullcontext():
                running.take_step(trainer.view)
    return list(found.places)


def _without_epochs(phase: Phase, found: Waits) -> Phase:
    every_epoch = found.ignored(phase.every_epoch) if phase.every_epoch else None
    return replace(phase, sample=found.ignored(phase.sample), every_epoch=every_epoch)
