"""Predictors: map features to predictions and loss terms."""
