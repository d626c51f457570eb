"""Minibatches from data that lives on the device: draw, augment, normalise, each in whole-batch tensor code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch

from datasets.augment import Preprocessing
from datasets.streams import torch_stream
from datasets.task import Examples
from methods.base import Batch, Method

Epoch = Callable[[torch.Generator], torch.Tensor]


class Batches:
    """An endless stream of minibatches, whose order depends on the seed and the stream's name alone.

    index: of the minibatch; generator: what its augmentation draws from
    epoch: positions of one epoch's batches, int64 (batches, size), from a generator; each epoch has a generator of its own
    """

    def __init__(self, examples: Examples, epoch: Epoch, preprocessing: Preprocessing, seed: int, name: str) -> None:
        self.examples = examples
        self._epoch = epoch
        self._preprocessing = preprocessing
        self._seed, self._name = seed, name
        self._device = examples.labels.device
        self.generator = torch_stream(self._device, seed, name, "augmentation")
        self._drawn = 0
        self._number = -1
        self._start(0)
        self.index = torch.zeros_like(self._positions[0])  # stays where it is, for graphs that read it

    def _start(self, number: int) -> None:
        if number != self._number:
            self._number = number
            self._positions = self._epoch(torch_stream(self._device, self._seed, self._name, "order", number))

    def advance(self) -> None:
        """Go to the next minibatch: all that the host does for it."""
        number, row = divmod(self._drawn, len(self._positions))
        self._start(number)
        self._drawn += 1
        self.index.copy_(self._positions[row])

    def batch(self, draw_clean: Callable[[int], Batch] | None = None) -> Batch:
        """The minibatch reached by `advance`: work for the device alone."""
        index = self.index.clone()  # a batch may outlive its turn
        images = self._preprocessing.augment(self.examples.images[index], self.generator)
        return Batch(self._preprocessing.normalise(images), self.examples.labels[index], index, draw_clean)

    def draw(self, draw_clean: Callable[[int], Batch] | None = None) -> Batch:
        """The next minibatch."""
        self.advance()
        return self.batch(draw_clean)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here."""
        return {"drawn": self._drawn, "augment": self.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the stream that gave `state` would have."""
        self._drawn = state["drawn"]
        self.generator.set_state(state["augment"])
        self._start(self._drawn // len(self._positions))


class CleanBatches:
    """Minibatches of the clean set, whose sizes methods ask for as they go; each draw of a step has a stream of its own."""

    def __init__(self, clean: Examples, preprocessing: Preprocessing, seed: int) -> None:
        self._clean, self._preprocessing, self._seed = clean, preprocessing, seed
        self._streams: dict[str, Batches] = {}
        self._draws: Counter[int] = Counter()  # of this step, by size

    def stream(self, name: str, size: int) -> Batches:
        """Minibatches of `size` images in a random order."""
        in_random_order = Method().batches  # whatever the method samples from the noisy set
        return Batches(self._clean, lambda g: in_random_order(self._clean.labels, size, g), self._preprocessing, self._seed, name)

    def advance(self) -> None:
        """Go to the next minibatches, for the next step."""
        self._draws.clear()
        for stream in self._streams.values():
            stream.advance()

    def draw(self, size: int) -> Batch:
        """A minibatch of at most `size` images, another one at each call."""
        name = f"clean {size}" + (f", draw {self._draws[size]}" if self._draws[size] else "")
        self._draws[size] += 1
        if name not in self._streams:
            self._streams[name] = self.stream(name, size)
            self._streams[name].advance()
        return self._streams[name].batch()

    @property
    def generators(self) -> list[torch.Generator]:
        """What augmentation draws from."""
        return [stream.generator for stream in self._streams.values()]

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here."""
        return {name: {"size": len(stream.index), "stream": stream.state()} for name, stream in self._streams.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the streams that gave `state` would have. Streams that are there stay the ones they are, for graphs that read them."""
        self._streams = {name: self._streams.get(name) or self.stream(name, saved["size"]) for name, saved in state.items()}
        for name, saved in state.items():
            self._streams[name].restore(saved["stream"])


def in_order(examples: Examples, preprocessing: Preprocessing) -> Iterator[Batch]:
    """All of `examples` once, without augmentation."""
    size = 250 if examples.labels.device.type == "cpu" else 2000  # larger on a CPU, fresh memory costs more than it saves
    for index in torch.arange(len(examples), device=examples.labels.device).split(size):
        yield Batch(preprocessing.normalise(examples.images[index]), examples.labels[index], index)
