"""Targets: right answers and their losses."""
