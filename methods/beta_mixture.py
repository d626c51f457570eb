"""Detection of high losses: a mixture of two beta distributions, fitted to the losses of all examples."""

import torch

ITERATIONS = 10
EDGE = 1e-3  # minimum distance of scaled losses from 0 and 1, where densities may be infinite
ENTRIES = 100  # in the table of posteriors


class BetaMixture(torch.nn.Module):
    """The probability that a label is wrong, given its loss: the posterior of the component with the higher mean; 0 before the first fit.

    Source: Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019, and its released code. The fit uses the losses
    between the 5th and the 95th percentile, scaled to (0, 1), and ten iterations of EM with weighted moments. Posteriors come from a table
    of 100 losses. All entries above the maximum are set to it, because the posterior of the highest losses may fall again. In the code,
    the second component always means wrong; here, the one with the higher mean does.
    """

    table: torch.Tensor
    bounds: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(ENTRIES))
        self.register_buffer("bounds", torch.tensor([0.0, 1.0]))

    @torch.no_grad()
    def fit(self, losses: torch.Tensor) -> None:
        """Fit the mixture to the losses of all examples, (n,)."""
        losses = losses.double().nan_to_num()  # a trial that diverges ends at its next evaluation
        bottom, top = torch.quantile(losses, torch.tensor([0.05, 0.95], dtype=losses.dtype, device=losses.device))
        self.bounds.copy_(torch.stack([bottom + 1e-5, top]))
        x = self.scaled(losses[(losses >= bottom) & (losses <= top)], self.bounds.double())
        alphas, betas, shares = fitted(x)
        grid = torch.linspace(0, 1, ENTRIES, dtype=x.dtype, device=x.device).clamp(EDGE, 1 - EDGE)
        wrong = posteriors(grid, alphas, betas, shares)[(alphas / (alphas + betas)).argmax()]
        self.table.copy_(torch.where(torch.arange(ENTRIES, device=x.device) > wrong.argmax(), wrong.max(), wrong))

    def forward(self, losses: torch.Tensor) -> torch.Tensor:
        """Return the probability that each label is wrong, in [1e-4, 1 - 1e-4], from losses, (n,)."""
        position = (self.scaled(losses, self.bounds) * ENTRIES).long().clamp(max=ENTRIES - 1)
        return self.table[position].clamp(1e-4, 1 - 1e-4)

    @staticmethod
    def scaled(losses: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
        """Return losses, (n,), scaled so that the bounds are 0 and 1, clamped to [EDGE, 1 - EDGE]."""
        return ((losses - bounds[0]) / (bounds[1] - bounds[0] + 1e-6).clamp(min=1e-6)).clamp(EDGE, 1 - EDGE)


def fitted(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return alpha, beta and the shares of both components, (2,) each, fitted to values in (0, 1), (n,)."""
    alphas, betas = x.new_tensor([1.0, 2.0]), x.new_tensor([2.0, 1.0])
    shares = torch.full_like(alphas, 0.5)
    for _ in range(ITERATIONS):
        r = posteriors(x, alphas, betas, shares)  # (2, n)
        total = r.sum(dim=1).clamp(min=1e-12)
        mean = (r @ x) / total
        variance = (r * (x - mean[:, None]).square()).sum(dim=1) / total
        spread = mean * (1 - mean)
        alphas = mean * (spread / variance.clamp(min=1e-8).minimum((1 - 1e-6) * spread) - 1)  # variance < mean (1 - mean)
        betas = alphas * (1 - mean) / mean
        shares = total / total.sum()
    return alphas, betas, shares


def posteriors(x: torch.Tensor, alphas: torch.Tensor, betas: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return the posteriors of both components, (2, n), at x, (n,)."""
    a, b = alphas[:, None], betas[:, None]
    log_density = (a - 1) * x.log() + (b - 1) * (1 - x).log() + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return torch.softmax(shares.log()[:, None] + log_density, dim=0)
