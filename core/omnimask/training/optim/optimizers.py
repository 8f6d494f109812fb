"""Optimizers: components that create a ``torch.optim.Optimizer`` for a model and apply weight decay selectively."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.distributed.tensor import DTensor

from omnimask.errors import UserError
from omnimask.interfaces import Context
from omnimask.registry import discover
from omnimask.registry.hooks import manager
from omnimask.training.monitoring.observers import attributed

LearningRate = Annotated[float, Field(gt=0, description="peak learning rate, scaled by the schedule")]
WeightDecay = Annotated[float, Field(ge=0, description="decoupled weight decay of matrices; none for vectors and excluded names")]
HOOK = "omnimask_parameter_groups"
FUSED_DEVICES = frozenset({"cpu", "cuda"})


class AdamW:
    """Adam with decoupled weight decay [0], in one fused kernel if the device supports it.

    [0] Loshchilov, Hutter: Decoupled weight decay regularization, ICLR 2019.

    Args:
        lr: peak learning rate.
        betas: decay rates of the first and second moment, each in [0, 1).
        weight_decay: of parameters with two axes or more, except those declared in ``no_weight_decay``.
        eps: added to the denominator.
    """

    def __init__(
        self,
        context: Context,
        *,
        lr: LearningRate,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: WeightDecay = 0.01,
        eps: Annotated[float, Field(gt=0, description="added to the denominator")] = 1e-8,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas {list(betas)} must be in [0, 1)")
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.eps = eps

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(module, self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=can_fuse(module))


class SGD:
    """Stochastic gradient descent with momentum.

    Args:
        lr: peak learning rate.
        momentum: 0 is plain gradient descent.
        weight_decay: added to the gradient (not decoupled); applies to the same parameters as for AdamW.
        nesterov: use Nesterov momentum.
    """

    def __init__(
        self,
        context: Context,
        *,
        lr: LearningRate,
        momentum: Annotated[float, Field(ge=0, lt=1, description="0: plain gradient descent")] = 0.9,
        weight_decay: Annotated[float, Field(ge=0, description="added to the gradient of matrices")] = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs momentum > 0, got 0")
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(module, self.weight_decay)
        fused = can_fuse(module) and not any(isinstance(p, DTensor) for p in module.parameters())  # torch has no sharded kernel
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return trainable parameters in the groups of the hook ``omnimask_parameter_groups``, without empty ones.

    The core's own implementation exempts biases, norms and ``no_weight_decay`` from weight decay (:mod:`.weight_decay`).

    Raises:
        UserError: a plugin's hook fails, or leaves a parameter in no group or in two.
    """
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in module.parameters() if parameter.requires_grad], "weight_decay": weight_decay}
    ]
    for plugin, implementation in discover().implementing(HOOK):
        with attributed(plugin, HOOK, UserError):
            manager(plugin.name, implementation).hook.omnimask_parameter_groups(model=module, groups=groups)
            _check_groups(module, groups)
    return [group for group in groups if group["params"]]


def _check_groups(module: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Raise ``ValueError`` unless every trainable parameter is in exactly one group."""
    names = {id(parameter): name for name, parameter in module.named_parameters() if parameter.requires_grad}
    found = Counter(id(parameter) for group in groups for parameter in group["params"])
    missing = [name for key, name in names.items() if not found[key]]
    if missing:
        raise ValueError(
            f"{missing[0]} is in no parameter group ({len(missing)} in all); freeze parameters with requires_grad_(False)"
        )
    if several := [names.get(key, "?") for key, count in found.items() if count > 1]:
        raise ValueError(f"{several[0]} is in several parameter groups ({len(several)} in all)")
    if strangers := found.keys() - names.keys():
        raise ValueError(f"parameter groups contain {len(strangers)} tensors that are not trainable parameters of the model")


def can_fuse(module: nn.Module) -> bool:
    """Return whether torch has fused optimizer kernels for all of the module's parameters."""
    return all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in module.parameters() if p.requires_grad)
