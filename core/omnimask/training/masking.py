"""How much of a step was masked, and by what: numbers that the host has, so that no device is waited for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omnimask.interfaces import MaskedBatch

MAIN = "main"


def mask_shares(batches: Sequence[MaskedBatch]) -> dict[str, float]:
    """Over the micro-batches of a step, on the host.

    ``mask_ratio`` is the share of the tokens that a view's masker hid, of those that it could hide; ``mask_ratio.<modality>`` where
    there are several, ``mask_ratio.<view>`` and ``mask_ratio.<view>.<modality>`` of other views than the main one. Where samples
    are of other kinds than 0, ``mask_kind.<kind>`` is the share of each.
    """
    found: dict[str, float] = {}
    for view in batches[0].views if batches else ():
        counts = [batch.views[view].hidden for batch in batches]
        kinds = np.concatenate([np.asarray(batch.views[view].context.kind) for batch in batches])
        prefix = "" if view == MAIN else f".{view}"
        for modality in counts[0]:
            hidden, candidates = (sum(count[modality][i] for count in counts) for i in (0, 1))
            if candidates:
                found[f"mask_ratio{prefix}" + (f".{modality}" if len(counts[0]) > 1 else "")] = hidden / candidates
        if kinds.any():
            numbers, many = np.unique(kinds, return_counts=True)
            found |= {f"mask_kind{prefix}.{n}": float(m / len(kinds)) for n, m in zip(numbers.tolist(), many, strict=True)}
    return found
