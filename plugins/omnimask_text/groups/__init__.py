"""Transforms of groups of texts."""
