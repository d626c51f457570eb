"""Records as runs write them, made up for tests."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from benchmark import fingerprint
from benchmark.metrics import METRICS
from benchmark.records.history import columns
from benchmark.records.store import SCHEMA, Record, digest

CONFIG: dict[str, Any] = {
    "method": {"name": "reed", "beta": 0.8},
    "dataset": {"name": "digits", "source": {"test_size": 500}},
    "noise": {"name": "bgflip", "rate": 0.4, "background": None},
    "split": {"clean_per_class": 10, "clean_total": None, "stratified": True},
    "model": {"name": "convnet", "width": 16},
    "trainer": {"name": "digits", "steps": 100},
}
ENVIRONMENT = {"device": "a CPU", "versions": {"torch": "2.11.0"}, "revision": "0123456789ab"}


def config_of(base: dict[str, Any] = CONFIG, **options: Any) -> dict[str, Any]:
    """What determines a cell's numbers: `noise__rate=0.2` sets an option of a part, `scale=0.1` one of the whole."""
    made = copy.deepcopy(base)
    for option, value in options.items():
        part, _, name = option.partition("__")
        if name:
            made[part][name] = value
        else:
            made[part] = value
    return made


def record_of(config: dict[str, Any], seed: int = 0, history: Sequence[dict[str, Any]] = (), done: bool = True, **fields: Any) -> Record:
    """The record of a trial by the evaluations of its history, as of today's code; `fields` are those that are to be different."""
    last = {name: value for name, value in history[-1].items() if name in METRICS} if history else {}
    return {
        "schema": SCHEMA,
        "key": digest(config, 12),
        "seed": seed,
        "status": "done" if done else "diverged",
        "method": config["method"]["name"],
        "needs": [],
        "config": config,
        "fingerprint": fingerprint.of(config),
        "digests": {},
        "metrics": last if done else {},
        "environment": ENVIRONMENT,
        "overrides": [],
        "per_class": {},
        "history": columns(history),
        "weight_histograms": {},
        "data": {},
        "timing": {},
    } | fields


def entry(step: int, accuracy: float | None = None, phase: str = "main", **metrics: float) -> dict[str, Any]:
    """An evaluation as a run notes it; accuracy None is one at which the trial had diverged."""
    noted: dict[str, Any] = {"phase": phase, "step": step}
    return noted | ({} if accuracy is None else {"train_loss": 1.0, "test_accuracy": accuracy} | metrics)
