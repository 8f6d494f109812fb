"""Run-time checks of device components: shapes of their return values, compared without synchronization.

:mod:`omnimask.data.border` checks host components. T slots of a stream, N targets, D width.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from omnimask.errors import BrokenContract
from omnimask.interfaces import Encoded, Placement, Prediction
from omnimask.messages.hints import described


def watch(module: Any, kind: str, origin: str, width: int) -> None:
    """Check all return values of a built component from now on, if its kind is called as a module.

    Args:
        module: the component.
        kind: of component.
        origin: describes the component in messages.
        width: D of the context for which it was built.
    """
    check = {"position": _placement, "embedding": _embedded, "encoder": _encoded}.get(kind)
    if check is not None and isinstance(module, nn.Module):
        module.register_forward_hook(partial(_check, check, origin, width), with_kwargs=True)


def losses_of(loss: Tensor, prediction: Prediction, target: object) -> Tensor:
    """Return (N,) losses unchanged.

    Raises:
        BrokenContract: they have another shape, which would be broadcast.
    """
    number = len(prediction.targets)
    if tuple(loss.shape) != (number,):
        name = f"{type(target).__module__}.{type(target).__qualname__}"
        raise BrokenContract(f"target {name}: its loss has shape {tuple(loss.shape)}; expected ({number},), one for each target")
    return loss


def _check(
    check: Any, origin: str, width: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any
) -> None:
    problem = check(found, width, module, *args, **kwargs)
    if problem:
        raise BrokenContract(f"{origin}: {problem}")


def _placement(found: Any, width: int, module: nn.Module, stream: Any, *args: Any, **kwargs: Any) -> str | None:
    if not isinstance(found, Placement):
        return f"it must return a Placement, not {described(found)}"
    slots = stream.layout.num_slots
    if found.added is not None and tuple(found.added.shape) != (slots, width):
        return f"added has shape {tuple(found.added.shape)}; expected ({slots}, {width})"
    for name, part in zip(("cos", "sin"), found.rotation or (), strict=False):
        if part.ndim != 2 or len(part) != slots:
            return f"{name} of its rotation has shape {tuple(part.shape)}; expected ({slots}, width of a head)"
    return None


def _embedded(found: Any, width: int, module: nn.Module, content: Tensor, *args: Any, **kwargs: Any) -> str | None:
    expected = (len(content), width)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else described(found)
        return f"it returned {shape}; expected {expected}"
    return None


def _encoded(found: Any, width: int, module: nn.Module, *args: Any, **kwargs: Any) -> str | None:
    if not isinstance(found, Encoded):
        return f"it must return Encoded, not {described(found)}"
    stream = found.stream
    asked = stream.asked
    slots = len(asked.slots) if found.only_asked and asked is not None else stream.layout.num_slots
    expected = (slots, getattr(module, "width", width))
    if tuple(found.features.data.shape) != expected:
        return f"features have shape {tuple(found.features.data.shape)}; expected {expected}"
    for layer, features in found.layers.items():
        if tuple(features.shape) != (stream.layout.num_slots, expected[1]):
            return f"layer {layer} has shape {tuple(features.shape)}; expected ({stream.layout.num_slots}, {expected[1]})"
    return None
