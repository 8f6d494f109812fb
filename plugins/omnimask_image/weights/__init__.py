"""Weights of `transformers` models: initializers and exporters."""
