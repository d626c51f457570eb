"""The clean set, for methods that do more with it than draw minibatches."""

from collections.abc import Iterator

import torch

from methods.base import Batch, View

SIZE = 500  # images at once


def clean_batches(view: View) -> Iterator[Batch]:
    """The clean set in order, in evaluation form. Raises UndeclaredKnowledge without CLEAN_SET."""
    clean, preprocessing = view.clean_set, view._task.preprocessing  # how images are normalised is no secret
    for index in torch.arange(len(clean), device=clean.labels.device).split(SIZE):
        yield Batch(preprocessing.normalise(clean.images[index]), clean.labels[index], index, source="clean")
