"""Ratios of durations, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

Work = Callable[[], object]
SETTLE = 0.1  # seconds between contenders, for the last one's workers to end their prefetching
HEADERS = ["subject", "contender", "ratio", "quartiles", "ms"]


@dataclass(frozen=True)
class Effort:
    """What to measure on, and how long. rounds: ratios are taken within a round; repeats: of each contender a round

    methods (all for none), overrides, output: of the topic cost
    """

    models: tuple[str, ...]
    device: torch.device
    rounds: int
    repeats: int
    methods: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    output: Path = Path("results/cost.json")


def compare(subject: str, contenders: Mapping[str, Work], effort: Effort, per: int = 1) -> Iterator[list[str]]:
    """By HEADERS, a row a contender: medians of its time as a ratio to the first one's, and in ms of one of the `per` steps it takes."""
    seconds = interleaved(list(contenders.values()), effort)
    ratios = seconds / seconds[:, :1]
    for column, contender in enumerate(contenders):
        low, median, high = np.percentile(ratios[:, column], (25, 50, 75))
        yield [subject, contender, f"{median:.3f}", f"{low:.3f} to {high:.3f}", f"{1000 * np.median(seconds[:, column]) / per:.2f}"]


def interleaved(contenders: list[Work], effort: Effort, settle: float = SETTLE) -> np.ndarray:
    """Seconds of one call, (rounds, contenders); the contenders take turns within a round. settle: seconds of sleep before each turn"""
    seconds = np.empty((effort.rounds + 1, len(contenders)))
    for turn in range(effort.rounds + 1):
        for column, work in enumerate(contenders):
            time.sleep(settle)
            _wait(effort.device)
            began = time.perf_counter()
            for _ in range(effort.repeats):
                work()
            _wait(effort.device)
            seconds[turn, column] = (time.perf_counter() - began) / effort.repeats
    return seconds[1:]  # the first round warms up


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
