"""Permutation of hidden tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.components.corruptors.base import check_ids
from omnimask.components.corruptors.pools import Ints, whole_pools
from omnimask.components.corruptors.substitute import shown_instead, shown_instead_each, substituted, substituted_each
from omnimask.components.maskers.ragged import order_each
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, View


class Swap:
    """Every hidden token's id in place of another hidden token, answered in place (the swapped course of MCL [0]).

    On a random cycle each shows the id of the next, so no token keeps its place (two tokens with the same id may trade places). The
    only hidden token of its modality shows a random other id. The network sees no mask token, and the sample's ids change only in
    order. For modalities with ids.

    [0] Chen et al.: Pre-training Language Model as a Multi-perspective Course Learner, 2023.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context) -> None:
        check_ids(context, "swap")
        self.pools = whole_pools(context)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        literal = shown_instead(sample, masking, self.pools)
        for name, tokens in sample.tokens.items():
            hidden = np.flatnonzero(~np.asarray(masking[name].is_visible, bool))
            if len(hidden) > 1:
                literal[hidden + sample.start[name]] = self._turned(np.asarray(tokens.content, np.int64)[hidden], name, sample)
        return substituted(sample, masking, literal)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        literal = shown_instead_each(samples, maskings, self.pools)
        for name, tokens in samples.tokens.items():
            hidden = np.flatnonzero(~maskings[name].is_visible)
            counts = np.bincount(tokens.owner[hidden], minlength=tokens.num_samples)
            hidden = hidden[(counts > 1)[tokens.owner[hidden]]]
            counts = np.where(counts > 1, counts, 0)
            order = order_each(tokens.draws.uniform(counts, "circle", name), counts)
            # The place before on each sample's cycle; that of the first is the last.
            before = np.arange(len(order)) - 1
            held = counts > 0
            before[(np.cumsum(counts) - counts)[held]] = np.cumsum(counts)[held] - 1
            at, ids = samples.index[name][hidden], np.asarray(tokens.content, np.int64)[hidden]
            literal[at[order]] = ids[order[before]]
        return substituted_each(samples, maskings, literal)

    def _turned(self, ids: Ints, name: str, sample: Sample) -> Ints:
        """Return the ids (n,) rotated by one along a random cycle."""
        order = np.argsort(sample.draw.uniform(len(ids), "circle", name), kind="stable")
        turned = np.empty_like(ids)
        turned[order] = ids[np.roll(order, 1)]
        return turned
