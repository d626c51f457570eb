"""K-fold training: every example is predicted by a model that never saw it, through the trainer of the suite."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmark import trial
from benchmark.audit.data import Audited
from benchmark.config import Cell
from benchmark.objects import model_factory
from benchmark.options import RunConfig, preprocessing
from benchmark.records.store import digest
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.evaluation import logits_on
from benchmark.training.threads import one_thread
from benchmark.training.trainer import Trainer, Watch
from datasets.streams import numpy_stream
from datasets.task import Task
from methods import registry
from robust_benchmark.errors import UserError
from robust_benchmark.files import write

PARTS = ("loss", "aum", "weight")  # evidence that training examples leave, one number each


@dataclass(frozen=True)
class Job:
    """One training: a method on all folds but one. stage: original or planted labels; path: file of its result"""

    stage: str
    cell: Cell
    fold: int
    path: Path

    @property
    def done(self) -> bool:
        """Whether the result is on the disk."""
        return self.path.exists()


def folds_of(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the fold of each example, int64 (n,): every class is spread evenly over the folds, in random order."""
    rng = numpy_stream(seed, "audit folds")
    fold = np.empty(len(labels), dtype=np.int64)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    fold[order] = np.arange(len(labels)) % count
    return fold


def jobs_of(stage: str, cells: Sequence[Cell], data: Audited, count: int, seed: int, folder: Path) -> list[Job]:
    """Return all trainings of a stage. The name of a result has a digest of everything that determines it."""
    data_digest, labels = data.digest, digest(data.labels.tolist())
    jobs = []
    for cell in cells:
        made_by = [cell.identity, trial.code_of(cell), data_digest, labels, count, seed]
        jobs += [Job(stage, cell, fold, folder / stage / f"{cell.label}-{digest([*made_by, fold])}.npz") for fold in range(count)]
    return jobs


def train(job: Job, data: Audited, fold: np.ndarray, seed: int, watch: Watch | None = None) -> None:
    """Train one method without one fold and write what it says about all examples. Continues from a checkpoint, if there is one.

    fold: the fold of each example, the same for all stages
    """
    held_out, kept = np.flatnonzero(fold == job.fold), np.flatnonzero(fold != job.fold)
    config, device = job.cell.config, trial.device_of(job.cell.config.device)
    method, task = registry.build(job.cell.identity["method"]), _task(data, held_out, kept, config)
    checkpoints = Checkpoints(job.path.with_suffix(".pt"), job.path.stem)
    settings = replace(trial.settings(config), evidence=True)
    with one_thread(device), registry.naming(job.cell.identity["method"]):
        trainer = Trainer(
            method, model_factory(config.model), task, settings, seed + job.fold, device, checkpoints, watch, trial.compute(config)
        )
        trainer.run()
        write(job.path, _result(trainer, held_out, kept))
    checkpoints.remove()


def _task(data: Audited, held_out: np.ndarray, kept: np.ndarray, config: RunConfig) -> Task:
    """Return the task of one fold: it trains on `kept` and tests on `held_out`, and no method knows a true label of either."""
    return Task(
        train=data.examples(kept),
        clean=data.clean(),
        hyper_validation=data.examples(np.arange(0)),
        test=data.examples(held_out),
        classes=data.classes,
        noise_rate=None,
        transition_matrix=None,
        preprocessing=preprocessing(config),
        train_positions=torch.from_numpy(kept),
    )


def _result(trainer: Trainer, held_out: np.ndarray, kept: np.ndarray) -> bytes:
    """Return the positions and out-of-fold probabilities of the fold, and the evidence of the other folds, as .npz."""
    with trainer.evaluated(), trainer.compute.autocast(trainer.device):
        logits = logits_on(trainer.task.test, trainer.method, trainer.task.preprocessing, len(trainer.task.classes))
    loss, margin = trainer.evidence.means()
    evidence = {"loss": loss, "aum": margin, "weight": trainer.example_weights}
    content = io.BytesIO()
    arrays = {name: values.cpu().numpy() for name, values in evidence.items()}
    arrays |= {"held_out": held_out, "kept": kept, "probabilities": softmax(logits), "diverged": np.array(trainer.progress.diverged)}
    np.savez(content, **arrays)  # type: ignore[arg-type]  # its stub expects a flag here
    return content.getvalue()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, (n, classes), from logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Found:
    """What one method says about all n examples.

    probabilities: float32 (n, classes), out of fold
    loss, aum, weight: (n,) each, means over the trainings with the example; NaN without any
    """

    probabilities: np.ndarray
    loss: np.ndarray
    aum: np.ndarray
    weight: np.ndarray


def collect(jobs: Sequence[Job], n: int) -> Found:
    """Return the results of one method's folds. Raises UserError if a training diverged."""
    sums, counts = {name: np.zeros(n) for name in PARTS}, {name: np.zeros(n) for name in PARTS}
    probabilities = None
    for job in jobs:
        with np.load(job.path) as file:
            if file["diverged"]:
                raise UserError(f"{job.cell.label} diverges on this data: leave it out of --methods, or lower trainer.lr")
            found = file["probabilities"]
            probabilities = np.zeros((n, found.shape[1]), dtype=np.float32) if probabilities is None else probabilities
            probabilities[file["held_out"]] = found
            for name in PARTS:
                there = np.isfinite(file[name])
                sums[name][file["kept"][there]] += file[name][there]
                counts[name][file["kept"][there]] += 1
    assert probabilities is not None
    means = {name: np.divide(sums[name], counts[name], out=np.full(n, np.nan), where=counts[name] > 0) for name in PARTS}
    return Found(probabilities, **means)
