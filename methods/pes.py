"""Progressive early stopping: the last layers start again and train briefly, then confident examples train all layers (PES)."""

from itertools import accumulate

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
    """Trains the last layers for a shorter time than the first ones, as they memorise wrong labels first; then on confident examples.

        phase 1: all layers, mean CE
        phase 2: last stage with weights and output layer, from new initial weights, mean CE
        phase 3: output layer, from new initial weights, mean CE
        phase 4: all layers, on the confident examples: sum_i u_i CE_i / sum_i u_i,   u_i = mean class count / n_y

    An example is confident if the model predicts its label. This is determined when an epoch begins, in evaluation mode and without
    augmentation; n_y counts the confident examples of a label. If no example is confident, all are used. In phases 2 and 3, an Adam
    optimiser without weight decay updates only the layers that start again; the running averages of batch norm still change in all
    layers. In phase 4, a new optimiser of the trainer's kind updates all layers.

    early: share of phase 1, in [0, 1]
    late: share of phase 2, in [0, 1]; 0 omits the phase, and so does a share of less than half a step
    output: share of phase 3, in [0, 1]; 0 omits the phase, and so does a share of less than half a step
    lr: of Adam in phases 2 and 3 for trainings of 78,200 steps, at least 0; it is scaled so that lr times steps stays, up to 0.01

    Needs: nothing beyond noisy labels, and a model with `stages`. The three shares sum to at most 1.
    Source: Bai et al., "Understanding and Improving Early Stopping for Learning with Noisy Labels", NeurIPS 2021. Defaults: 25, 7
    and 5 epochs of the released code for CIFAR-10, as shares of its 200 epochs; there, phases 2 and 3 come on top of the 200. Two
    details of the code differ. Its optimiser of phase 4 holds the replaced layers, so the new ones do not train in it. It predicts on two
    augmented views. Its semi-supervised variant is not part of this method. The wrapper `sam` changes phase 1 only.
    """

    confident: torch.Tensor
    class_weights: torch.Tensor

    def __init__(self, early: float = 0.125, late: float = 0.035, output: float = 0.025, lr: float = 1e-4) -> None:
        super().__init__()
        self.shares = [in_range(name, share, 0, 1) for name, share in (("early", early), ("late", late), ("output", output))]
        if sum(self.shares) > 1 + 1e-9:  # sums of decimals are not exact
            raise UserError(f"the shares early, late and output of pes sum to {sum(self.shares):g}, which is more than 1")
        self.lr = at_least("lr", lr, 0)
        self.last: list[str] = []  # names of the stages that start again, known after `setup`

    def setup(self, make_model: MakeModel, view: View) -> None:
        self.model = make_model()
        self.fresh = make_model().requires_grad_(False)  # the new initial weights
        self.last = _last_stages(self.model)
        self.register_buffer("confident", torch.ones(len(view.labels), dtype=torch.bool))
        self.register_buffer("class_weights", torch.ones(view.num_classes))

    def phases(self, schedules: Schedules) -> list[Phase]:
        early, late, output, rest = split(schedules.main, *accumulate(self.shares))
        adam = Optimiser("adam", lr=min(self.lr * STEPS / max(schedules.main.steps, 1), LARGEST_LR))
        return [
            Phase("early", early, self.loss),
            self._restart("late layers", late, self.last, adam),
            self._restart("output layer", output, self.last[-1:], adam),
            Phase("confident", rest, (Update(self.confident_loss, ("model",)),), sample=self.sample, every_epoch=self.judge),
        ]

    def _restart(self, name: str, schedule: Schedule, stages: list[str], adam: Optimiser) -> Phase:
        """Return the phase that gives these stages new initial weights and trains them alone. Without steps, it changes nothing."""

        def before(view: View) -> None:
            own, fresh = _stages(self.model), _stages(self.fresh)
            for stage in stages:
                own[stage].load_state_dict(fresh[stage].state_dict())

        parts = self._parts(stages) if stages else ("model",)  # before `setup`
        return Phase(name, schedule, (Update(self.loss, parts, adam),), before=before if schedule.steps else None)

    def _parts(self, stages: list[str]) -> tuple[str, ...]:
        """Return the names of all parameters of these stages of the model."""
        modules = _stages(self.model)
        mine = {id(parameter) for stage in stages for parameter in modules[stage].parameters()}
        return tuple(name for name, parameter in self.named_parameters() if id(parameter) in mine)

    def loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self.model(batch.images), batch.labels)

    def confident_loss(self, batch: Batch) -> torch.Tensor:
        """Return the weighted mean of CE over a batch of confident examples."""
        return F.cross_entropy(self.model(batch.images), batch.labels, weight=self.class_weights)

    @torch.no_grad()
    def judge(self, view: View, clock: Clock) -> None:
        """Determine the confident examples and the class weights."""
        with evaluation_form(self.model):
            for batch in view.batches():
                self.confident[batch.index] = self.model(batch.images).argmax(dim=1) == batch.labels
        self.confident.logical_or_(~self.confident.any())
        counts = torch.zeros_like(self.class_weights).index_add_(0, view.labels, self.confident.to(self.class_weights.dtype))
        self.class_weights.copy_(counts.mean() / counts.clamp(min=1))

    def sample(self, labels: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return an epoch of the confident examples; they repeat if they are too few for one batch."""
        members, width = torch.nonzero(self.confident).flatten(), min(size, len(labels))
        rows = max(1, len(members) // width)
        return cycled(members, rows * width, generator).view(rows, width)


def _stages(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules from the input to the output layer by name. Raises UserError for a model without `stages`."""
    stages = getattr(model, "stages", None)
    if not callable(stages):
        raise UserError(f"pes needs a model with `stages`, which {type(model).__name__} does not have")
    return dict(stages())


def _last_stages(model: nn.Module) -> list[str]:
    """Return the names of the last stage with weight matrices or kernels, of the output layer, and of all stages between them."""
    stages = _stages(model)
    weighted = [name for name, stage in stages.items() if any(parameter.ndim > 1 for parameter in stage.parameters())][-2:]
    names = list(stages)
    return names[names.index(weighted[0]) :]
