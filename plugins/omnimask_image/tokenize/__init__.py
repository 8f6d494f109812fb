"""Tokenizers of images."""
