"""Masking statistics of a step. They use host numbers only, so nothing waits for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from omnimask.data.view_names import MAIN
from omnimask.interfaces import MaskedBatch

_HIDDEN, _CANDIDATES, _KIND = "hidden", "candidates", "kind"


def mask_counts(batches: Sequence[MaskedBatch]) -> dict[tuple[str, ...], float]:
    """Count the masking of micro-batches on the host: tokens by view and modality, samples by view and kind."""
    found: dict[tuple[str, ...], float] = {}
    for view in batches[0].views if batches else ():
        for batch in batches:
            for modality, (hidden, candidates) in batch.views[view].hidden.items():
                for name, count in ((_HIDDEN, hidden), (_CANDIDATES, candidates)):
                    found[view, name, modality] = found.get((view, name, modality), 0.0) + count
        kinds = np.concatenate([np.asarray(batch.views[view].context.kind) for batch in batches])
        for number, many in zip(*np.unique(kinds, return_counts=True), strict=True):
            found[view, _KIND, str(number)] = float(many)
    return found


def mask_shares(counts: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    """Compute the shares of a step from the sums of :func:`mask_counts`.

    ``mask_ratio`` is the number of hidden tokens divided by the number of maskable tokens of a view. With several modalities the
    keys are ``mask_ratio.<modality>``; views other than the main one use ``mask_ratio.<view>`` and
    ``mask_ratio.<view>.<modality>``, and are omitted if they hide nothing, as a teacher's view does. If a step has samples of kinds
    other than 0, ``mask_kind.<kind>`` is the share of each kind.
    """
    found: dict[str, float] = {}
    for view in dict.fromkeys(view for view, *_ in counts):
        prefix = "" if view == MAIN else f".{view}"
        modalities = [modality for where, name, modality in counts if (where, name) == (view, _CANDIDATES)]
        is_masked = view == MAIN or any(counts[view, _HIDDEN, modality] for modality in modalities)
        for modality in modalities if is_masked else ():
            if candidates := counts[view, _CANDIDATES, modality]:
                share = counts[view, _HIDDEN, modality] / candidates
                found[f"mask_ratio{prefix}" + (f".{modality}" if len(modalities) > 1 else "")] = share
        kinds = {number: many for (where, name, number), many in counts.items() if (where, name) == (view, _KIND) and many}
        if kinds.keys() - {"0"}:
            found |= {f"mask_kind{prefix}.{number}": many / sum(kinds.values()) for number, many in kinds.items()}
    return found
