"""Evidence about each training example, collected at every evaluation of a trial."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmark.training.batches import in_order
from datasets.task import Task
from methods.base import Method

FIELDS = ("loss", "margin", "prediction", "wrong_events")


class Evidence:
    """Running sums over evaluations, (n,) each, for the training examples of a task.

    loss: cross-entropy of the given label
    margin: logit of the given label minus the largest other logit; its mean is the area under the margin of Pleiss et al., "Identifying
        Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020
    prediction: class predicted at the last evaluation
    wrong_events: number of evaluations whose predicted class is not the given label, int64; of Zhang et al., "Handling Label Noise via
        Instance-Level Difficulty Modeling and Dynamic Optimization", NeurIPS 2025, who count epochs, with predictions in training form
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.loss = torch.zeros(len(task.train), device=task.train.labels.device)
        self.margin = torch.zeros_like(self.loss)
        self.prediction = torch.zeros_like(task.train.labels)
        self.wrong_events = torch.zeros_like(task.train.labels)
        self.evaluations = 0

    @torch.no_grad()
    def note(self, method: Method) -> None:
        """Add an evaluation of `method`, which ends in training mode."""
        method.eval()
        for batch in in_order(self._task.train, self._task.preprocessing):
            logits = method.predict(batch.images).float()  # (batch, classes)
            given = batch.labels[:, None]
            others = logits.scatter(1, given, -torch.inf).amax(dim=1)
            self.loss[batch.index] += F.cross_entropy(logits, batch.labels, reduction="none")
            self.margin[batch.index] += logits.gather(1, given)[:, 0] - others
            predicted = logits.argmax(dim=1)
            self.prediction[batch.index] = predicted
            self.wrong_events[batch.index] += predicted != batch.labels
        self.evaluations += 1
        method.train()

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean loss and mean margin over the evaluations, (n,) each."""
        return self.loss / max(1, self.evaluations), self.margin / max(1, self.evaluations)

    def state(self) -> dict[str, torch.Tensor | int]:
        """Return the state that `restore` needs to continue from here."""
        return {**{name: getattr(self, name) for name in FIELDS}, "evaluations": self.evaluations}

    def restore(self, state: dict[str, torch.Tensor | int]) -> None:
        """Continue the evidence that returned `state`; a state of an earlier version, without some of FIELDS, is left out."""
        if not state.keys() >= {*FIELDS}:
            return
        for name in FIELDS:
            getattr(self, name).copy_(state[name])
        self.evaluations = int(state["evaluations"])
