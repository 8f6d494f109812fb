"""Tokenizers of texts, and their training."""
