"""Comparison of robust-training methods under shared conditions, from Python.

    import robust_benchmark

    trials = robust_benchmark.run_grid("method=l2rw,reed", "noise=bgflip")
    trials.groupby("method")["test_accuracy"].mean()

`run_grid` trains and `load` reads, and both return a data frame with a row for each trial. `load_model` returns a trained model. A method
is a subclass of `Method` under `@register("name")`; its `loss` takes a `Batch`, and its `needs` is a `Knowledge`. An `Observer` follows
each trial during training. A user's mistake raises `UserError`.

Large packages are imported on first use. `load` works beside Hugging Face's `datasets`. All other functions use the module names
`benchmark`, `methods` and `datasets` in this process, so they need a process without another package `datasets`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from robust_benchmark import imports
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from robust_benchmark.classifier import RobustClassifier
    from robust_benchmark.suite.benchmark.artifacts import load_model  # type: ignore[import-not-found]  # a checkout has no suite/
    from robust_benchmark.suite.benchmark.observers import Observer  # type: ignore[import-not-found]
    from robust_benchmark.suite.methods.base import Batch, Knowledge, Method  # type: ignore[import-not-found]
    from robust_benchmark.suite.methods.registry import register  # type: ignore[import-not-found]

__all__ = ["Batch", "Knowledge", "Method", "Observer", "RobustClassifier", "UserError", "load", "load_model", "register", "run_grid"]

PYTHONS = ((3, 11), (3, 13))  # the first and the last; older versions can read this file and its imports to report it
if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
    said = "robust-training-benchmark needs Python {}.{} to {}.{}, and this is {}.{}".format(*PYTHONS[0], *PYTHONS[1], *sys.version_info)
    if os.path.basename(sys.argv[0]) in ("-m", "robust-benchmark"):  # -m: Python imports this package to run it
        sys.exit(f"error: {said}")
    raise ImportError(said)


def run_grid(*overrides: str) -> pd.DataFrame:
    """Train the missing trials of a grid, like `robust-benchmark run`; return all its trials, one per row, with the columns of `load`.

    overrides: as on the command line, such as "method=l2rw,reed", "noise.rate=0.2,0.4" and "trials=3"

    A trial is "done" or "diverged" according to its record. It is "failed" if it raised an error, which stops no other trial; its `path` is
    the note with the traceback. It is "missing" if it runs elsewhere (launcher.detach=true), or if its process was killed.
    Recorded trials are not trained again: after changing a method in a notebook, use another results_dir and
    another checkpoint_dir. In a script, call it under `if __name__ == "__main__":`, because other processes may import the script.
    Raises UserError for a mistake, and KeyboardInterrupt on Ctrl-C, after a checkpoint; the same call continues from there.
    """
    api = imports.module("benchmark.api")
    with imports.for_children():
        return api.run_grid(overrides)


def load(results_dir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the records under a directory, one row per trial, in the order of their paths.

    method: name with the options that differ from their defaults; dataset, noise: their names; seed: of the trial
    status: "done" or "diverged"; sees: information that the method may use; key: of the configuration, shared by its trials
    path: the record's file, which also has the history, the confusion matrix, timing and versions
    then each metric of the record at the last step, accuracies as shares in [0, 1], NaN if the trial has none;
    then each option of the configuration by its dotted name, such as noise.rate and trainer.steps; lists as text.

    Warns of files that cannot be read, and skips them. Raises UserError if the directory does not exist.
    """
    return imports.module("benchmark.analysis.trials", packages=["benchmark"]).load(results_dir)


if not TYPE_CHECKING:  # a type checker would accept any name for one of these

    def __getattr__(name: str) -> Any:
        homes = {"load_model": "benchmark.artifacts", "register": "methods.registry", "Observer": "benchmark.observers"}
        homes |= dict.fromkeys(("Batch", "Knowledge", "Method"), "methods.base")
        if name == "RobustClassifier":  # its own module in this package, so that it can be pickled
            return importlib.import_module("robust_benchmark.classifier").RobustClassifier
        if name not in homes:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(imports.module(homes[name]), name)
