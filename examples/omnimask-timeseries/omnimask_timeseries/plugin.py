"""Registration of the components and recipes."""

from pathlib import Path

import omnimask
from omnimask.registry import Registrar


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register tokenizer, embedding, target, masker, data sets, renderer and recipes."""
    registry.add_tokenizer("timeseries.window", "omnimask_timeseries.tokenizer:WindowTokenizer")
    registry.add_embedding("timeseries.values", "omnimask_timeseries.embedding:ValueEmbedding")
    registry.add_target("timeseries.values", "omnimask_timeseries.target:Values")
    registry.add_masker("timeseries.forecast", "omnimask_timeseries.maskers:ForecastMasker")
    registry.add_dataset("timeseries.csv", "omnimask_timeseries.data:CsvWindows")
    registry.add_dataset("timeseries.stocks", "omnimask_timeseries.data:Stocks")
    registry.add_dataset("timeseries.seasons", "omnimask_timeseries.synthetic:Seasons")
    registry.add_renderer("timeseries.plot", "omnimask_timeseries.show:Plot")
    registry.add_recipes("timeseries", Path(__file__).parent / "recipes")
