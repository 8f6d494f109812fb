"""Embedded data sets, and data sets of files."""
