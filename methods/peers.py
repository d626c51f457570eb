"""Two classifiers that train side by side and learn from each other."""

import torch

from methods.base import MakeModel, Method, View


class Peers(Method):
    """Makes two classifiers with different initial weights, `model`, which predicts, and `peer`."""

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.peer = make_model()

    def logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of both classifiers, (n, classes) each."""
        return self.model(images), self.peer(images)


def disagree(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Where the predicted classes differ, bool (n,), of logits (n, classes)."""
    return logits.argmax(dim=1) != others.argmax(dim=1)


def kept(n: torch.Tensor | int, noise_rate: float, ramp: torch.Tensor) -> torch.Tensor:
    """floor(n - n noise_rate ramp), at least 1, as float64 (): how many of n examples count as right, where `ramp` rises from 0 to 1."""
    return (n - n * noise_rate * ramp.double().clamp(max=1)).floor().clamp(min=1)
