"""Construction of the model and data of a recipe."""
