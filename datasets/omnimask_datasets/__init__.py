"""Data sets of files, and embedded ones."""
