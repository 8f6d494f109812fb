"""Check that withheld positions stay withheld: not every component can encode a slot without a position."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from omnimask.data.view_plan import ViewPlan
from omnimask.errors import UserError
from omnimask.network.model import MaskedModel


def check_withheld(model: MaskedModel, views: Mapping[str, ViewPlan]) -> None:
    """Raise ``UserError`` if a network that encodes slots without a position like position 0 reads a view that withholds positions.

    A corruptor with ``withholds_positions`` shows content without its position; a module with ``needs_positions``, such as rotary
    positions, cannot leave it out.
    """
    for part in model.each():
        if getattr(views[part.view].corruptor, "withholds_positions", False):
            needing = _needing(part.encoder)
            if needing is not None:
                raise UserError(
                    f"view {part.view}: {views[part.view].origin} withholds positions, but {needing} of the encoder would encode "
                    "tokens without a position like tokens at position 0; choose a position that leaves them out: sincos, "
                    "learned or none"
                )


def _needing(encoder: nn.Module) -> str | None:
    """Return the kind of the first module that needs positions, in lower case, or None."""
    found = (type(module).__name__.lower() for module in encoder.modules() if getattr(module, "needs_positions", False))
    return next(found, None)
