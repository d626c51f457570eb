"""Artificial records for tests, in the form that runs write."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from benchmark import fingerprint
from benchmark.metrics import METRICS
from benchmark.records.history import columns
from benchmark.records.schema import SCHEMA
from benchmark.records.store import Record, digest

CONFIG: dict[str, Any] = {
    "method": {"name": "reed", "beta": 0.8},
    "dataset": {"name": "digits", "source": {"test_size": 500}},
    "noise": {"name": "bgflip", "rate": 0.4, "background": None},
    "split": {"clean_per_class": 10, "clean_total": None, "stratified": True},
    "model": {"name": "convnet", "width": 16},
    "trainer": {"name": "digits", "steps": 100},
}
IMAGES = 10_000  # of a test set at most
ENVIRONMENT = {"device": "a CPU", "versions": {"torch": "2.11.0"}, "revision": "0123456789ab"}


def config_of(base: dict[str, Any] = CONFIG, **options: Any) -> dict[str, Any]:
    """Return the options that determine a cell's numbers: `noise__rate=0.2` sets an option of a part, `scale=0.1` a global one."""
    made = copy.deepcopy(base)
    for option, value in options.items():
        part, _, name = option.partition("__")
        if name:
            made[part][name] = value
        else:
            made[part] = value
    return made


def record_of(config: dict[str, Any], seed: int = 0, history: Sequence[dict[str, Any]] = (), done: bool = True, **fields: Any) -> Record:
    """Return the record of a trial with the evaluations of its history, from today's code; `fields` replaces fields."""
    last = {name: value for name, value in history[-1].items() if name in METRICS} if history else {}
    right = Fraction(last.get("test_accuracy", 0)).limit_denominator(IMAGES)
    following = pairwise([*history, {"phase": "", "step": 0}])
    steps = sum(now["step"] for now, after in following if now["phase"] != after["phase"] or now["step"] >= after["step"])
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
        "per_class": per_class(right) if done else {},
        "history": columns(history),
        "weight_histograms": {},
        "data": {
            "classes": ["cat", "dog"],
            "sizes": {"train": 4, "clean": 0, "hyper_validation": 2, "test": right.denominator},
            "wrong_labels": {"train": 1, "hyper_validation": None},
            "noise_rate": 0.25,
            "train_labels_per_class": [1, 3],
        },
        "timing": {"steps": max(1, steps), "train_seconds": 1.5, "evaluation_seconds": 0.5, "finished": "2026-01-01T00:00:00+00:00"},
    } | fields


def per_class(right: Fraction) -> dict[str, Any]:
    """Return the per-class fields of a test set with only cats, of which this share is recognised."""
    found, images = right.as_integer_ratio()
    return {"accuracy": [float(right), None], "confusion_matrix": [[found, images - found], [0, 0]]}


def entry(step: int, accuracy: float | None = None, phase: str = "main", **metrics: float) -> dict[str, Any]:
    """An evaluation as a run notes it; accuracy None is one at which the trial had diverged."""
    noted: dict[str, Any] = {"phase": phase, "step": step}
    return noted | ({} if accuracy is None else {"train_loss": 1.0, "test_accuracy": accuracy} | metrics)
