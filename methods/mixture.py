"""Detection of low losses: a mixture of two normal distributions, fitted to the losses of all examples."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import View
from methods.parts import evaluation_form


@torch.no_grad()
def losses_of(net: nn.Module, view: View) -> torch.Tensor:
    """Return the cross-entropies of the given labels of the training set, (n,), in evaluation mode."""
    with evaluation_form(net):
        return torch.cat([F.cross_entropy(net(batch.images), batch.labels, reduction="none") for batch in view.batches()])


def clean_probability(losses: torch.Tensor) -> torch.Tensor:
    """Return, for each of `losses`, (n,), the probability that it belongs to the component with the lower mean.

    Losses are scaled to [0, 1] first. Source: Li et al., "DivideMix", ICLR 2020, whose released code gives the iterations, the
    tolerance and the variance added to both components.
    """
    from sklearn.mixture import GaussianMixture  # import takes half a second

    finite = losses.double().nan_to_num()  # a diverging trial ends at its next evaluation
    scaled = (finite - finite.min()) / (finite.max() - finite.min()).clamp(min=1e-12)
    x = scaled[:, None].cpu().numpy()
    mixture = GaussianMixture(2, tol=1e-2, max_iter=10, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten iterations are enough, with or without convergence
        p = mixture.fit(x).predict_proba(x)
    return torch.from_numpy(p[:, mixture.means_.argmin()]).to(losses)
