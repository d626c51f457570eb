"""Progressive early stopping: later layers start again and train briefly, then only examples that fit are used (PES)."""

from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Batch, Clock, MakeModel, Method, Phase, Update, View
from methods.parts import evaluation_form
from methods.registry import register
from methods.sampling import cycled
from methods.schedules import Optimiser, Schedule, Schedules
from methods.shares import split
from robust_benchmark.errors import UserError, at_least, in_range

STEPS = 78_200  # of the released code: 200 epochs of 391
LARGEST_LR = 0.01


@register
class PES(Method):
    """Early layers stop early; later ones start again and train alone, for less; then confident examples train all of them.

        phase 1: mean CE, all layers;   2: last stage and output layer, started afresh;   3: output layer, started afresh again
        phase 4: each epoch takes the examples whose label is the prediction; mean of CE, weighted by mean class count / n_y

    Later layers memorise first. In phases 2 and 3 an optimiser of their own holds exactly the layers that started afresh, and no others
    move (running averages of batch norm do); in phase 4 a new one holds all layers.

    early: share of phase 1, in [0, 1]
    late: share of phase 2, in [0, 1]
    output: share of phase 3, in [0, 1]
    lr: of Adam in phases 2 and 3 for trainings of 78,200 steps, at least 0; it is scaled so that lr times steps stays, up to 0.01

    Needs: nothing beyond noisy labels, and a model with `stages`. Its three shares sum to at most 1.
    Source: Bai et al., "Understanding and Improving Early Stopping for Learning with Noisy Labels", NeurIPS 2021. Defaults: the released
    code's 25, 7 and 5 of 200 epochs for CIFAR-10. There the optimiser of phase 4 still holds the layers from before they started afresh,
    so that the new ones never train in it; here they do. It predicts by two augmented views; here by the image as it is. Its
    semi-supervised variant is left out. Around PES, `sam` changes phase 1 alone.
    """

    confident: torch.Tensor
    class_weights: torch.Tensor

    def __init__(self, early: float = 0.125, late: float = 0.035, output: float = 0.025, lr: float = 1e-4) -> None:
        super().__init__()
        self.shares = [in_range(name, share, 0, 1) for name, share in (("early", early), ("late", late), ("output", output))]
        if sum(self.shares) > 1:
            raise UserError(f"the shares early, late and output of pes sum to {sum(self.shares):g}, which is more than 1")
        self.last: list[str] = []  # stages that start afresh, known after `setup`
        self.lr = at_least("lr", lr, 0)

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = make_model()
        self.fresh = make_model().requires_grad_(False)  # other initial weights than the first
        self.last = _last_stages(self.model)
        self.register_buffer("confident", torch.ones(len(view.labels), dtype=torch.bool))
        self.register_buffer("class_weights", torch.ones(view.num_classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        main = schedules.main
        early, late, output, rest = split(main, *accumulate(self.shares))
        alone = Optimiser("adam", lr=min(self.lr * STEPS / max(main.steps, 1), LARGEST_LR))

        def afresh(name: str, part: Schedule, stages: list[str]) -> Phase:
            update = Update(self.loss, self._parts(stages), alone)
            return Phase(name, part, (update,), before=lambda view: self._start_afresh(stages))

        confident = Update(self.confident_loss, ("model",))
        return [
            Phase("early", early, self.loss),
            afresh("late layers", late, self.last),
            afresh("output layer", output, self.last[-1:]),
            Phase("confident", rest, (confident,), sample=self.sample, every_epoch=self.judge),
        ]

    def _parts(self, stages: list[str]) -> tuple[str, ...]:
        """Names of all parameters of these stages of the model."""
        if not stages:
            return ("model",)  # before `setup`
        modules = cast(Staged, self.model).stages()
        mine = {id(parameter) for stage in stages for parameter in modules[stage].parameters()}
        return tuple(name for name, parameter in self.named_parameters() if id(parameter) in mine)

    @torch.no_grad()
    def _start_afresh(self, stages: list[str]) -> None:
        own, fresh = (cast(Staged, model).stages() for model in (self.model, self.fresh))
        for stage in stages:
            own[stage].load_state_dict(fresh[stage].state_dict())

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def confident_loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch of confident examples."""
        return F.cross_entropy(self.model(batch.images), batch.labels, weight=self.class_weights)

    @torch.no_grad()
    def judge(self, view: View, clock: Clock) -> None:
        """Select the confident examples, and set the weights of classes."""
        with evaluation_form(self.model):
            for batch in view.batches():
                self.confident[batch.index] = self.model(batch.images).argmax(dim=1) == batch.labels
        self.confident.logical_or_(~self.confident.any())  # all, if none is confident
        counts = torch.zeros_like(self.class_weights).index_add_(0, view.labels, self.confident.to(self.class_weights.dtype))
        self.class_weights.copy_(counts.mean() / counts.clamp(min=1))

    def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """An epoch of the confident examples, which repeat if they do not fill a batch."""
        members, width = torch.nonzero(self.confident).flatten(), min(size, len(labels))
        rows = max(1, len(members) // width)
        return cycled(members, rows * width, generator).view(rows, width)


class Staged(nn.Module):
    """What PES relies on: the modules from the input to the output by their names, the output layer last."""

    def stages(self) -> dict[str, nn.Module]:
        raise NotImplementedError


def _last_stages(model: nn.Module) -> list[str]:
    """Names of the last two stages that have parameters. Raises UserError for a model without `stages`."""
    if not callable(getattr(model, "stages", None)):
        raise UserError(f"pes needs a model with `stages`, which {type(model).__name__} does not have")
    return [name for name, stage in cast(Staged, model).stages().items() if any(True for _ in stage.parameters())][-2:]
