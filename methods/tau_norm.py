"""Plain training, then predictions with rescaled class vectors of the output layer (tau-normalisation)."""

import torch
from torch.func import functional_call

from methods.base import Batch, Clock, Knowledge, MakeModel, Phase, View
from methods.baseline import Baseline
from methods.clean_set import clean_batches
from methods.parts import TwoParts, evaluation_form, two_parts
from methods.registry import register
from methods.sampling import uniform
from methods.schedules import Schedules
from robust_benchmark.errors import at_least, choice

TAUS = tuple(step / 10 for step in range(21))
SMALLEST = 1e-6  # norm of a class's weights
HELD_OUT = 0.1  # share of each class that chooses tau


@register
class TauNorm(Baseline):
    """Divides the weights of each class in the output layer by a power of their norm, because frequent classes get larger norms.

        prediction: z_k = <w_k, h> / ||w_k||^tau,   h: the model's features;   training: mean CE of the unchanged output layer

    The bias takes no part in predictions. tau comes from 0, 0.1, ..., 2: the value with the highest balanced accuracy on validation
    examples, and the smallest of several. It is chosen again at the start of each epoch, in evaluation form, so all evaluations during
    training use a chosen tau.

    tau: at least 0; None chooses it; with a value, all examples train and there is no validation
    validation: one of held_out, clean: 'held_out', a tenth of each class with more than one example (at least one), which does not train;
        'clean', the clean set

    Needs: nothing beyond noisy labels, or the clean set for `validation=clean`. With few examples of a class, its held-out tenth is
    small and the choice is coarse.
    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, and its code for the values
    of tau and the missing bias. There, tau is chosen once, after training, on the validation set of the data set.
    """

    model: TwoParts
    chosen: torch.Tensor
    held_out: torch.Tensor

    def __init__(self, tau: float | None = None, validation: str = "held_out") -> None:
        super().__init__()
        self.tau = None if tau is None else at_least("tau", tau, 0)
        self.validation = choice("validation", validation, ("held_out", "clean"))
        if tau is None and validation == "clean":
            self.needs = Knowledge.CLEAN_SET

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = two_parts(make_model(), "tau_norm")
        self.register_buffer("chosen", torch.tensor(float(self.tau or 0)))
        if self._holds_out:
            self.register_buffer("held_out", stratified(view.labels, HELD_OUT))

    @property
    def _holds_out(self) -> bool:
        return self.tau is None and self.validation == "held_out"

    def phases(self, schedules: Schedules) -> list[Phase]:
        if self.tau is not None:
            return super().phases(schedules)
        sample = self.sample if self._holds_out else uniform
        return [Phase("main", schedules.main, self.loss, sample=sample, every_epoch=self.choose)]

    def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return an epoch in random order, without the held-out examples."""
        kept = torch.nonzero(~self.held_out).flatten()
        return kept[uniform(kept, size, generator)]

    @torch.no_grad()
    def choose(self, view: View, clock: Clock) -> None:
        """Set tau by the balanced accuracy on the validation examples."""
        with evaluation_form(self.model):
            parts = [(self.model.features(batch.images), batch.labels) for batch in self._validation(view)]
        features, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        recalls = [balanced_accuracy(self.logits(features, tau).argmax(dim=1), labels, view.num_classes) for tau in TAUS]
        self.chosen.fill_(TAUS[int(torch.stack(recalls).argmax())])

    def _validation(self, view: View) -> list[Batch]:
        if self.validation == "clean":
            return [*clean_batches(view)]
        batches = ((batch, self.held_out[batch.index]) for batch in view.batches())
        return [Batch(batch.images[mine], batch.labels[mine]) for batch, mine in batches]

    def logits(self, features: torch.Tensor, tau: float | torch.Tensor) -> torch.Tensor:
        """Return z, (n, classes), of features, (n, d)."""
        output = self.model.output
        norms = output.weight.norm(dim=1, keepdim=True).clamp(min=SMALLEST)
        changed = {"weight": output.weight / norms**tau}
        if output.bias is not None:
            changed["bias"] = torch.zeros_like(output.bias)
        return functional_call(output, changed, (features,))

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(self.model.features(images), self.chosen)


def stratified(labels: torch.Tensor, share: float) -> torch.Tensor:
    """Return a random part of each label with more than one example, at least one of them, as a mask, bool (n,), of labels, (n,)."""
    mask = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique():
        members = torch.nonzero(labels == label).flatten()
        order = torch.randperm(len(members), device=labels.device)
        mask[members[order[: max(1, round(share * len(members)))]]] = len(members) > 1
    return mask


def balanced_accuracy(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the mean recall of the classes with examples, or 0 if there are none."""
    counts, right = (torch.bincount(each, minlength=classes) for each in (labels, labels[predicted == labels]))
    return (right / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
