"""Waves for omnimask."""
