"""Hook specifications: what the host calls in a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from omnimask.registry import Registrar

hookspec = pluggy.HookspecMarker("omnimask")
hookimpl = pluggy.HookimplMarker("omnimask")


@hookspec
def omnimask_register(registry: Registrar) -> None:
    """Register components and recipes by name, as lazy references; called once when plugins are discovered."""
