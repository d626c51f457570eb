"""Data sets that are on this disk, and the label noise of a configuration, which may take images from one of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from benchmark.config import composed_choice
from benchmark.objects import make, takes
from datasets.noise import Corruption
from datasets.source import Source


def make_noise(options: Mapping[str, Any]) -> Corruption:
    """Create the object of a choice of noise; one with an argument `source_of` gets `source_on_disk`. Raises UserError like `make`."""
    more = {"source_of": source_on_disk} if takes(options["_target_"], "source_of") else {}
    noise: Corruption = make("noise", {**options, **more})
    return noise


@functools.lru_cache(maxsize=1)
def source_on_disk(name: str, data_dir: str) -> Source:
    """Return a configured data set with its default options; downloads nothing. Raises UserError if it is unknown or not in `data_dir`."""
    return on_disk(name, composed_choice("dataset", name, data_dir)["source"])


def on_disk(name: str, options: Mapping[str, Any]) -> Source:
    """Return the data set with these options of its source; downloads nothing. Raises UserError like `make`, also if it is not there."""
    without = {option: False for option in ("download", "resident") if takes(options["_target_"], option)}
    source: Source = make("dataset", {**options, **without}, name)
    return source
