"""Minibatches from data on the device or in a mapped file: draw, augment, normalise, each in tensor code for the whole batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmark.training.read_ahead import ReadAhead
from datasets.augment import Preprocessing
from datasets.mapped import Mapped
from datasets.streams import torch_stream
from datasets.task import Examples
from methods.base import Batch, Clock, Sample
from methods.sampling import uniform
from robust_benchmark.errors import ContractError

DrawClean = Callable[[int], Batch]


class Batches:
    """A stream of minibatches, epoch by epoch. Its draws depend only on the seed, the stream's name and `sample`.

    source: name of the source in the batches
    sample: draws each epoch's positions, with its own generator
    views: strengths of the augmentations, each with its own generator
    index: positions of the current minibatch after `advance`, int64 (width,); generators: generators of the augmentation
    stored: its images, if they are in a mapped file
    """

    index: torch.Tensor
    stored: torch.Tensor

    def __init__(
        self,
        source: str,
        examples: Examples,
        sample: Sample,
        size: int,
        preprocessing: Preprocessing,
        seed: int,
        name: str,
        views: Sequence[str] = ("weak",),
    ) -> None:
        self.examples = examples
        self._source, self._sample, self._size = source, sample, size
        self._preprocessing, self._views = preprocessing, views
        self._seed, self._name = seed, name
        self._device = examples.labels.device
        numbers = [(), *((number,) for number in range(1, len(views)))]  # the first one has the name of a stream with one view
        self.generators = [torch_stream(self._device, seed, name, "augmentation", *number) for number in numbers]
        self._epoch, self._row, self._rows = -1, 0, torch.empty(0)
        self._joined: Examples | None = None
        self._ahead: ReadAhead | None = None

    def join(self, more: Examples) -> None:
        """Append examples to those of the source, before the first epoch."""
        ours = self.examples
        images, labels, n = more.images, more.labels, len(more.images)
        if images.dtype != ours.images.dtype or images.shape[1:] != ours.images.shape[1:]:
            wanted = f"{ours.images.dtype} (n, {', '.join(map(str, ours.images.shape[1:]))})"
            raise ContractError(f"images that join must be {wanted} as those of the source, not {images.dtype} {tuple(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != (n,) or more.true_labels.shape != (n,):
            raise ContractError(f"labels that join must be int64 ({n},), as many as the images, not {labels.dtype} {tuple(labels.shape)}")
        self._joined = Examples(more.images[:], more.labels, more.true_labels).to(self._device)
        self.examples = self.examples.join(self._joined)

    @property
    def epoch_is_over(self) -> bool:
        """Return whether `begin_epoch` must be called before the next `advance`."""
        return self._row == len(self._rows)

    @property
    def epochs(self) -> float:
        """Epochs done, including the fraction of the current one."""
        return self._epoch + self._row / len(self._rows) if len(self._rows) and not self.epoch_is_over else float(self._epoch + 1)

    def begin_epoch(self) -> None:
        """Draw the positions of the next epoch. Raises ContractError for an invalid epoch, or one of another width."""
        self._epoch += 1
        generator = torch_stream(self._device, self._seed, self._name, "order", self._epoch)
        rows = self._sample(self.examples.labels, self._size, generator)
        self._check(rows)
        if self._epoch and rows.shape[1] != len(self.index):
            raise ContractError(
                f"a phase's `sample` gives rows of {rows.shape[1]} positions after rows of {len(self.index)}: the width must stay"
            )
        self._begin(rows)

    def _check(self, rows: Any) -> None:
        wanted = "a phase's `sample` must give int64 positions (rows, width)"
        if not isinstance(rows, torch.Tensor):
            raise ContractError(f"{wanted}, not {type(rows).__name__}")
        if rows.dtype != torch.int64 or rows.ndim != 2 or 0 in rows.shape:
            raise ContractError(f"{wanted}, not {rows.dtype} {tuple(rows.shape)}")
        if self._epoch == 0 and not bool(((rows >= 0) & (rows < len(self.examples))).all()):  # once, because the host waits for it
            raise ContractError(f"{wanted} in 0 .. {len(self.examples) - 1}, not in {int(rows.min())} .. {int(rows.max())}")

    def _begin(self, rows: torch.Tensor) -> None:
        self.close()
        self._rows, self._row = rows, 0
        if not hasattr(self, "index"):
            self.index = torch.zeros_like(rows[0])  # keeps its address, because graphs read it

    def advance(self) -> None:
        """Go to the next minibatch: all work of the host for it."""
        row = self._row % len(self._rows)  # only the proof of a capture goes beyond the end
        self.index.copy_(self._rows[row])
        if isinstance(self.examples.images, Mapped):
            self._read(self.examples.images, row)
        self._row += 1

    def _read(self, images: Mapped, row: int) -> None:
        self._ahead = self._ahead or ReadAhead(images, self._rows)
        read = self._ahead.read(row)
        if not hasattr(self, "stored"):
            self.stored = torch.empty_like(read, device=self._device)  # keeps its address, like the index
        self.stored.copy_(read, non_blocking=True)

    def close(self) -> None:
        """End the threads that read ahead, if any; another `advance` starts new ones."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None

    def batch(self, draw_clean: DrawClean | None = None, clock: Clock | None = None) -> Batch:
        """Return the minibatch that `advance` reached; all work is on the device."""
        index = self.index.clone()  # a batch may exist longer than its turn
        images = self.examples.images
        stored = self.stored.clone() if isinstance(images, Mapped) else images[index]
        views = [
            self._preprocessing.normalise(self._preprocessing.view(strength, stored, generator))
            for strength, generator in zip(self._views, self.generators, strict=True)
        ]
        return Batch(views[0], self.examples.labels[index], index, draw_clean, tuple(views[1:]), self._source, clock or Clock())

    def draw(self, draw_clean: DrawClean | None = None) -> Batch:
        """Return the next minibatch, starting a new epoch if needed."""
        if self.epoch_is_over:
            self.begin_epoch()
        self.advance()
        return self.batch(draw_clean)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs to continue from here."""
        return {
            "epoch": self._epoch,
            "row": self._row,
            "rows": self._rows,
            "augment": [generator.get_state() for generator in self.generators],
            "joined": list(self._joined.fields()) if self._joined else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue the stream that returned `state`."""
        if state["joined"] and self._joined is None:
            self.join(Examples(*state["joined"]))
        if state["epoch"] >= 0:
            self._begin(state["rows"].to(self._device))
        self._epoch, self._row = state["epoch"], state["row"]
        for generator, saved in zip(self.generators, state["augment"], strict=True):
            generator.set_state(saved)


class CleanBatches:
    """Minibatches of the clean set, with sizes that methods request; each draw of a step has its own stream."""

    def __init__(self, clean: Examples, preprocessing: Preprocessing, seed: int) -> None:
        self._clean, self._preprocessing, self._seed = clean, preprocessing, seed
        self._streams: dict[str, Batches] = {}
        self._draws: Counter[int] = Counter()  # draws of this step, by size

    def advance(self) -> None:
        """Go to the next minibatches, for the next step."""
        self.rewind()
        for stream in self._streams.values():
            self._advance(stream)

    def rewind(self) -> None:
        """Start the draws of the step again, because a capture repeats the work of one step."""
        self._draws.clear()

    def draw(self, size: int) -> Batch:
        """Return a minibatch of at most `size` images, a different one at each call."""
        name = f"clean {size}" + (f", draw {self._draws[size]}" if self._draws[size] else "")
        self._draws[size] += 1
        if name not in self._streams:
            self._streams[name] = self._stream(name, size)
            self._advance(self._streams[name])
        return self._streams[name].batch()

    def _stream(self, name: str, size: int) -> Batches:
        return Batches("clean", self._clean, uniform, size, self._preprocessing, self._seed, name)

    def _advance(self, stream: Batches) -> None:
        if stream.epoch_is_over:
            stream.begin_epoch()
        stream.advance()

    def close(self) -> None:
        """End the threads that read ahead, if any."""
        for stream in self._streams.values():
            stream.close()

    @property
    def generators(self) -> list[torch.Generator]:
        """Return the generators of the augmentation."""
        return [generator for stream in self._streams.values() for generator in stream.generators]

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs to continue from here."""
        return {name: {"size": len(stream.index), "stream": stream.state()} for name, stream in self._streams.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue the streams that returned `state`. Existing streams stay the same objects, because graphs read them."""
        self._streams = {name: self._streams.get(name) or self._stream(name, saved["size"]) for name, saved in state.items()}
        for name, saved in state.items():
            self._streams[name].restore(saved["stream"])


def in_order(examples: Examples, preprocessing: Preprocessing) -> Iterator[Batch]:
    """Yield all of `examples` once, without augmentation."""
    size = 250 if examples.labels.device.type == "cpu" else 2000  # on a CPU, larger batches lose more time to new memory than they save
    for index in torch.arange(len(examples), device=examples.labels.device).split(size):
        yield Batch(preprocessing.normalise(examples.images[index]), examples.labels[index], index)
