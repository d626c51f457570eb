"""Detection of high losses: a mixture of two beta distributions, fitted to the losses of all examples."""

import torch

ITERATIONS = 10
EDGE = 1e-3  # distance of scaled losses from 0 and 1, where densities may be infinite
ENTRIES = 100  # of the table of posteriors


class BetaMixture(torch.nn.Module):
    """The probability that a label is wrong, given its loss: that of the component of higher mean. Each loss counts as right at first.

    Source: Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019, and its released code: percentiles 5 and 95
    bound the losses that are fitted, EM by weighted moments runs for ten iterations, and posteriors come from a table of 100 losses,
    which stays at its maximum once there, so that the highest losses are not right again. The code takes its second component as the
    wrong ones; here it is the one of higher mean.
    """

    table: torch.Tensor
    bounds: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(ENTRIES))
        self.register_buffer("bounds", torch.tensor([0.0, 1.0]))

    @torch.no_grad()
    def fit(self, losses: torch.Tensor) -> None:
        """To the losses of all examples, (n,)."""
        losses = losses.double().nan_to_num()  # a trial that diverges ends at its next evaluation
        bottom, top = torch.quantile(losses, torch.tensor([0.05, 0.95], dtype=losses.dtype, device=losses.device))
        self.bounds.copy_(torch.stack([bottom + 1e-5, top]))
        x = self.scaled(losses[(losses >= bottom) & (losses <= top)], self.bounds.double())
        alphas, betas, shares = fitted(x)
        grid = torch.linspace(0, 1, ENTRIES, dtype=x.dtype, device=x.device).clamp(EDGE, 1 - EDGE)
        wrong = posteriors(grid, alphas, betas, shares)[(alphas / (alphas + betas)).argmax()]
        self.table.copy_(torch.where(torch.arange(ENTRIES, device=x.device) > wrong.argmax(), wrong.max(), wrong))

    def forward(self, losses: torch.Tensor) -> torch.Tensor:
        """The probability that each label is wrong, in [1e-4, 1 - 1e-4], of losses, (n,)."""
        position = (self.scaled(losses, self.bounds) * ENTRIES).long().clamp(max=ENTRIES - 1)
        return self.table[position].clamp(1e-4, 1 - 1e-4)

    @staticmethod
    def scaled(losses: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
        """Losses, (n,), as shares of the way between the bounds, within [EDGE, 1 - EDGE]."""
        return ((losses - bounds[0]) / (bounds[1] - bounds[0] + 1e-6).clamp(min=1e-6)).clamp(EDGE, 1 - EDGE)


def fitted(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """alpha, beta and the shares of both components, (2,) each, of values within (0, 1), (n,)."""
    alphas, betas = x.new_tensor([1.0, 2.0]), x.new_tensor([2.0, 1.0])
    shares = torch.full_like(alphas, 0.5)
    for _ in range(ITERATIONS):
        r = posteriors(x, alphas, betas, shares)  # (2, n)
        total = r.sum(dim=1).clamp(min=1e-12)
        mean = (r @ x) / total
        variance = (r * (x - mean[:, None]).square()).sum(dim=1) / total
        spread = mean * (1 - mean)
        alphas = mean * (spread / variance.clamp(min=1e-8).minimum((1 - 1e-6) * spread) - 1)  # of moments that a beta can have
        betas = alphas * (1 - mean) / mean
        shares = total / total.sum()
    return alphas, betas, shares


def posteriors(x: torch.Tensor, alphas: torch.Tensor, betas: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Of both components, (2, n), at x, (n,)."""
    a, b = alphas[:, None], betas[:, None]
    log_density = (a - 1) * x.log() + (b - 1) * (1 - x).log() + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return torch.softmax(shares.log()[:, None] + log_density, dim=0)
