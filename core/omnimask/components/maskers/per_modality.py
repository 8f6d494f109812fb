"""Combines maskers of single modalities to one over a sample."""

from __future__ import annotations

from collections.abc import Mapping

from omnimask.interfaces import Masker, Masking, Sample


class PerModalityMasker:
    """A masker for each modality, in its own stage of the sample's draw."""

    def __init__(self, maskers: Mapping[str, Masker]) -> None:
        self.maskers = maskers

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        return {name: self.maskers[name](tokens, sample.draw.at(name)) for name, tokens in sample.tokens.items()}
