"""Synthetic examples of rare classes between neighbours of the same class (SMOTE)."""

import torch

from datasets.task import Examples
from methods.base import Phase, View
from methods.baseline import Baseline
from methods.logit_loss import counts_of
from methods.registry import register
from methods.schedules import Schedules
from robust_benchmark.errors import whole


@register
class SMOTE(Baseline):
    """Adds examples to each class until all are as large as the largest, and then trains plainly.

        x = x_i + u (x_j - x_i),   x_j: one of the `neighbours` nearest examples of the class of x_i,   u ~ U(0, 1), one draw per example

    Distances and interpolations are those of pixels for images (before augmentation; x is rounded to whole grey levels), and of the
    columns for tables. i, j and u are uniform draws. A class with n examples has at most n - 1 neighbours, and a class with one is
    copied. The label of x is the given label of x_i, so wrong labels multiply too.

    neighbours: at least 1

    Needs: nothing beyond noisy labels; the training set grows to K times its largest class, in memory. Neighbours come from
    scikit-learn. imbalanced-learn, which also has SMOTE, rejects classes with fewer than neighbours + 1 examples, as long tails have.
    Source: Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002. One u per example is from the code of
    imbalanced-learn; the paper's pseudocode draws one per attribute (not verified).
    """

    def __init__(self, neighbours: int = 5) -> None:
        super().__init__()
        self.neighbours = whole("neighbours", neighbours, 1)

    def phases(self, schedules: Schedules) -> list[Phase]:
        return [Phase("main", schedules.main, self.loss, before=self.synthetic)]

    def synthetic(self, view: View) -> Examples:
        """Return the synthetic examples of all classes, which join the training set."""
        labels, counts = view.labels, counts_of(view)
        rows = [torch.empty(0, *view.images.shape[1:], dtype=view.images.dtype, device=labels.device)]
        for label, count in enumerate(counts.tolist()):
            if 0 < count < counts.max():
                members = view.images[torch.nonzero(labels == label).flatten()]
                rows.append(interpolated(members, int(counts.max()) - count, self.neighbours))
        missing = torch.where(counts > 0, counts.max() - counts, 0)
        made = torch.arange(view.num_classes, device=labels.device).repeat_interleave(missing)
        return Examples(torch.cat(rows), made, made)


def interpolated(members: torch.Tensor, count: int, neighbours: int) -> torch.Tensor:
    """Return `count` examples between neighbours among the members of a class, (n, ...), with the same type and shape of an example."""
    x = members.flatten(1).float()  # differences of uint8 would wrap
    base = torch.randint(len(x), (count,), device=x.device)
    near = nearest(x, min(neighbours, len(x) - 1))
    partner = near[base, torch.randint(near.shape[1], (count,), device=x.device)]
    u = torch.rand(count, 1, device=x.device)
    made = x[base] + u * (x[partner] - x[base])
    made = made if members.is_floating_point() else made.round()
    return made.to(members.dtype).view(count, *members.shape[1:])


def nearest(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the positions of the k nearest other rows of each row of x, (n, k); a single row is its own neighbour."""
    from sklearn.neighbors import NearestNeighbors  # import takes half a second

    if k == 0:
        return torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    found = NearestNeighbors(n_neighbors=k).fit(x.cpu().numpy()).kneighbors(return_distance=False)  # excludes each row itself
    return torch.from_numpy(found).to(x.device)
