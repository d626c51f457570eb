"""The one optimiser."""

from __future__ import annotations

import torch
from torch import nn

from methods.base import decayed_weights


def sgd(method: nn.Module, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with momentum on all parameters, with weight decay on the weights of convolutions and linear layers alone.

    Its learning rate is set before each step.
    """
    decayed = set(decayed_weights(method))
    named = dict(method.named_parameters())
    groups = [
        {"params": [p for name, p in named.items() if (name in decayed) == is_decayed], "weight_decay": decay}
        for is_decayed, decay in ((True, weight_decay), (False, 0.0))
    ]
    optimiser = torch.optim.SGD([group for group in groups if group["params"]], lr=0.0, momentum=momentum, fused=True)
    for parameter in named.values() if momentum else ():  # at once: some first get a gradient in a later phase,
        optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)  # and the fused step wants all or none
    return optimiser
