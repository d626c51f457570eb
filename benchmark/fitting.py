"""Training on arrays in memory: the implementation of `robust_benchmark.RobustClassifier`, with the task and trainer of a trial."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmark import trial
from benchmark.artifacts import TrainedModel
from benchmark.config import Cell, cells
from benchmark.features import check_data, tried
from benchmark.objects import make, model_factory, usable
from benchmark.options import preprocessing
from benchmark.overrides import option_of
from benchmark.training.lanes import Lane
from benchmark.training.threads import one_thread
from benchmark.training.trainer import ModelFactory, Trainer
from datasets.encoding import Encoding
from datasets.source import UNKNOWN, Source
from datasets.task import Task, make_task
from methods import registry
from methods.base import Knowledge
from robust_benchmark.errors import UserError

SETTABLE = ("method", "model", "trainer", "precision", "compile", "channels_last", "cuda_graphs")
ROWS = ("dataset=arrays", "dataset.path=X", "noise=none")  # the data itself comes from the arrays
IMAGES = (*ROWS, "model=convnet", "trainer=digits", "dataset.preprocessing.mean=0.5", "dataset.preprocessing.std=0.5")


class Options(NamedTuple):
    """The arguments of RobustClassifier, with its meanings, and the seed of the trial."""

    method: str
    model: str | nn.Module | Callable[[int, torch.Size], nn.Module] | None
    steps: int | None
    batch_size: int | None
    lr: float | None
    overrides: Sequence[str]
    device: str
    seed: int


class Labelled(NamedTuple):
    """Rows, (n, width), or images, (n, channels, height, width), with labels, int64 (n,)."""

    examples: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A trained model, on the CPU, and what training found about the n training examples.

    dtype: type of the examples in the arrays
    history: the evaluations, in the form of a record's `history`
    weights: last weight of each example times the batch size, float32 (n,), NaN for examples without one; None for other methods
    margins: mean margin over the evaluations, float32 (n,), low for labels that are probably wrong (benchmark.training.evidence)
    """

    model: TrainedModel
    dtype: np.dtype
    history: list[dict[str, Any]]
    weights: np.ndarray | None
    margins: np.ndarray

    def predict_proba(self, examples: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, float32 (n, classes). Raises UserError for examples of another type or shape."""
        if self.model.encoding is not None:
            return self.model.predict_proba(examples)
        shape = self.model.image_shape
        if (examples.dtype, examples.shape[1:]) != (self.dtype, shape):
            wanted = f"{self.dtype} (n, {', '.join(map(str, shape))})"
            raise UserError(f"images must be {wanted}, as in fit, not {examples.dtype} {examples.shape}")
        return self.model.probabilities(_stored_images(examples))


@dataclass(frozen=True)
class FloatImages(Source):
    """A source of float32 images (n, channels, height, width), which reach the model as they are."""

    def __post_init__(self) -> None:
        """Accept these images; `fit` has checked them."""


def fit(train: Labelled, clean: Labelled | None, classes: tuple[str, ...], options: Options) -> Fitted:
    """Train a method on `train`, with `clean` as its clean set. The history evaluates `clean`, or else `train` with its given labels.

    classes: names of the classes
    Raises UserError if the arrays do not support the options.
    """
    cell = _cell(options, is_table=train.examples.ndim == 2)
    source, encoding = _source(train, clean, classes)
    with one_thread(trial.device_of(options.device)), Lane(trial.device_of(options.device)).turn():
        with registry.naming(cell.identity["method"]):
            trainer = _trainer(cell, source, options)
            progress = trainer.run()
        if progress.diverged:
            raise UserError(f"training diverged at step {progress.history[-1]['step']}: give a smaller lr than {cell.config.trainer.lr:g}")
        return _fitted(trainer, encoding, train.examples.dtype)


def _cell(options: Options, is_table: bool) -> Cell:
    """Return the only cell of the options. Raises UserError for overrides of the data, and for a sweep."""
    for override in options.overrides:
        part = option_of(override).partition(".")[0]
        if part not in SETTABLE and not override.startswith("dataset.preprocessing."):
            raise UserError(f"override '{override}' is not accepted here: set dataset.preprocessing or one of {', '.join(SETTABLE)}")
    named = {"trainer.steps": options.steps, "trainer.batch_size": options.batch_size, "trainer.lr": options.lr, "device": options.device}
    if isinstance(options.steps, int | np.integer):
        named["trainer.evaluate_every"] = max(1, options.steps // 10)
    named["model"] = options.model if isinstance(options.model, str) else None
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    defaults = ROWS if is_table else IMAGES
    chosen = {option_of(override): override for override in (*defaults, f"method={options.method}", *given, *options.overrides)}
    return _composed(tuple(chosen.values()), tuple(registry.get(name) for name in registry.names()))


@functools.lru_cache(maxsize=32)
def _composed(overrides: tuple[str, ...], _: tuple[type, ...]) -> Cell:
    """Return the cell, composed once for many fits while the registered methods stay the same."""
    found = cells(overrides)
    if len(found) > 1:
        raise UserError(f"method and overrides describe {len(found)} configurations, and a classifier has one")
    return found[0]


def _source(train: Labelled, clean: Labelled | None, classes: tuple[str, ...]) -> tuple[Source, Encoding | None]:
    """Return the training examples followed by the clean ones, whose true labels alone are known."""
    parts = [train] if clean is None else [train, clean]
    examples, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    encoding = Encoding.fit(pd.DataFrame(examples)) if examples.ndim == 2 else None
    images = _stored_images(examples) if encoding is None else torch.from_numpy(encoding.encode(examples))
    given = torch.from_numpy(labels)
    known = given.clone()
    known[: len(train.labels)] = UNKNOWN
    evaluated = slice(0 if clean is None else len(train.labels), None)
    kind = FloatImages if images.ndim == 4 and images.is_floating_point() else Source
    return kind(images, given, images[evaluated], given[evaluated], classes, known), encoding


def _stored_images(images: np.ndarray) -> torch.Tensor:
    """Return images as a task stores them: uint8, or float32."""
    stored = np.array(images, dtype=np.uint8 if images.dtype == np.uint8 else np.float32)  # a copy, which may be written to
    return torch.from_numpy(stored)


def _trainer(cell: Cell, source: Source, options: Options) -> Trainer:
    """Return the trainer of the arrays' only trial, which is composed as `benchmark.trial` does."""
    config = cell.config
    method = registry.build(cell.identity["method"])
    task = _task(cell, source, options.seed)
    if Knowledge.CLEAN_SET in method.needs and len(task.clean) == 0:
        raise UserError(f"method {cell.label} needs a clean set: give X_clean and y_clean, or a method without one, such as elr")
    settings = replace(trial.settings(config), evidence=True)
    device = trial.device_of(config.device)
    trainer = Trainer(method, _model_maker(cell, options.model), task, settings, options.seed, device, compute=trial.compute(config))
    trial.check_steps(cell, trainer)
    check_data(cell.label, trainer)
    if isinstance(source, FloatImages) and any("strong" in phase.views for phase in trainer.phases):
        raise UserError(f"method {cell.label} needs strong views, which exist for uint8 images only")
    return trainer


def _task(cell: Cell, source: Source, seed: int) -> Task:
    noise, imbalance = make("noise", cell.config.noise), make("imbalance", cell.config.imbalance)
    return make_task(source, noise, cell.config.split, preprocessing(cell.config), seed, imbalance=imbalance)


def _model_maker(cell: Cell, given: Any) -> ModelFactory:
    """Return a factory of models. Raises UserError if `given` is neither a model, nor a factory, nor the name of a choice."""
    if given is None or isinstance(given, str):
        return functools.partial(tried, model_factory(cell.config.model), cell.config.model["name"])
    if not callable(given):
        raise UserError(f"model must be a torch.nn.Module, a function of (classes, shape) or a name such as mlp, not {given!r}")
    factory = _Copies(given) if isinstance(given, nn.Module) else given
    said = f"model {getattr(given, '__name__', type(given).__name__)}"

    def made(classes: int, shape: torch.Size) -> nn.Module:
        try:
            return usable(factory(classes, shape), said, classes, shape)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{said} does not fit {classes} classes and examples of shape {tuple(shape)}: {reason}") from error

    return made


class _Copies:
    """A factory of copies of one model. The first has its weights; later ones, for methods with several networks, have new weights."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._made = model, 0

    def __call__(self, classes: int, shape: torch.Size) -> nn.Module:
        model = copy.deepcopy(self._model)
        self._made += 1
        for module in model.modules() if self._made > 1 else ():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        return model


def _fitted(trainer: Trainer, encoding: Encoding | None, dtype: np.dtype) -> Fitted:
    with trainer.evaluated():
        method = copy.deepcopy(trainer.method).cpu().eval()
    task = trainer.task
    model = TrainedModel(method, task.preprocessing, task.classes, tuple(task.train.images.shape[1:]), encoding)
    weights = trainer.example_weights.cpu().numpy() if trainer.trial.weights.weighs else None
    return Fitted(model, dtype, trainer.progress.history, weights, trainer.evidence.means()[1].cpu().numpy())
