"""Predictors: features -> predictions and loss terms."""
