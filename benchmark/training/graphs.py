"""CUDA graphs: device work launched as one piece instead of kernel by kernel, and the constants that a graph assumes."""

from __future__ import annotations

import pickle
import random
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

Work = Callable[[], None]
HOST_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)
WAITED = "called a synchronizing CUDA operation"  # torch's warning; another one, on the mode itself, also speaks of synchronizing


class NotCaptured(Exception):
    """Work that is not in a graph, or not correctly; the message gives the reason."""


def cuda_graph(work: Work, generators: Sequence[torch.Generator]) -> Work:
    """Capture `work`; the result replays it. The work runs once before, to detect whether it makes the host wait.

    generators: generators of the work in addition to the device's default one
    Raises NotCaptured for work that waits, and CUDA's exceptions for work that it cannot capture.
    """
    if _waits(work):
        raise NotCaptured("a step makes the host wait for the device")
    try:
        return _Graph(work, generators)
    except Exception:
        for generator in (torch.cuda.default_generators[torch.cuda.current_device()], *generators):
            generator.graphsafe_set_state(generator.clone_state())  # a failed capture makes the state it used unusable
        raise


class _Graph:
    """A captured graph, with a stream that it was captured on and that no other graph uses while it exists.

    torch keeps one workspace of cuBLAS per stream. Graphs from one stream would share it even while they run at once, and the first one
    to be deleted would free it for all (pytorch/pytorch#193402).
    """

    _idle: ClassVar[defaultdict[int, list[torch.cuda.Stream]]] = defaultdict(list)  # streams without a graph, by device

    def __init__(self, work: Work, generators: Sequence[torch.Generator]) -> None:
        streams = self._idle[torch.cuda.current_device()]
        self._stream = streams.pop() if streams else torch.cuda.Stream(priority=-1)  # lanes take theirs from another pool
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        with (
            torch.cuda.stream(torch.cuda.current_stream()),  # restored also after a failure
            torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            work()  # recorded, not executed

    def __call__(self) -> None:
        self._graph.replay()

    def __del__(self) -> None:
        self._graph.reset()
        self._idle[self._stream.device_index].append(self._stream)


def _waits(work: Work) -> bool:
    """Run `work`; return whether it made the host wait for the device."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return any(WAITED in str(warning.message) for warning in caught)


def fingerprint(method: nn.Module) -> dict[str, Any]:
    """Return the constants of a graph of the method's work, by name: numbers, strings, addresses of tensors, host generators."""
    return {name: _mark(leaf) for attribute, value in _attributes(method) for name, leaf in leaves(value, attribute)}


def host_random() -> dict[str, bytes]:
    """Return the states of Python's and NumPy's own random numbers, which a graph does not advance either."""
    return {"Python's random numbers": pickle.dumps(random.getstate()), "NumPy's random numbers": pickle.dumps(np.random.get_state())}


def changed(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Return the first name in which two fingerprints differ, or None."""
    return next((name for name in before | after if before.get(name) != after.get(name)), None)


def unsaved(method: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of the method's modules that `state_dict` omits: plain attributes and buffers that are not persistent."""
    saved = {value.data_ptr() for value in method.state_dict().values() if isinstance(value, torch.Tensor)}
    named = (leaf for attribute, value in _attributes(method) for leaf in leaves(value, attribute))
    return {name: leaf.detach() for name, leaf in named if isinstance(leaf, torch.Tensor) and leaf.data_ptr() not in saved}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in nested dicts, lists and tuples, by dotted names.

    >>> list(leaves({"a": 1, "b": {"c": [2, 3]}}))
    [('a', 1), ('b.c.0', 2), ('b.c.1', 3)]
    """
    if not isinstance(value, dict | list | tuple):
        yield name, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(part, f"{name}.{key}".lstrip("."))


def _attributes(method: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from method.named_parameters()
    yield from method.named_buffers()
    for prefix, module in method.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers"):
                yield f"{prefix}.{name}".lstrip("."), value


def _mark(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.data_ptr(), value.shape, value.stride(), value.dtype, value.requires_grad
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, HOST_GENERATORS):
        return pickle.dumps(value)
    if isinstance(value, int | float | str | None):
        return repr(value)
    return id(value), len(value) if isinstance(value, Sized) else None
