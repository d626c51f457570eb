"""The labels of a recorded trial, drawn again from its data: which are given, which are true, and the transition matrix of its noise."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.config import composed_choice
from benchmark.objects import make, takes
from benchmark.records.store import Record, canonical
from datasets.source import UNKNOWN, Source
from datasets.streams import numpy_stream
from datasets.task import Split, draw
from robust_benchmark.errors import UserError


class Labels(NamedTuple):
    """Of a trial's training set: given and true labels, int64 (n,), and T of its noise, (classes, classes), None where it states none."""

    given: NDArray[np.int64]
    true: NDArray[np.int64]
    stated: NDArray[np.float64] | None


def labels_of(record: Record, data_dir: str | Path = "data") -> Labels:
    """The labels that the trial of a record trained on.

    data_dir: where published data sets lie; nothing is downloaded
    Raises UserError where the data is not on this machine, is not that of the record, or where nobody knows its true labels.
    """
    config = record["config"]
    options = _whole("dataset", config["dataset"]["name"], data_dir)["source"] | config["dataset"]["source"]
    source = _source(config["dataset"]["name"], canonical(options))
    noise = make("noise", _whole("noise", config["noise"]["name"], data_dir) | config["noise"]).on(source)
    imbalance = config.get("imbalance", {"name": "none"})
    chosen = make("imbalance", _whole("imbalance", imbalance["name"], data_dir) | imbalance)
    drawn = draw(source, noise, Split(**config["split"]), record["seed"], "clean_set" in record["needs"], chosen)
    digests = {"source": source.digest, "drawn": drawn.digest}
    if digests != record["digests"]:
        raise UserError(f"record {record['path']} was made from other images or labels than this machine has")
    true = source.true_labels.numpy()[drawn.train]
    if (true == UNKNOWN).any():
        raise UserError(f"record {record['path']} is of training labels of which nobody knows whether they are right")
    classes = len(source.classes)
    stated = noise.transition_matrix(noise.targets(classes, record["seed"], numpy_stream(record["seed"], "noise targets")))
    return Labels(drawn.train_labels, true, stated if noise.synthetic else None)


def _whole(group: str, name: str, data_dir: str | Path) -> dict[str, Any]:
    """The options of a choice as its file has them, with the place of published data."""
    options = composed_choice(group, name)
    for part in (options, options.get("source", {})):
        part |= {place: str(data_dir) for place in ("root",) if place in part}
    return options


@functools.lru_cache(maxsize=2)
def _source(name: str, options: str) -> Source:
    import json

    given = json.loads(options)
    without = {option: False for option in ("download", "resident") if takes(given["_target_"], option)}
    source: Source = make("dataset", given | without, name)
    return source
