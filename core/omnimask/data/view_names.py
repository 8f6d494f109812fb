"""Name of the view that every recipe has. Imports no torch."""

from __future__ import annotations

MAIN = "main"
"""Name of the view described by the modalities, and of the pass over it."""
