"""Scores of trained encoders: features of clean samples, probes with one fixed protocol, few-label curves with baselines."""

from __future__ import annotations

from omnimask.evaluation.encoder_scores import Evaluation, as_json, evaluate

__all__ = ["Evaluation", "as_json", "evaluate"]
