"""Two classifiers that train side by side and learn from each other."""

import torch

from methods.base import MakeModel, Method, View


class Peers(Method):
    """Two classifiers with different initial weights: `model`, which predicts, and `peer`."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.peer = make_model()

    def logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of both classifiers, (n, classes) each."""
        return self.model(images), self.peer(images)


def disagree(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return whether the predicted classes differ, bool (n,), from two logits, (n, classes)."""
    return logits.argmax(dim=1) != others.argmax(dim=1)


def kept(n: torch.Tensor | int, noise_rate: float, ramp: torch.Tensor) -> torch.Tensor:
    """Return how many of n examples to keep, floor(n - n noise_rate min(ramp, 1)), at least 1, as float64 ()."""
    return (n - n * (ramp.double().clamp(max=1) * noise_rate)).floor().clamp(min=1)  # the share first, so that products are float64
