"""Recipes for texts, or for a folder with a masked language model."""
