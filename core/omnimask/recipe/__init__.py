"""Recipes: parsing of YAML into validated components, with line numbers in errors."""

from __future__ import annotations

from omnimask.recipe.config import DataConfig, ModalityConfig, PredictorConfig, Recipe
from omnimask.recipe.describe import ComponentSchema, OptionSchema, describe, schema_of
from omnimask.recipe.load import FORMAT, load_recipe
from omnimask.recipe.shipped import shipped_recipes

__all__ = [
    "FORMAT",
    "ComponentSchema",
    "DataConfig",
    "ModalityConfig",
    "OptionSchema",
    "PredictorConfig",
    "Recipe",
    "describe",
    "load_recipe",
    "schema_of",
    "shipped_recipes",
]
