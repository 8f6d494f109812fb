"""Combines maskers of single modalities to one over a sample."""

from __future__ import annotations

from collections.abc import Mapping

from omnimask.columns import masked
from omnimask.columns.calls import all_found
from omnimask.interfaces import Masker, Masking, MaskingColumns, Sample, SampleColumns


class PerModalityMasker:
    """A masker for each modality, in its own stage of the sample's draw."""

    def __init__(self, maskers: Mapping[str, Masker]) -> None:
        self.maskers = maskers

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        return {name: self.maskers[name](tokens, sample.draw.at(name)) for name, tokens in sample.tokens.items()}

    def mask_batch(self, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
        """Mask all samples of a micro-batch at once."""
        return all_found({name: masked(self.maskers[name], tokens.at(name)) for name, tokens in samples.tokens.items()})
