"""From a recipe to a model and its data."""
