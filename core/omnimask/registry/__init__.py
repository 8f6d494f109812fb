"""Plugins: installed distributions, registered components, and failures. Imports no torch."""

from omnimask.registry.discovery import discover
from omnimask.registry.distributions import Failure, Plugin
from omnimask.registry.registry import KINDS, SUFFIXES, Entry, RecipeFolder, Registrar, Registry

__all__ = ["KINDS", "SUFFIXES", "Entry", "Failure", "Plugin", "RecipeFolder", "Registrar", "Registry", "discover"]
