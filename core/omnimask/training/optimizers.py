"""Optimisers: components that make a ``torch.optim.Optimizer`` for a model, with weight decay where it belongs."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from torch import nn

from omnimask.interfaces import Context

LearningRate = Annotated[float, Field(gt=0, description="peak learning rate; the schedule gives a factor of it")]
WeightDecay = Annotated[float, Field(ge=0, description="decoupled weight decay of matrices; none on vectors and declared names")]
FUSED_DEVICES = frozenset({"cpu", "cuda"})


class OptimizerFactory(Protocol):
    """Any component of kind ``optimizer``."""

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer: ...


class AdamW:
    """Adam with decoupled weight decay [0], in one fused kernel where the device has it.

    [0] Loshchilov, Hutter: Decoupled weight decay regularization, ICLR 2019.

    Args:
        lr: peak learning rate.
        betas: decay rates of the first and second moment, each in [0, 1).
        weight_decay: of parameters with two axes or more that no module declares in ``no_weight_decay``.
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
            raise ValueError(f"betas {list(betas)} must lie in [0, 1)")
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
        weight_decay: added to the gradient (not decoupled); of the same parameters as for AdamW.
        nesterov: look ahead along the momentum.
    """

    def __init__(
        self,
        context: Context,
        *,
        lr: LearningRate,
        momentum: Annotated[float, Field(ge=0, lt=1, description="0 is plain gradient descent")] = 0.9,
        weight_decay: Annotated[float, Field(ge=0, description="added to the gradient of matrices")] = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; momentum is 0")
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(module, self.weight_decay)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=can_fuse(module))


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: with weight decay and without; an empty group is left out.

    Without are parameters with at most one axis (biases, norms), and those that a module of the model names in its attribute
    ``no_weight_decay`` (a set of its parameters' names, dotted below it), however many modules share them.
    """
    exempt = declared_without_decay(module)
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (free if parameter.ndim <= 1 or id(parameter) in exempt else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def declared_without_decay(module: nn.Module) -> set[int]:
    """Identities of the parameters that any submodule names in ``no_weight_decay``; a declared one may be absent (None).

    Raises:
        ValueError: a declared name is no parameter.
    """
    declared: set[int] = set()
    for path, submodule in module.named_modules():
        for name in getattr(submodule, "no_weight_decay", ()):
            owner = submodule.get_submodule(name.rpartition(".")[0])
            parameter = getattr(owner, name.rpartition(".")[2], submodule)
            if parameter is not None and not isinstance(parameter, nn.Parameter):
                raise ValueError(f"{path or type(submodule).__name__} declares no_weight_decay for {name!r}: no parameter")
            declared.add(id(parameter))
    return declared - {id(None)}


def can_fuse(module: nn.Module) -> bool:
    """Whether torch has fused optimiser kernels for all of the module's parameters."""
    return all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in module.parameters() if p.requires_grad)
