"""Lifts corruptors of single modalities to one over a sample."""

from __future__ import annotations

from collections.abc import Mapping

from omnimask.interfaces import Corruptor, Masking, Sample, View
from omnimask.streams import join_views


class PerModality:
    """Every modality is corrupted by its own corruptor; their contexts become one sequence, their queries stay separate."""

    def __init__(self, corruptors: Mapping[str, Corruptor]) -> None:
        self.corruptors = corruptors

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        if len(sample.tokens) == 1:
            (name,) = sample.tokens
            return self.corruptors[name](sample, masking)
        parts = [(name, self.corruptors[name](sample.only(name), {name: masking[name]})) for name in sample.tokens]
        return join_views(sample, parts)
