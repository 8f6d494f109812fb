"""Export of trained models: in the formats of other programs, or as weights with their recipe."""

from omnimask.export.weights import load_exported
from omnimask.export.write import Written, export_run

__all__ = ["Written", "export_run", "load_exported"]
