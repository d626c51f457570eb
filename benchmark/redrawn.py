"""The labels of a recorded trial, drawn again from its data: given labels, true labels, and the transition matrix of the noise."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from benchmark.analysis.figures.request import Labels
from benchmark.config import composed_choice
from benchmark.donors import make_noise, on_disk
from benchmark.objects import make
from benchmark.records.store import Record, canonical
from datasets.source import UNKNOWN, Source
from datasets.task import Split, draw
from robust_benchmark.errors import UserError


def labels_of(record: Record, data_dir: str | Path = "data") -> Labels:
    """The training labels of a recorded trial.

    data_dir: directory of published data sets; nothing is downloaded
    Raises UserError if the data is missing, if it differs from the record's data, or if some true labels are unknown or no class.
    """
    config = record["config"]
    options = composed_choice("dataset", config["dataset"]["name"], data_dir)["source"] | config["dataset"]["source"]
    source = _source(config["dataset"]["name"], canonical(options))
    noise = make_noise(composed_choice("noise", config["noise"]["name"], data_dir) | config["noise"]).on(source)
    imbalance = config.get("imbalance", {"name": "none"})
    chosen = make("imbalance", composed_choice("imbalance", imbalance["name"], data_dir) | imbalance)
    drawn = draw(source, noise, Split(**config["split"]), record["seed"], "clean_set" in record["needs"], chosen)
    digests = {"source": source.digest, "drawn": drawn.digest}
    if digests != record["digests"]:
        raise UserError(f"record {record['path']} comes from different images or labels than the data on this machine")
    true = source.true_labels.numpy()[drawn.train]
    if drawn.replacement:
        raise UserError(f"record {record['path']} has training images of another data set, which have no true class")
    if (true == UNKNOWN).any():
        raise UserError(f"the true labels of the training set of record {record['path']} are unknown")
    is_stated = noise.synthetic and not chosen.after_noise  # images that are chosen by their given labels have other shares
    return Labels(drawn.train_labels, true, noise.transition_matrix(drawn.targets) if is_stated else None)


@functools.lru_cache(maxsize=2)
def _source(name: str, options: str) -> Source:
    return on_disk(name, json.loads(options))
