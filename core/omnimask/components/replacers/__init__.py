"""Replacers: change the ids that a pass's slots show, from what earlier passes predict."""
