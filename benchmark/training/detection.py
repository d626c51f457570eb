"""Measures of how well a method's example weights identify the wrong labels, which the suite knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from datasets.streams import numpy_stream
from datasets.task import Examples, Task
from methods.base import known
from robust_benchmark.errors import ContractError

Weigh = Callable[[Examples], torch.Tensor]
EDGES = np.append(np.arange(0, 4.05, 0.1), np.inf)  # edges of histograms of n w_i: 1 is the weight of plain training


class WeightLog:
    """The last weight of each training example, times the batch size, NaN for examples not drawn yet; and the evenness of the weights.

    The effective share of a batch is (sum w)^2 / (n sum w^2): 1 for equal weights, k / n if k of them are equal and the others are
    zero, and 0 if all are zero. Source: Kish, "Survey Sampling" (1965), whose effective sample size is n times it.
    """

    def __init__(self, train: Examples) -> None:
        device = train.labels.device
        self._size = len(train)
        self._values = torch.full((len(train),), torch.nan, device=device)
        self._shares = torch.zeros((), dtype=torch.float64, device=device)  # sum since the last evaluation
        self._batches = torch.zeros((), dtype=torch.float64, device=device)

    def note(self, index: torch.Tensor, weights: torch.Tensor) -> None:
        """Record the `weights` of a batch, (n,), for the training examples `index`. Does not wait for the device."""
        n = len(weights)
        scaled = weights.detach().float() * n
        self._values[index] = scaled
        self._shares += F.normalize(scaled, dim=0).sum().square() / n  # zero weights stay zero
        self._batches += 1

    @property
    def values(self) -> torch.Tensor:
        """Return the last weights of the training set's own examples, (n,)."""
        return self._values[: self._size]

    def extend(self, size: int) -> None:
        """Make room for `size` examples, after some joined the training set."""
        more = size - len(self._values)
        if more > 0:  # otherwise it keeps its address, because graphs write to it
            self._values = F.pad(self._values, (0, more), value=torch.nan)

    @property
    def weighs(self) -> bool:
        """Return whether any weight was recorded. Waits for the device."""
        return bool(self.values.isfinite().any())

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state that `restore` needs to continue from here."""
        return {"values": self._values, "shares": self._shares, "batches": self._batches}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Continue the log that returned `state`."""
        self.extend(len(state["values"]))
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def effective_share(self) -> dict[str, float]:
        """Return the mean effective share of the batches since the last call; empty if there are none."""
        mean = (self._shares / self._batches).item()
        self._shares.zero_()
        self._batches.zero_()
        return {} if math.isnan(mean) else {"effective_batch_share": mean}

    def check(self) -> None:
        """Raise ContractError if a last weight is negative, or a weight since the last call of `effective_share` is not finite."""
        if bool((self.values < 0).any()):
            raise ContractError("example weights must not be negative")
        if bool(self._batches > 0) and not bool(self._shares.isfinite()):
            raise ContractError("example weights must be finite, as the loss is")

    def report(self, train: Examples) -> dict[str, float]:
        """Return the measures of the recorded weights; empty without weights, without true labels, or without both kinds of labels."""
        if not train.truth_is_known:
            return {}
        weights, _, wrong = self._noted(train)
        if not wrong.any() or wrong.all():
            return {}
        return {
            "weights_auroc": auroc(weights, wrong),
            "weights_auprc": auprc(weights, wrong),
            "weights_precision": precision(weights, wrong),
        }

    def precision_per_class(self, train: Examples, classes: int) -> list[float | None]:
        """Return the precision among the examples of each given label, None if none of them is wrong; empty without true labels."""
        if not train.truth_is_known:
            return []
        weights, given, wrong = self._noted(train)
        members = [given == label for label in range(classes)]
        return [precision(weights[each], wrong[each]) if wrong[each].any() else None for each in members]

    def _noted(self, train: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for the examples drawn so far: weights, given labels, and a mask of the wrong labels."""
        weights, given = self.values.cpu().numpy(), train.labels.cpu().numpy()
        noted = np.isfinite(weights)
        wrong = given != train.true_labels.cpu().numpy()
        return weights[noted], given[noted], wrong[noted]


def auroc(weights: np.ndarray, wrong: np.ndarray) -> float:
    """Return the probability that a wrong example has a lower weight than a right one; ties count half (the Mann-Whitney statistic)."""
    from scipy.stats import rankdata  # import takes half a second, and no method needs it before its first step

    right = ~wrong
    ranks = rankdata(weights)
    return float((ranks[right].sum() - right.sum() * (right.sum() + 1) / 2) / (right.sum() * wrong.sum()))


def auprc(weights: np.ndarray, wrong: np.ndarray) -> float:
    """Return average precision: over the distinct weights in ascending order, the sum of the precision times the gain in recall."""
    order = np.argsort(weights, kind="stable")
    last = np.append(np.diff(weights[order]) > 0, True)  # counts of each distinct weight
    found = wrong[order].cumsum()[last]
    return float((np.diff(found, prepend=0) * found / (np.flatnonzero(last) + 1)).sum() / found[-1])


def precision(weights: np.ndarray, wrong: np.ndarray) -> float:
    """Return the share of wrong labels among the k lowest weights, k being the number of wrong labels; ties count by expectation."""
    k = int(wrong.sum())
    cut = np.partition(weights, k - 1)[k - 1]
    below, tied = weights < cut, weights == cut
    return float((wrong[below].sum() + (k - below.sum()) * wrong[tied].mean()) / k)


def weight_histograms(weigh: Weigh, task: Task, size: int, seed: int) -> dict[str, Any]:
    """Return histograms of n w_i over hyper-validation images, by correctness of their labels: the two panels of the paper's Figure 3.

    weigh: computes the method's weights, (n,), of examples
    mixed: one random batch of `size`, corrupted like the set; one_class: batches of one true class each, with labels drawn
        from its row of the transition matrix, without classes that the noise does not change. Counts by the bins of EDGES.
    """
    rng = numpy_stream(seed, "weight histograms")
    images, true_labels = task.hyper_validation.images, task.hyper_validation.true_labels
    positions = rng.permutation(len(true_labels))
    mixed = task.hyper_validation.take(positions[:size])
    batches = []
    T = known(task.transition_matrix).numpy()
    for label in np.flatnonzero(T.diagonal() < 1):
        members = positions[(true_labels.cpu().numpy() == label)[positions]][:size]
        labels = torch.from_numpy(rng.choice(len(T), len(members), p=T[label])).to(true_labels.device)
        if len(members) > 0:
            batches.append(Examples(images[members], labels, true_labels[members]))
    return {"edges": EDGES[:-1].round(1).tolist(), "mixed": _histograms(weigh, [mixed]), "one_class": _histograms(weigh, batches)}


def _histograms(weigh: Weigh, batches: list[Examples]) -> dict[str, list[int]]:
    counts = {"right": np.zeros(len(EDGES) - 1, dtype=int), "wrong": np.zeros(len(EDGES) - 1, dtype=int)}
    for batch in batches:
        weights = (weigh(batch) * len(batch)).double().cpu().numpy().round(6)  # makes (1 / n) n equal to 1
        right = (batch.labels == batch.true_labels).cpu().numpy()
        counts["right"] += np.histogram(weights[right], EDGES)[0]
        counts["wrong"] += np.histogram(weights[~right], EDGES)[0]
    return {name: count.tolist() for name, count in counts.items()}
