"""The request for a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.analysis.style import Look, label
from benchmark.metrics import Metric
from benchmark.records.store import Record
from robust_benchmark.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Labels(NamedTuple):
    """Given and true labels of a training set, int64 (n,), and the transition matrix of its noise, (classes, classes), or None."""

    given: NDArray[np.int64]
    true: NDArray[np.int64]
    stated: NDArray[np.float64] | None


@dataclass(frozen=True)
class Request:
    """The checked arguments of `benchmark.analysis.figures.draw`. looks: by the labels of methods; width: in inches

    labels_of: returns the training labels of a recorded trial. The caller passes it, because drawing labels again needs torch.
    estimate_of: returns the estimate of the transition matrix of a recorded trial, from weights in a directory, or None; needs torch too
    ranking: for kind detection, the evidence that ranks the examples of every method; None for weights, or losses without weights
    """

    records: Sequence[Record]
    looks: Mapping[str, Look]
    metrics: tuple[Metric, ...]
    x: str | None
    logarithmic: bool
    selections: tuple[str, ...]
    width: float
    checkpoint_dir: Path
    labels_of: Callable[[Record], Labels] | None
    ranking: str | None = None
    estimate_of: Callable[[Record, Path], NDArray[np.float64] | None] | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether a row has room for only one panel."""
        return self.width < 5

    def shown_looks(self) -> dict[str, Look]:
        """The look of each method, by its name in the figure, which may be the name of an experiment's row."""
        return {record["method"]: self.looks[label(record)] for record in self.records}

    def finished(self) -> list[Record]:
        """The records of trials that did not diverge. Raises UserError if there is none."""
        found = [record for record in self.records if record["status"] == "done"]
        if not found:
            raise UserError("no finished trial to draw")
        return found

    def one_metric(self, kind: str) -> Metric:
        """The only metric. Raises UserError if there are several."""
        if len(self.metrics) > 1:
            raise UserError(f"a figure of kind {kind} shows one metric (--y), not {', '.join(each.name for each in self.metrics)}")
        return self.metrics[0]
