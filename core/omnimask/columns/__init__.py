"""Whole micro-batches on the host, for maskers and corruptors with a whole-batch path.

A component with this capability handles all samples at once; any other is called sample by sample, and its results are
concatenated. The functions here do either, so components of both kinds mix.
"""

from omnimask.columns.calls import concatenated, corrupted, corrupted_each, has_whole_batch, masked, masked_by, masked_samples
from omnimask.columns.repeated import LazyArrays, repeated
from omnimask.columns.views import arranged, chained, sequences, within, within_rows

__all__ = [
    "LazyArrays",
    "arranged",
    "chained",
    "concatenated",
    "corrupted",
    "corrupted_each",
    "has_whole_batch",
    "masked",
    "masked_by",
    "masked_samples",
    "repeated",
    "sequences",
    "within",
    "within_rows",
]
