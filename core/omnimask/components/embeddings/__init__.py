"""Embeddings: map token content to vectors."""
