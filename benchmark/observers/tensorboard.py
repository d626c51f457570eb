"""Curves for TensorBoard. Use `observers=[tensorboard]`, and then `tensorboard --logdir results/runs`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from benchmark.observers import Observer


class TensorBoard(Observer):
    """Writes each metric of each evaluation to an event file in `seed-N.tensorboard`, beside the record seed-N.json.

    A trial that continues from a checkpoint continues its curves. Points after the checkpoint from an earlier process are dropped.
    """

    def started(self, config: Mapping[str, Any], key: str, seed: int, path: Path, step: int) -> None:
        self._writer = EventFileWriter(str(path.with_suffix(".tensorboard")))
        self._add(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))  # drops earlier events from this step on

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._add(Event(step=step, summary=Summary(value=values)))

    def ended(self, record: Mapping[str, Any] | None) -> None:
        self._writer.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.add_event(event)
        self._writer.flush()
