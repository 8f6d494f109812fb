"""Registration of the modality."""

from pathlib import Path

import omnimask
from omnimask.registry import Registrar


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register tokenizer, masker, data set, renderer and recipes."""
    registry.add_tokenizer("waves.window", "omnimask_waves.tokenizer:WindowTokenizer")
    registry.add_masker("waves.forecast", "omnimask_waves.maskers:ForecastMasker")
    registry.add_dataset("waves.sines", "omnimask_waves.data:Waves")
    registry.add_renderer("waves.plot", "omnimask_waves.show:Plot")
    registry.add_recipes("waves", Path(__file__).parent / "recipes")
