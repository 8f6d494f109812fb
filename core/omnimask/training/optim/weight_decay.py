"""Which parameters have no weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn


def exempt(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Splits every group, in place, into one with its weight decay and one without.

    Without are parameters with at most one axis (biases, norms), and those that a module of the model names in its attribute
    ``no_weight_decay`` (a set of its parameters' names, dotted below it), however many modules share them.
    """
    declared = declared_without_decay(model)
    split: list[dict[str, Any]] = []
    for group in groups:
        free = [parameter for parameter in group["params"] if parameter.ndim <= 1 or id(parameter) in declared]
        without = {id(parameter) for parameter in free}
        decayed = [parameter for parameter in group["params"] if id(parameter) not in without]
        split += [{**group, "params": decayed}, {**group, "params": free, "weight_decay": 0.0}]
    groups[:] = [group for group in split if group["params"]]


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
