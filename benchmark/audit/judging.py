"""The judgement of all labels: two stages of k-fold training, on the given labels and with planted errors."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.audit import running
from benchmark.audit.calibration import Curve, mixture_count
from benchmark.audit.data import Audited
from benchmark.audit.folds import Found, collect, folds_of, jobs_of
from benchmark.audit.planted import Planted, plant, ranks_among
from benchmark.audit.scores import Scores, combine
from benchmark.config import Cell
from robust_benchmark.files import write


@dataclass(frozen=True)
class Judged:
    """The result of an audit before any mark.

    scores: of the given labels; evidence: a file for each method, .npz with arrays (n,)
    planted: the planted errors; planted_ranks: their ranks among the other examples, int64 (m,)
    """

    scores: Scores
    evidence: dict[str, Path]
    planted: Planted
    planted_ranks: np.ndarray

    @property
    def curve(self) -> Curve:
        """The distribution of planted errors over ranks."""
        return Curve(self.planted_ranks, len(self.scores.suspicion))

    @property
    def count(self) -> float:
        """The number of wrong labels by the mixture."""
        return mixture_count(self.curve, len(self.scores.suspicion))


def judge(data: Audited, cells: Sequence[Cell], folder: Path, folds: int, share: float, seed: int, processes: int | None = None) -> Judged:
    """Train all methods on the folds of both stages, and combine their evidence.

    folder: keeps the result of each training, so that the same call continues after an interruption
    share: share of the labels that are planted errors in the second stage; the first stage never sees them
    """
    scores, evidence = _stage("original", data, data.labels, cells, folder, folds, seed, processes)
    planted = plant(data.labels, scores.probabilities, share, seed)
    labels = planted.into(data.labels)
    again, _ = _stage("planted", data.relabelled(labels), data.labels, cells, folder, folds, seed, processes)
    return Judged(scores, evidence, planted, ranks_among(again.suspicion, planted.positions))


def _stage(
    stage: str, data: Audited, of_folds: np.ndarray, cells: Sequence[Cell], folder: Path, folds: int, seed: int, processes: int | None
) -> tuple[Scores, dict[str, Path]]:
    """of_folds: labels by which the folds are drawn, the same in both stages"""
    fold = folds_of(of_folds, folds, seed)
    jobs = jobs_of(stage, cells, data, folds, seed, folder)
    running.train(jobs, data, fold, seed, processes)
    evidence = {cell.label: folder / stage / f"{cell.label}.evidence.npz" for cell in cells}

    def found() -> Iterator[tuple[str, Found]]:
        for cell in cells:
            yield cell.label, collect([job for job in jobs if job.cell is cell], len(data))

    def keep(name: str, arrays: dict[str, np.ndarray]) -> None:
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # its stub expects a flag here
        write(evidence[name], content.getvalue())

    return combine(found(), data.labels, keep), evidence
