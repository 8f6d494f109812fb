"""Encoders: a stream of vectors -> features."""
