"""Replacement of hidden tokens by random ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, check_ids, joint_targets, joint_weight, kind_of, level_of
from omnimask.components.corruptors.pools import Ints, Pools, whole_pools
from omnimask.interfaces import CONTENT, Context, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import sequence, targets


class Substitute:
    """A random id, never the token's own, in place of every hidden token, answered in place (RTS, SLM [0]).

    The network sees no mask token. Ids are uniform over the vocabulary without the tokenizer's special ones. For modalities with
    ids. SLM predicts the original of the masker's targets. RTS detects replaced tokens, in a view with ``ask: all``.

    [0] Di Liello et al.: Effective Pretraining Objectives for Transformer-based Autoencoders, 2022.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context) -> None:
        check_ids(context, "substitute")
        self.pools = whole_pools(context)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return substituted(sample, masking, shown_instead(sample, masking, self.pools))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        return substituted_each(samples, maskings, shown_instead_each(samples, maskings, self.pools))


def shown_instead(sample: Sample, masking: Mapping[str, Masking], pools: Mapping[str, Pools]) -> Ints:
    """Return (n,) a different id of the pool for every hidden token, ``CONTENT`` elsewhere."""
    literal = np.full(len(sample), CONTENT, np.int64)
    uniform = sample.draw.uniform(len(sample), "id")
    for name, tokens in sample.tokens.items():
        hidden = np.flatnonzero(~np.asarray(masking[name].is_visible, bool))
        ids, at = np.asarray(tokens.content, np.int64)[hidden], hidden + sample.start[name]
        literal[at] = pools[name].other(ids, uniform[at])
    return literal


def substituted(sample: Sample, masking: Mapping[str, Masking], literal: Ints) -> View:
    """Return a view in which every token keeps its slot, and ids (n,) are shown unless they are ``CONTENT``."""
    asked = np.flatnonzero(joint_targets(sample, masking))
    table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
    level, kind = level_of(masking), kind_of(masking)
    return View(sequence(sample, np.arange(len(sample)), literal=literal, targets=table, level=level, kind=kind))


def shown_instead_each(samples: SampleColumns, maskings: Mapping[str, MaskingColumns], pools: Mapping[str, Pools]) -> Ints:
    """As :func:`shown_instead`, for all samples of a micro-batch, in batch coordinates."""
    uniform = samples.draws.uniform(samples.lengths, "id")
    literal = np.full(len(uniform), CONTENT, np.int64)
    for name, tokens in samples.tokens.items():
        hidden = np.flatnonzero(~maskings[name].is_visible)
        ids, at = np.asarray(tokens.content, np.int64)[hidden], samples.index[name][hidden]
        if len(at):
            literal[at] = pools[name].other(ids, uniform[at])
    return literal


def substituted_each(samples: SampleColumns, maskings: Mapping[str, MaskingColumns], literal: Ints) -> View:
    """As :func:`substituted`, for all samples of a micro-batch, in batch coordinates."""
    joint = JointMaskings(samples, maskings)
    table = joint.in_place()
    return View(sequences(samples, None, samples.lengths, literal=literal, targets=table, level=joint.level, kind=joint.kind))
