"""Corruptors: masking -> view."""
