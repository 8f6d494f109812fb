"""Registration of the encoder and its recipe."""

from pathlib import Path

import omnimask
from omnimask.registry import Registrar


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register an encoder, and a recipe without attention."""
    registry.add_encoder("ssm.selective", "omnimask_ssm.encoder:SelectiveEncoder")
    registry.add_recipes("ssm", Path(__file__).parent / "recipes")
