"""Observers receive the events of each trial during training, for example for TensorBoard. This package imports no torch.

`observers=[tensorboard]` names a built-in observer, an entry point of the group `robust_training.observers`, or `module:Class`. Observers
run in a separate process, which receives all events as text. So an observer cannot change a number or stop training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Observer:
    """Receives the events of one trial. Each trial has its own observer, created without arguments when training starts or continues.

    Override the methods that you need. An exception turns the observer off for its trial, with one line on stderr; training continues.
    """

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        """Training starts or continues.

        config: all options that determine the numbers; key: their digest; path: of the later record
        step: 0, or the step of the checkpoint; evaluations of an earlier process after this step are repeated
        """

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated. step: the number of steps over all phases

        metrics: by their names in records, without undefined ones
        """

    def ended(self, record: Mapping[str, Any] | None) -> None:
        """Training ends in this process. record: the trial's record, or None if it failed or was stopped"""
