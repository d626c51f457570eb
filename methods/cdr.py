"""Only the critical weights learn from the data (CDR)."""

import torch
import torch.nn.functional as F

from methods.base import Batch, Knowledge, MakeModel, Method, View, decayed_weights
from methods.registry import register


@register
class CDR(Method):
    """The weights of convolutions and linear layers that matter least to the loss get no gradient and only decay.

        g_j <- (1 - r) g_j where |g_j theta_j| is among the share 1 - r of the largest, over all weights together; else 0

    r is the noise rate, g the gradient of mean cross-entropy. Biases and norms keep their gradients. Weight decay is the trainer's, as in
    the released code, while the paper has an L1 penalty. Momentum still moves a weight that has just become non-critical.

    Needs: the noise rate. It has no options. Source: Xia et al., "Robust Early-Learning: Hindering the Memorization of Noisy Labels", ICLR
    2021. The released code computes a gradual share and then overwrites it by 1 - r; it picks its epoch by noisy validation data.
    """

    needs = Knowledge.NOISE_RATE

    def setup(self, make_model: MakeModel, view: View) -> None:
        super().setup(make_model, view)
        self.noise_rate = view.noise_rate

    def loss(self, batch: Batch) -> torch.Tensor:
        loss = F.cross_entropy(self.model(batch.images), batch.labels)
        parameters = {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(parameters, found, strict=True) if g is not None}
        weights = {name: parameters[name].detach() for name in decayed_weights(self.model) if name in gradients}
        masked = gradients | self.masked(weights, {name: gradients[name] for name in weights})
        along = torch.stack([(parameters[name] * g).sum() for name, g in masked.items()]).sum()
        return loss.detach() + along - along.detach()  # the value of the loss, with the masked gradient

    def masked(self, weights: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The gradients of `weights`, scaled for critical weights and zero for others."""
        critical = {name: (weights[name] * g).abs() for name, g in gradients.items()}
        everything = torch.cat([values.flatten() for values in critical.values()])
        kept = max(1, round((1 - self.noise_rate) * len(everything)))
        cut = everything.kthvalue(len(everything) - kept + 1).values
        return {name: torch.where(critical[name] >= cut, (1 - self.noise_rate) * g, 0.0) for name, g in gradients.items()}
