"""Targets: correct answers and their losses."""
