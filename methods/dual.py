"""Dual tensors: values that carry their directional derivative through any model, by fused rules where there is one.

`Dual` intercepts torch functions, so it follows residual sums, concatenations and functional calls as well as modules. The value
is computed with its graph as usual; the tangent beside it without one. What has no rule goes through `torch.autograd.forward_ad`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map_only

Tangent = torch.Tensor | None
Rule = Callable[..., tuple[torch.Tensor, Tangent]]

RULES: dict[Callable[..., Any], Rule] = {}
METADATA = {
    *(torch.Tensor.dim, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.is_floating_point),
    *(getattr(torch.Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_cuda", "layout")),
}


class Dual(torch.Tensor):
    """A tensor with a tangent of the same shape. It looks like its value; the value proper, with its graph, is `primal`."""

    primal: torch.Tensor
    tangent: torch.Tensor

    @staticmethod
    def make(primal: torch.Tensor, tangent: Tangent) -> torch.Tensor:
        """The dual of both, or just `primal` where there is no tangent."""
        if tangent is None:
            return primal
        dual = primal.detach().as_subclass(Dual)
        dual.primal, dual.tangent = primal, tangent
        return dual

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in RULES:
            return Dual.make(*RULES[func](*args, **kwargs))
        if func in METADATA:
            return func(args[0].primal, *args[1:], **kwargs)
        return _by_forward_ad(func, args, kwargs)


def parts(value: torch.Tensor) -> tuple[torch.Tensor, Tangent]:
    """Primal and tangent; a plain tensor has no tangent."""
    return (value.primal, value.tangent) if isinstance(value, Dual) else (value, None)


def _by_forward_ad(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`func` of duals by torch's own forward mode, for what has no rule; in-place functions change their first argument."""
    with forward_ad.dual_level():
        args_at_level, kwargs_at_level = tree_map_only(Dual, lambda dual: forward_ad.make_dual(dual.primal, dual.tangent), (args, kwargs))
        out = tree_map_only(torch.Tensor, _unpacked, func(*args_at_level, **kwargs_at_level))
    name = getattr(func, "__name__", "")
    in_place = (name.endswith("_") and not name.endswith("__")) or name in ("__iadd__", "__isub__", "__imul__", "__itruediv__")
    if in_place and isinstance(args[0], Dual) and isinstance(out, Dual):
        args[0].primal, args[0].tangent = out.primal, out.tangent
        return args[0]
    return out


def _unpacked(value: torch.Tensor) -> torch.Tensor:
    primal, tangent = forward_ad.unpack_dual(value)
    return Dual.make(primal, None if tangent is None else tangent.detach())


def rule(*functions: Callable[..., Any]) -> Callable[[Rule], Rule]:
    """Decorator: the rule by which duals go through `functions`."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, function))
        return function

    return add


def _sum(*terms: Tangent) -> Tangent:
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _bilinear(function: Callable[..., torch.Tensor]) -> Rule:
    """function(x, weight, bias, ...), linear in x and in (weight, bias): convolutions and matrix products."""

    def apply(input: torch.Tensor, weight: torch.Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Tangent]:
        (x, dx), (W, dW), (b, db) = parts(input), parts(weight), parts(bias)
        out = function(x, W, b, *args, **kwargs)
        with torch.no_grad():
            by_x = None if dx is None else function(dx, W, None, *args, **kwargs)
            by_W = None if dW is None else function(x, dW, db, *args, **kwargs)
            return out, _sum(by_x, by_W)  # a bias has a tangent only beside its weight's

    return apply


for _product in (F.linear, F.conv1d, F.conv2d, F.conv3d):
    rule(_product)(_bilinear(_product))


def _linear(function: Callable[..., torch.Tensor]) -> Rule:
    """function(x, ...), linear in x."""

    def apply(input: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Tangent]:
        x, dx = parts(input)
        with torch.no_grad():
            return _taped(function, x, *args, **kwargs), None if dx is None else function(dx, *args, **kwargs)

    return apply


@torch.enable_grad()
def _taped(function: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
    return function(*args, **kwargs)


for _function in (
    *(F.avg_pool2d, F.adaptive_avg_pool2d, torch.flatten, torch.reshape, torch.mean, torch.sum, torch.permute, torch.transpose),
    *(torch.Tensor.flatten, torch.Tensor.reshape, torch.Tensor.view, torch.Tensor.mean, torch.Tensor.sum),
    *(torch.Tensor.permute, torch.Tensor.transpose, torch.Tensor.__getitem__),
):
    rule(_function)(_linear(_function))


@rule(torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__)
def _add(a: Any, b: Any) -> tuple[torch.Tensor, Tangent]:
    (a, da), (b, db) = parts(a), parts(b)
    out = a + b
    with torch.no_grad():
        tangent = _sum(da, db)
        return out, None if tangent is None else tangent.expand_as(out)


@rule(F.relu, torch.relu, torch.Tensor.relu)
def _relu(input: torch.Tensor, inplace: bool = False) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    out = F.relu(x)
    return out, None if dx is None else torch.ops.aten.threshold_backward(dx, out.detach(), 0)


@rule(F.max_pool2d)
def _max_pool2d(input: torch.Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    out, index = F.max_pool2d(x, *args, return_indices=True, **kwargs)
    return out, None if dx is None else dx.flatten(2).gather(2, index.flatten(2)).view_as(out)


@rule(F.pad)
def _pad(input: torch.Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    return F.pad(x, pad, mode, value), None if dx is None else F.pad(dx, pad, mode)


@rule(F.dropout)
def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> tuple[torch.Tensor, Tangent]:
    x, dx = parts(input)
    mask = F.dropout(torch.ones_like(x, requires_grad=False), p, training)
    return x * mask, None if dx is None else dx * mask


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
    """The batch's statistics make the input's Jacobian symmetric for each channel, so the backward kernel gives the tangent."""
    (x, dx), (gamma, dgamma), (beta, dbeta) = parts(input), parts(weight), parts(bias)
    out, mean, inverse_std = torch.native_batch_norm(x, gamma, beta, running_mean, running_var, training, momentum, eps)
    with torch.no_grad():
        if not training:
            mean, inverse_std = running_mean, (running_var + eps).rsqrt()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        by_x = by_gamma = None
        if dx is not None:
            backward = torch.ops.aten.native_batch_norm_backward
            by_x, _, _ = backward(dx, x, gamma, running_mean, running_var, mean, inverse_std, training, eps, [True, False, False])
        if dgamma is not None:
            by_gamma = (x - mean.view(shape)) * (inverse_std * dgamma).view(shape)
        by_beta = None if dbeta is None else dbeta.view(shape)
        tangent = _sum(by_x, by_gamma, by_beta)
        return out, None if tangent is None else tangent.expand_as(out)
