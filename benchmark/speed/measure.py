"""Ratios of durations, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

Work = Callable[[], object]
SETTLE = 0.1  # seconds between contenders, so that the workers of the last one finish prefetching
HEADERS = ["subject", "contender", "ratio", "quartiles", "ms"]


@dataclass(frozen=True)
class Effort:
    """The models and the length of a measurement. rounds: ratios are computed within a round; repeats: per contender and round

    methods (none means all), overrides, output: options of the topic cost
    """

    models: tuple[str, ...]
    device: torch.device
    rounds: int
    repeats: int
    methods: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    output: Path = Path("results/cost.json")


def compare(subject: str, contenders: Mapping[str, Work], effort: Effort, per: int = 1) -> Iterator[list[str]]:
    """Return a row per contender, by HEADERS: median time as a ratio to the first one's, and in ms per step for `per` steps."""
    seconds = interleaved(list(contenders.values()), effort)
    ratios = seconds / seconds[:, :1]
    for column, contender in enumerate(contenders):
        low, median, high = np.percentile(ratios[:, column], (25, 50, 75))
        yield [subject, contender, f"{median:.3f}", f"{low:.3f} to {high:.3f}", f"{1000 * np.median(seconds[:, column]) / per:.2f}"]


def interleaved(contenders: list[Work], effort: Effort, settle: float = SETTLE) -> np.ndarray:
    """Return seconds of one call, (rounds, contenders); contenders take turns within a round. settle: seconds of sleep before each turn"""
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
