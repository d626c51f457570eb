"""Limits of a data set, each in a sentence: models that need other inputs, augmentation of features, and clean sets without a class."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.training.trainer import ModelFactory, Trainer
from robust_benchmark.errors import FEW, UserError


def tried(make: ModelFactory, name: str, outputs: int, shape: torch.Size) -> nn.Module:
    """Return a model for inputs of this shape. Raises UserError if a model of the suite cannot take them, which only creating it shows."""
    try:
        return make(outputs, shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if len(shape) == 1:
            table = f"this data set is a table of {shape.numel()} features ({reason})"
            raise UserError(f"model {name} needs images, and {table}: choose model=mlp") from error
        size = " x ".join(map(str, shape))
        raise UserError(f"model {name} cannot take images of {size} ({reason}): choose another model, or larger images") from error


def check_data(label: str, trainer: Trainer) -> None:
    """Raise UserError if the data set lacks what training needs: views of images, or clean examples of a class.

    label: name of the method
    """
    if trainer.task.train.images.ndim == 2:
        _check_views_of_features(label, trainer)
    _check_clean_classes(label, trainer)


def _check_views_of_features(label: str, trainer: Trainer) -> None:
    """Raise UserError for augmentation of features; only images have it."""
    if trainer.task.preprocessing.random:
        raise UserError("dataset.preprocessing.pad and flip move the pixels of images, but this data set is a table: remove them")
    if any("strong" in phase.views for phase in trainer.phases):
        raise UserError(f"{label} needs strong views of images, but this data set is a table")


def _check_clean_classes(label: str, trainer: Trainer) -> None:
    """Raise UserError if training starts with the clean set alone, and it lacks a class."""
    task = trainer.task
    there = set(task.clean.true_labels.tolist())
    missing = [f"'{name}'" for number, name in enumerate(task.classes) if number not in there]
    if not missing or trainer.phases[0].source != "clean":
        return
    more = f" and {len(missing) - FEW} more" if len(missing) > FEW else ""
    drawn = f"give split.stratified=true and split.clean_total of at least {len(task.classes)}"
    advice = drawn if task.train.truth_is_known else "vouch for examples of each class"
    raise UserError(
        f"method {label} first trains on the clean set alone, which has no example of {', '.join(missing[:FEW])}{more}: {advice}"
    )
