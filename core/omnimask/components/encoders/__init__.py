"""Encoders: map a stream of vectors to features."""
