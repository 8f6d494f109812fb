"""Registration of the components and recipes."""

from pathlib import Path

import omnimask
from omnimask.registry import Registrar


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register tokenizer, embedding, target, data sets, suggester, renderer and recipes."""
    registry.add_tokenizer("tabular.columns", "omnimask_tabular.tokenizer:ColumnTokenizer")
    registry.add_embedding("tabular.cell", "omnimask_tabular.embedding:CellEmbedding")
    registry.add_target("tabular.cell", "omnimask_tabular.target:Cell")
    registry.add_dataset("tabular.csv", "omnimask_tabular.data:CsvTable")
    registry.add_dataset("tabular.sklearn", "omnimask_tabular.embedded:SklearnTable")
    registry.add_suggester("tabular.csv", "omnimask_tabular.suggest:SuggestTable")
    registry.add_renderer("tabular.page", "omnimask_tabular.show:Page")
    registry.add_recipes("tabular", Path(__file__).parent / "recipes")
