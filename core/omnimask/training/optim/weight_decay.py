"""Parameters without weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn


def exempt(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Split every group, in place, into one with its weight decay and one without.

    The second one contains parameters with at most one axis (biases, norms) and those declared in ``no_weight_decay``. A module
    lists parameters there by name (a set; dotted for submodules). A shared parameter is exempt even if only one module declares it.
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
    """Return the ids of the parameters listed in ``no_weight_decay`` of any submodule. A declared parameter may be absent (None).

    Raises:
        ValueError: a declared name isn't a parameter.
    """
    declared: set[int] = set()
    for path, submodule in module.named_modules():
        for name in getattr(submodule, "no_weight_decay", ()):
            owner = submodule.get_submodule(name.rpartition(".")[0])
            parameter = getattr(owner, name.rpartition(".")[2], submodule)
            if parameter is not None and not isinstance(parameter, nn.Parameter):
                raise ValueError(
                    f"{path or type(submodule).__name__} declares no_weight_decay for {name!r}, which is not a parameter"
                )
            declared.add(id(parameter))
    return declared - {id(None)}
