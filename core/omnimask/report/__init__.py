"""Descriptions and reconstructions of a model for people to look at."""
