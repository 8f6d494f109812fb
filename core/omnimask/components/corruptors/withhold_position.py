"""Removal of hidden tokens' positions. n tokens of a sample, L of a modality, T slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, joint_targets, joint_visible, joint_weight, kind_of, level_of
from omnimask.components.maskers.budget import num_hidden, pick
from omnimask.components.maskers.ragged import num_hidden_each, pick_each
from omnimask.interfaces import Context, Draw, Draws, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import sequence, targets

Bools = NDArray[np.bool_]


class WithholdPosition:
    """All tokens show their content, hidden ones without a position, to be predicted in place (MP3 [0], DropPos [1]).

    A token that is hidden or a target has no position (``Stream.has_position`` is False). Tokens with a position come first, in
    their order; the others follow in a random order drawn for every sample, so slots reveal nothing about places. MP3 withholds
    all positions (masker ``random`` with ``ratio: 1.0``), DropPos leaves some of them.

    Components have to ignore the positions of slots without one. Those that encode such a slot like position 0 (position
    ``rotary``, encoder ``transformers``) are refused.

    Args:
        seen: tokens seen by all slots, the context. A number in (0, 1] is their share of each modality's tokens, drawn at random
            for every sample, at least one token: MP3's context patches, which alone are keys and values. ``placed``: the tokens
            with a position. Every other token sees the context and itself. A share below 1 and ``placed`` give ``ranked``
            attention, with a mask of pairs of slots.

    [0] Zhai et al.: Position Prediction as an Effective Pretraining Strategy, 2022.
    [1] Wang et al.: DropPos: Pre-Training Vision Transformers by Reconstructing Dropped Positions, 2023.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0
    withholds_positions: ClassVar[bool] = True

    def __init__(
        self,
        context: Context,
        *,
        seen: Annotated[
            Annotated[float, Field(gt=0, le=1)] | Literal["placed"],
            Field(description="tokens seen by all slots: a share of them, or those with a position (placed)"),
        ] = 1.0,
    ) -> None:
        del context
        self.seen: float | Literal["placed"] = seen

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        is_target = joint_targets(sample, masking)
        is_placed = joint_visible(sample, masking) & ~is_target
        value = np.full(len(sample), -1.0)
        value[~is_placed] = sample.draw.uniform(int(np.count_nonzero(~is_placed)), "shuffle")
        source = np.argsort(value, kind="stable")
        is_seen = self._seen(sample, is_placed)
        at = np.flatnonzero(is_target[source])
        rank, block = (None, None) if is_seen is None else _visibility(is_seen[source], np.arange(len(sample)))
        context = sequence(
            sample,
            source,
            has_position=is_placed[source],
            rank=rank,
            block=block,
            targets=targets(at, source[at], weight=joint_weight(sample, masking)[source[at]]),
            level=level_of(masking),
            kind=kind_of(masking),
        )
        return View(context)

    def _seen(self, sample: Sample, is_placed: Bools) -> Bools | None:
        """Return (n,) tokens seen by all slots, or None for all."""
        if self.seen == "placed" or self.seen == 1:
            return is_placed if self.seen == "placed" else None
        parts = [self._share(len(tokens), sample.draw.at("context", name)) for name, tokens in sample.tokens.items()]
        return np.concatenate([np.zeros(0, bool), *parts])

    def _share(self, length: int, draw: Draw) -> Bools:
        assert self.seen != "placed"
        return pick(length, max(1, num_hidden(length, self.seen, draw)), draw)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        joint = JointMaskings(samples, maskings)
        is_target = joint.is_target
        is_placed = joint.is_visible & ~is_target
        value = np.full(len(is_placed), -1.0)
        counts = np.bincount(samples.owner[~is_placed], minlength=samples.num_samples)
        value[~is_placed] = samples.draws.uniform(counts, "shuffle")
        source = np.lexsort((value, samples.owner))  # stable, as the order of a single sample
        is_seen = self._seen_each(samples, is_placed)
        at = np.flatnonzero(is_target[source])
        place = np.arange(len(source)) - samples.offsets[:-1][samples.owner]
        rank, block = (None, None) if is_seen is None else _visibility(is_seen[source], place)
        context = sequences(
            samples,
            source,
            samples.lengths,
            has_position=is_placed[source],
            rank=rank,
            block=block,
            targets=targets(at, source[at], weight=joint.weight(source[at])),
            kind=joint.kind,
            level=joint.level,
        )
        return View(context)

    def _seen_each(self, samples: SampleColumns, is_placed: Bools) -> Bools | None:
        if self.seen == "placed" or self.seen == 1:
            return is_placed if self.seen == "placed" else None
        parts = {name: self._share_each(t.lengths, t.draws.at("context", name)) for name, t in samples.tokens.items()}
        return samples.joint(parts, bool)

    def _share_each(self, lengths: NDArray[np.int64], draws: Draws) -> Bools:
        assert self.seen != "placed"
        number = num_hidden_each(lengths, np.full(len(lengths), self.seen), draws)
        return pick_each(lengths, np.maximum(number, 1), draws)


def _visibility(is_seen: Bools, place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rank and block (T,): slots of the context share both, each other slot has a later rank and a block of its own.

    Args:
        is_seen: (T,) slots of the context.
        place: (T,) index of a slot in its sequence.
    """
    return np.where(is_seen, 0, 1), np.where(is_seen, 0, place + 1)
