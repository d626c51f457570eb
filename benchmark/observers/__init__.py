"""Observers: what else hears of each trial while it trains, such as TensorBoard. No torch here.

`observers=[tensorboard]` names them: a built-in one, an entry point of the group `robust_training.observers`, or `module:Class`. They
work in a process of their own, to which all is sent as text. So nothing that one of them does can change a number or stop training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Observer:
    """Hears of one trial: each trial has an observer of its own, made without arguments when its training starts or goes on.

    Override what you need. An exception turns the observer off for its trial, with one line on stderr; training goes on.
    """

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        """Training starts.

        config: all options that determine the numbers; key: their digest; path: where the record will lie
        step: 0, or where training goes on from a checkpoint; what was evaluated after this step by an earlier process comes again
        """

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """The trial was evaluated after so many steps of all phases.

        metrics: by the names of records; those that are undefined are left out
        """

    def ended(self, record: Mapping[str, Any] | None) -> None:
        """Training ends here: with the trial's record, or with None where it failed or was stopped."""
