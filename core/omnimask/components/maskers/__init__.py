"""Maskers: selection of the tokens to hide."""
