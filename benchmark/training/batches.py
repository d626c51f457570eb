"""Minibatches from data that lives on the device: draw, augment, normalise, each in whole-batch tensor code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from datasets.augment import Preprocessing
from datasets.streams import torch_stream
from datasets.task import Examples
from methods.base import Batch

Epoch = Callable[[torch.Generator], torch.Tensor]


class Batches:
    """An endless stream of minibatches, whose order depends on the seed and the stream's name alone.

    epoch: positions of one epoch's batches, int64 (batches, size), from a generator; each epoch has a generator of its own
    """

    def __init__(self, examples: Examples, epoch: Epoch, preprocessing: Preprocessing, seed: int, name: str) -> None:
        self.examples = examples
        self._epoch = epoch
        self._preprocessing = preprocessing
        self._seed, self._name = seed, name
        self._device = examples.labels.device
        self._augment = torch_stream(self._device, seed, name, "augmentation")
        self._drawn = 0
        self._number = -1
        self._start(0)

    def _start(self, number: int) -> None:
        if number != self._number:
            self._number = number
            self._positions = self._epoch(torch_stream(self._device, self._seed, self._name, "order", number))

    def draw(self, draw_clean: Callable[[int], Batch] | None = None) -> Batch:
        """The next minibatch."""
        number, row = divmod(self._drawn, len(self._positions))
        self._start(number)
        self._drawn += 1
        index = self._positions[row]
        images = self._preprocessing.augment(self.examples.images[index], self._augment)
        return Batch(self._preprocessing.normalise(images), self.examples.labels[index], index, draw_clean)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here."""
        return {"drawn": self._drawn, "augment": self._augment.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the stream that gave `state` would have."""
        self._drawn = state["drawn"]
        self._augment.set_state(state["augment"])
        self._start(self._drawn // len(self._positions))


def in_order(examples: Examples, preprocessing: Preprocessing) -> Iterator[Batch]:
    """All of `examples` once, without augmentation."""
    size = 250 if examples.labels.device.type == "cpu" else 2000  # larger on a CPU, fresh memory costs more than it saves
    for index in torch.arange(len(examples), device=examples.labels.device).split(size):
        yield Batch(preprocessing.normalise(examples.images[index]), examples.labels[index], index)
