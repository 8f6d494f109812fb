"""Registers the time series modality."""

from pathlib import Path

import omnimask
from omnimask.registry import Registrar


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Tokenizer, masker, data set, renderer and recipes."""
    registry.add_tokenizer("timeseries.window", "omnimask_timeseries.tokenizer:WindowTokenizer")
    registry.add_masker("timeseries.forecast", "omnimask_timeseries.maskers:ForecastMasker")
    registry.add_dataset("timeseries.waves", "omnimask_timeseries.data:Waves")
    registry.add_renderer("timeseries.plot", "omnimask_timeseries.show:Plot")
    registry.add_recipes("timeseries", Path(__file__).parent / "recipes")
