"""Run-time checks of maskers: their results are compared with the interface, sample by sample or for a whole micro-batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.columns import masked_samples
from omnimask.data.border import Breach, called_for, check_masking, joined, refuse
from omnimask.interfaces import JointMasker, Masking, MaskingColumns, Sample, SampleColumns
from omnimask.messages.hints import described


class CheckedMasker:
    """Masker whose result is compared with :class:`~omnimask.interfaces.Masking` for every sample.

    Args:
        masker: over whole samples.
        origins: description of the masking component of each modality, for messages.
    """

    def __init__(self, masker: JointMasker, origins: Mapping[str, str]) -> None:
        self.masker, self.origins = masker, origins

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        found = called_for(lambda: self.masker(sample), self.origins.values(), sample)
        if not isinstance(found, Mapping) or any(name not in found for name in sample.tokens):
            got = sorted(cast(Mapping[str, Any], found)) if isinstance(found, Mapping) else described(found)
            raise refuse(
                joined(self.origins.values()),
                Breach(f"it must return a masking for each of the modalities {list(sample.tokens)}, not {got}"),
                sample.draw.key,
            )
        for name, tokens in sample.tokens.items():
            try:
                check_masking(found[name], len(tokens))
            except Breach as breach:
                raise refuse(self.origins.get(name, "the masker"), breach, sample.draw.key) from None
        return found

    def mask_batch(self, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
        """Mask all samples of a micro-batch at once, and check the columns. Raise :class:`WholeBatchFault` if that fails."""
        with fault_of(joined(self.origins.values())):
            found = masked_samples(self.masker, samples)
            if found is not None:
                for name, tokens in samples.tokens.items():
                    check_masking_columns(found[name], tokens.lengths)
            return found


def check_masking_columns(masking: MaskingColumns, lengths: NDArray[np.int64]) -> None:
    """Compare the maskings of samples with ``lengths`` (B,) tokens with their interface; see :func:`check_masking`."""
    samples = lengths.shape
    for name, value, dtype in (("level", masking.level, np.float64), ("kind", masking.kind, np.int64)):
        if value.shape != samples or value.dtype != dtype:
            raise Breach(f"{name} has shape {value.shape} and dtype {value.dtype}; expected {samples} and {np.dtype(dtype)}")
    largest, least = masking.level.max(initial=0.0), masking.level.min(initial=0.0)
    one = Masking(
        masking.is_visible,
        masking.is_target,
        masking.unit,
        masking.weight,
        float(largest if least >= 0 else least),
        kind=int(masking.kind.min(initial=0)),
        entry=masking.entry,
    )
    check_masking(one, int(lengths.sum()))


class WholeBatchFault(Exception):
    """Failure of a component for a whole micro-batch; its samples one by one show whether it fails for one of them."""

    def __init__(self, origin: str, error: Exception) -> None:
        super().__init__(origin, error)
        self.origin, self.error = origin, error


@contextmanager
def fault_of(origin: str) -> Iterator[None]:
    """Raise :class:`WholeBatchFault` of a component for any other error."""
    try:
        yield
    except (WholeBatchFault, MemoryError):
        raise
    except Exception as error:
        raise WholeBatchFault(origin, error) from error
