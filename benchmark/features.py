"""What a table of features cannot do, each in a sentence: models and augmentation that need images."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.training.trainer import ModelFactory, Trainer
from robust_benchmark.errors import ContractError, UserError


def tried_on_features(make: ModelFactory, name: str, outputs: int, shape: torch.Size) -> nn.Module:
    """A model for a table. Raises UserError for one that needs images, which only making or trying it shows."""
    try:
        return make(outputs, shape)
    except ContractError as error:
        if error.__cause__ is None:
            raise
        reason = f"this data set is a table of {shape.numel()} features ({str(error.__cause__).splitlines()[0]})"
        raise UserError(f"model {name} needs images, and {reason}: choose model=mlp") from error


def check_views_of_features(label: str, trainer: Trainer) -> None:
    """Raises UserError for augmentation, which is of images. label: of the method"""
    if trainer.task.preprocessing.random:
        raise UserError("dataset.preprocessing.pad and flip move the pixels of images, and this data set is a table: leave them out")
    if any("strong" in phase.views for phase in trainer.phases):
        raise UserError(f"{label} needs strong views of images, and this data set is a table")
