"""The whole clean set in batches, for methods that evaluate it."""

from collections.abc import Iterator

import torch

from methods.base import Batch, View

SIZE = 500  # images per batch


def clean_batches(view: View) -> Iterator[Batch]:
    """Yield the clean set in order, without augmentation. Raises UndeclaredKnowledge without CLEAN_SET."""
    clean, preprocessing = view.clean_set, view._task.preprocessing  # normalisation is public
    for index in torch.arange(len(clean), device=clean.labels.device).split(SIZE):
        yield Batch(preprocessing.normalise(clean.images[index]), clean.labels[index], index, source="clean")
