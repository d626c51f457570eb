"""Trained models, from the weights that runs save with `keep=[weights]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from benchmark.config import composed_choice
from benchmark.objects import model_factory
from benchmark.records.store import Record, read_record
from benchmark.training.artifacts import origin, place
from datasets.augment import Preprocessing
from datasets.task import Examples, Task
from methods import registry
from methods.base import Method, View
from robust_benchmark.errors import UserError
from robust_benchmark.files import check_regular

if TYPE_CHECKING:  # imports pandas, which images do not need
    import pandas as pd

    from datasets.encoding import Encoding


@dataclass(frozen=True)
class TrainedModel:
    """A method with the weights at the end of a trial.

    classes: their names, in the order of the columns of `predict_proba`
    image_shape: (channels, height, width), or (features,)
    encoding: the conversion of a table's columns to features
    """

    method: Method
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    encoding: Encoding | None = None

    def predict_proba(self, examples: np.ndarray | torch.Tensor | pd.DataFrame) -> np.ndarray:
        """Return the probabilities of the classes, float32 (n, classes).

        examples: images in the format of the data set, uint8 (n, channels, height, width); or rows in the format of the table's file, a
            DataFrame or an array of its feature columns in their order
        Raises UserError for examples of another type or shape.
        """
        return self.probabilities(self._images(examples) if self.encoding is None else torch.from_numpy(self.encoding.encode(examples)))

    @torch.no_grad()
    def probabilities(self, stored: torch.Tensor) -> np.ndarray:
        """Return the probabilities of the classes, float32 (n, classes), of examples as a task stores them, (n, *image_shape)."""
        logits = [self.method.predict(self.preprocessing.normalise(part)) for part in stored.split(250) if len(part)]
        return torch.cat(logits).softmax(dim=1).float().numpy() if logits else np.empty((0, len(self.classes)), dtype=np.float32)

    def _images(self, examples: np.ndarray | torch.Tensor | pd.DataFrame) -> torch.Tensor:
        dtype = _stored_as(self.image_shape)
        wanted = f"{_name(dtype)} (n, {', '.join(map(str, self.image_shape))})"
        try:
            images = torch.as_tensor(examples)
        except (TypeError, ValueError, RuntimeError) as error:  # a table, text, lists of several lengths
            raise UserError(f"images must be {wanted}, not {getattr(examples, 'dtype', type(examples).__name__)}") from error
        if images.dtype != dtype or tuple(images.shape[1:]) != self.image_shape:
            raise UserError(f"images must be {wanted}, not {_name(images.dtype)} {tuple(images.shape)}")
        return images


def _stored_as(image_shape: tuple[int, ...]) -> torch.dtype:
    """Return the type of stored images, which have three dimensions, or of features."""
    return torch.uint8 if len(image_shape) == 3 else torch.float32


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def load_model(record: str | Path | Mapping[str, Any], checkpoint_dir: str | Path = ".checkpoints") -> TrainedModel:
    """Return the trained model of a record: architecture, weights and preprocessing, on the CPU and in float32.

    record: the path of a record, a record, or a row of `robust_benchmark.load`
    checkpoint_dir: directory of the run that saved the weights (keep=[weights])
    Raises UserError if the weights were not saved, or belong to another trial.
    """
    whole = read_record(record if isinstance(record, str | Path) else record["path"])
    file = place(checkpoint_dir, whole["key"], whole["seed"], "weights")
    weights, encoding = _read_weights(file, whole)
    config, classes = whole["config"], tuple(whole["data"]["classes"])
    image_shape = tuple(whole["data"]["image_shape"])
    make_model = model_factory(composed_choice("model", config["model"]["name"]) | config["model"])
    method = registry.build(config["method"])
    preprocessing = Preprocessing(**config["dataset"]["preprocessing"])
    task = _blank_task(whole, classes, image_shape, preprocessing)
    method.setup(
        lambda outputs=None: make_model(outputs or len(classes), torch.Size(image_shape)),
        View(method.needs, len(classes), task.train.labels, lambda: iter(()), task),
    )
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{file} does not match today's {whole['method']}: {str(error).splitlines()[-1].strip()}") from error
    return TrainedModel(method.eval(), preprocessing, classes, image_shape, encoding)


def _read_weights(file: Path, record: Record) -> tuple[dict[str, torch.Tensor], Encoding | None]:
    try:
        check_regular(file)
        with safe_open(file, "pt") as opened:
            metadata, weights = opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        how = "train it with keep=[weights] in another results_dir, or give the checkpoint_dir of the run that saved them"
        raise UserError(f"no weights of {record['method']}, seed {record['seed']}, at {file}: {how}") from error
    except SafetensorError as error:
        raise UserError(f"{file} cannot be read ({error})") from error
    encoding = metadata.pop("encoding", None)
    if metadata != origin(record):
        trial = metadata.get("key"), metadata.get("seed")
        same = trial == (record["key"], str(record["seed"]))
        whose = "a run on other code or data" if same else f"key {trial[0]} and seed {trial[1]}"
        raise UserError(f"{file} contains the weights of {whose}, not of {record['path']}")
    if encoding is None:
        return weights, None
    from datasets.encoding import Encoding

    return weights, Encoding.from_json(encoding)


def _blank_task(record: Record, classes: tuple[str, ...], image_shape: tuple[int, ...], preprocessing: Preprocessing) -> Task:
    """Return a task with the sizes of the record's, without content: the weights replace everything that a method computes from it."""

    def blank(size: int) -> Examples:
        labels = torch.arange(size) % len(classes)
        return Examples(torch.zeros((size, *image_shape), dtype=_stored_as(image_shape)), labels, labels)

    sizes = record["data"]["sizes"]
    train, clean, hyper_validation, test = (blank(sizes[part]) for part in ("train", "clean", "hyper_validation", "test"))
    return Task(train, clean, hyper_validation, test, classes, 0.0, torch.eye(len(classes)).double(), preprocessing)
