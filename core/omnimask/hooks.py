"""Hook specifications: what the host calls in a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from omnimask.registry import Registry

hookspec = pluggy.HookspecMarker("omnimask")
hookimpl = pluggy.HookimplMarker("omnimask")


@hookspec
def omnimask_register(registry: Registry) -> None:
    """Register components and recipes by name, as lazy references; called once when plugins are discovered."""
