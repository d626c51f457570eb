"""Dual tensors: values that carry their directional derivative through any model, with fused rules where available.

`Dual` intercepts torch functions, so it follows residual sums, concatenations and functional calls as well as modules. The value
is computed with its graph as usual, and the tangent without one. Functions without a rule use `torch.autograd.forward_ad`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only

Tangent = torch.Tensor | None
Rule = Callable[..., Any]  # returns value and tangent, or NotImplemented to leave the case to torch

RULES: dict[Callable[..., Any], Rule] = {}
METADATA = {
    *(torch.Tensor.dim, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.is_floating_point),
    *(getattr(torch.Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_cuda", "layout")),
}


class Dual(torch.Tensor):
    """A tensor with a tangent of the same shape. It behaves like its value; `primal` is the value itself with its graph."""

    primal: torch.Tensor
    tangent: torch.Tensor

    @staticmethod
    def make(primal: torch.Tensor, tangent: Tangent) -> torch.Tensor:
        """Return the dual of both, or just `primal` if there is no tangent."""
        if tangent is None:
            return primal
        dual = primal.detach().as_subclass(Dual)
        dual.primal, dual.tangent = primal, tangent
        return dual

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in METADATA or not torch.is_grad_enabled():  # a value computed without gradients is a constant, as in reverse mode
            args, kwargs = tree_map_only(Dual, lambda dual: dual.primal, (args, kwargs))
            return func(*args, **kwargs)
        outcome = RULES[func](*args, **kwargs) if func in RULES else NotImplemented
        return _by_forward_ad(func, args, kwargs) if outcome is NotImplemented else Dual.make(*outcome)


def parts(value: torch.Tensor) -> tuple[torch.Tensor, Tangent]:
    """Return primal and tangent; a plain tensor has no tangent."""
    return (value.primal, value.tangent) if isinstance(value, Dual) else (value, None)


def _by_forward_ad(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Apply `func` to duals with torch's own forward mode, if there is no rule; arguments changed in place are updated."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    versions = [parts(tensor)[0]._version for tensor in tensors]
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
        levels = {id(tensor): _at_level(tensor) for tensor in tensors}
        owners = {id(levels[id(tensor)]): tensor for tensor in tensors}
        args_at_level, kwargs_at_level = tree_map_only(torch.Tensor, lambda tensor: levels[id(tensor)], (args, kwargs))
        out = func(*args_at_level, **kwargs_at_level)
        for tensor, version in zip(tensors, versions, strict=True):
            if parts(tensor)[0]._version != version:
                _change(tensor, forward_ad.unpack_dual(levels[id(tensor)]).tangent)
        return tree_map_only(torch.Tensor, lambda value: owners[id(value)] if id(value) in owners else _unpacked(value), out)


def _at_level(tensor: torch.Tensor) -> torch.Tensor:
    return forward_ad.make_dual(tensor.primal, tensor.tangent.detach()) if isinstance(tensor, Dual) else tensor


def _unpacked(value: torch.Tensor) -> torch.Tensor:
    primal, tangent = forward_ad.unpack_dual(value)
    return Dual.make(primal, None if tangent is None else tangent.detach())


@torch.no_grad()
def _change(tensor: torch.Tensor, tangent: Tangent) -> None:
    """Give `tensor`, whose value has changed in place, its new tangent; views share the tangent's memory as they share the value's."""
    if isinstance(tensor, Dual):
        tensor.tangent.copy_(torch.zeros_like(tensor.tangent) if tangent is None else tangent)
    elif tangent is not None:  # a buffer becomes a dual once a dual is written into it
        with torch.enable_grad():
            primal = tensor.view_as(tensor)
        tensor.__class__ = Dual
        tensor.primal, tensor.tangent = primal, tangent.detach().clone()  # type: ignore[attr-defined]


def rule(*functions: Callable[..., Any]) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule for duals in `functions`."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, function))
        return function

    return add


def _bilinear(function: Callable[..., torch.Tensor]) -> Rule:
    """Handle function(x, weight, bias, ...), linear in x and in (weight, bias): convolutions and matrix products."""

    def apply(input: torch.Tensor, weight: torch.Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Tangent]:
        (x, dx), (W, dW), (b, db) = parts(input), parts(weight), parts(bias)
        out = function(x, W, b, *args, **kwargs)
        with torch.no_grad():
            by_x = None if dx is None else function(dx, W, None, *args, **kwargs)
            if dW is None and db is not None:
                dW = torch.zeros_like(W)
            by_W = None if dW is None else function(x, dW, db, *args, **kwargs)
            return out, by_W if by_x is None else by_x if by_W is None else by_W.add_(by_x)

    return apply


for _product in (F.linear, F.conv1d, F.conv2d, F.conv3d):
    rule(_product)(_bilinear(_product))


def _linear(function: Callable[..., torch.Tensor]) -> Rule:
    """Handle function(x, ...), linear in x; if the value is a view, so is the tangent."""

    def apply(input: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Tangent]:
        x, dx = parts(input)
        out = function(x, *args, **kwargs)
        with torch.no_grad():
            return out, None if dx is None else function(dx, *args, **kwargs)

    return apply


for _function in (
    *(F.avg_pool2d, F.adaptive_avg_pool2d, torch.flatten, torch.reshape, torch.mean, torch.sum, torch.permute, torch.transpose),
    *(torch.Tensor.flatten, torch.Tensor.reshape, torch.Tensor.view, torch.Tensor.mean, torch.Tensor.sum),
    *(torch.Tensor.permute, torch.Tensor.transpose, torch.Tensor.__getitem__),
):
    rule(_function)(_linear(_function))


@rule(torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__)
def _add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    (a, da), (b, db) = parts(input), parts(other)
    if alpha != 1 or da is None or db is None or da.shape != db.shape:
        return NotImplemented
    with torch.no_grad():
        tangent = da + db
    return a + b, tangent


@rule(F.relu, torch.relu, torch.Tensor.relu)
def _relu(input: torch.Tensor, inplace: bool = False) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    out = torch.relu_(x) if inplace else torch.relu(x)
    with torch.no_grad():
        tangent = None if dx is None else torch.ops.aten.threshold_backward(dx, out, 0)
        return out, dx.copy_(tangent) if inplace and dx is not None and tangent is not None else tangent


@rule(F.max_pool2d)
def _max_pool2d(input: torch.Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
    x, dx = parts(input)
    if return_indices or dx is None:
        return NotImplemented
    out, index = F.max_pool2d(x, *args, return_indices=True, **kwargs)
    with torch.no_grad():
        if not dx.is_contiguous() and dx.is_contiguous(memory_format=torch.channels_last):  # gather in the existing layout
            rows = dx.permute(0, 2, 3, 1).flatten(1, 2).gather(1, index.permute(0, 2, 3, 1).flatten(1, 2))  # (n, pixels, channels)
            return out, rows.unflatten(1, out.shape[-2:]).permute(0, 3, 1, 2)
        return out, dx.flatten(-2).gather(-1, index.flatten(-2)).view_as(out)


@rule(F.pad)
def _pad(input: torch.Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    with torch.no_grad():
        tangent = None if dx is None else F.pad(dx, pad, mode)
    return F.pad(x, pad, mode, value), tangent


@rule(F.dropout)
def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    x, dx = parts(input)
    if not training or p == 0:
        return x, dx
    if inplace:
        return NotImplemented
    with torch.no_grad():
        mask = F.dropout(torch.ones_like(x), p)
        tangent = None if dx is None else dx * mask
    return x * mask, tangent


@rule(F.batch_norm)
def _batch_norm(
    input: torch.Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[torch.Tensor, Tangent]:
    """Compute the tangent A dx + B x + C per channel; the sums of the backward kernel over dx give the coefficients."""
    (x, dx), (gamma, dgamma), (beta, dbeta) = parts(input), parts(weight), parts(bias)
    out, mean, inverse_std = torch.native_batch_norm(x, gamma, beta, running_mean, running_var, training, momentum, eps)
    with torch.no_grad():
        if not training:
            mean, inverse_std = running_mean, (running_var + eps).rsqrt()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = torch.zeros_like(mean) if dgamma is None else inverse_std * dgamma
        shift = torch.zeros_like(mean) if dbeta is None else dbeta
        slope = inverse_std if gamma is None else inverse_std * gamma
        if dx is not None and training:
            sums = torch.ops.aten.native_batch_norm_backward
            _, dot, total = sums(dx, x, gamma, running_mean, running_var, mean, inverse_std, training, eps, [False, True, True])
            count = x.numel() // x.shape[1]
            scale = scale - slope * inverse_std * dot / count
            shift = shift - slope * total / count
        tangent = torch.addcmul((shift - mean * scale).view(shape), x, scale.view(shape))  # float32, also under autocast
        if dx is not None:
            tangent.addcmul_(dx, slope.view(shape))
        return out, tangent.to(out.dtype)
