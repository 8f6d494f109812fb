"""Optimizers, learning-rate schedules, weight decay and weight averaging."""
