"""Registers encoders of other libraries."""

from __future__ import annotations

from omnimask import hookimpl
from omnimask.registry import Registrar


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register encoders that wrap models of transformers and of timm."""
    registry.reads_named_fields()
    registry.add_encoder("transformers", "omnimask_adapters.transformers_encoder:TransformersEncoder", extra="transformers")
    registry.add_encoder("timm", "omnimask_adapters.timm_encoder:TimmEncoder", extra="timm")
