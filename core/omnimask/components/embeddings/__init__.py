"""Embeddings: token content -> vectors."""
