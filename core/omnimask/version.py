"""The version of omnimask, which plugins are compared with. Imports nothing."""

__version__ = "0.1.0"
