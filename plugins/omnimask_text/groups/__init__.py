"""Transforms that make groups of texts."""
