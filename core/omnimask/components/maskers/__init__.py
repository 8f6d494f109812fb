"""Maskers: which tokens are hidden."""
