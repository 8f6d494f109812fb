"""Recipes for a folder of images, or for a folder with an image model."""
