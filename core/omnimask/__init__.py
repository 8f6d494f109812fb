"""Pretrain masked models of any modality, from one recipe, on one loop.

Names are imported on first use, so ``import omnimask`` loads only what is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from omnimask.registry.hooks import hookimpl
from omnimask.registry.observers import Observer
from omnimask.version import __version__

if TYPE_CHECKING:
    from omnimask.builder.build import build as build
    from omnimask.export.load_encoder import load_encoder as load_encoder
    from omnimask.export.weights import load_exported as load_exported
    from omnimask.recipe import load_recipe as load_recipe
    from omnimask.run.api import pretrain as pretrain
    from omnimask.run.api import resume as resume
    from omnimask.run.api import tokenize as tokenize
    from omnimask.training.loop import Trainer as Trainer

__all__ = [
    "Observer",
    "Trainer",
    "__version__",
    "build",
    "hookimpl",
    "load_encoder",
    "load_exported",
    "load_recipe",
    "pretrain",
    "resume",
    "tokenize",
]

_LAZY = {
    "build": "omnimask.builder.build",
    "load_encoder": "omnimask.export.load_encoder",
    "load_exported": "omnimask.export.weights",
    "load_recipe": "omnimask.recipe",
    "pretrain": "omnimask.run.api",
    "resume": "omnimask.run.api",
    "tokenize": "omnimask.run.api",
    "Trainer": "omnimask.training.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    own = (name for name, value in globals().items() if name.startswith("__") or getattr(value, "__package__", "") == "omnimask")
    return sorted({*__all__, *own})
