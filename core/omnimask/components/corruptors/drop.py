"""Removal of hidden tokens from the encoder's input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, joint_visible, joint_weight, kind_of, level_of
from omnimask.components.maskers.budget import num_hidden
from omnimask.components.maskers.ragged import lowest, num_hidden_each
from omnimask.interfaces import NOTHING, Context, Draw, Draws, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import no_sequences, sequence, stack, targets


class Drop:
    """The encoder reads visible tokens only; a decoder is queried at the positions of the hidden ones (MAE [0]).

    The context holds the visible tokens in order. The query holds one sequence per modality, with a slot for every target that
    shows only its position. If the masking has several sets of targets (``Masking.groups``), there is one such sequence per
    modality and set, and a token of two sets is asked for in both. Hidden tokens without a target appear nowhere.

    Args:
        ask: share of a modality's targets to ask for, in (0, 1], drawn for every sample; fewer targets save decoder time (CrossMAE
            [1]). The number is exact if ``ask * targets`` is an integer, else one of the two neighboring integers, with the exact
            share in expectation. A token that is not drawn is removed from all of its sets.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021. [1] Fu et al.: Rethinking Patch Dependence for Masked
    Autoencoders, 2024, section 3.3.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "query"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(
        self,
        context: Context,
        *,
        ask: Annotated[float, Field(gt=0, le=1, description="share of the masked tokens used as targets")] = 1.0,
    ) -> None:
        del context
        self.ask = ask

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        weight, level, kind = joint_weight(sample, masking), level_of(masking), kind_of(masking)
        context = sequence(sample, np.flatnonzero(joint_visible(sample, masking)), level=level, kind=kind)
        queries = []
        for name in sample.tokens:
            for asked in self._asked(masking[name], sample.draw.at("ask", name)):
                asked = sample.start[name] + asked
                table = targets(np.arange(len(asked)), asked, weight=weight[asked])
                nothing = np.full(len(asked), NOTHING)
                queries.append(sequence(sample, asked, literal=nothing, targets=table, level=level, kind=kind))
        return View(context, stack(queries) if queries else no_sequences())

    def _asked(self, masking: Masking, draw: Draw) -> Iterator[NDArray[np.int64]]:
        """Yield the tokens to ask for, set by set."""
        is_asked = np.asarray(masking.is_target, bool)
        if self.ask < 1:
            candidates = np.flatnonzero(is_asked)
            order = np.argsort(draw.uniform(len(candidates), "order"), kind="stable")
            is_asked = np.zeros(len(is_asked), bool)
            is_asked[candidates[order[: num_hidden(len(candidates), self.ask, draw)]]] = True
        if masking.groups is None:
            yield np.flatnonzero(is_asked)
            return
        for group in np.asarray(masking.groups, bool):
            yield np.flatnonzero(group & is_asked)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        joint = JointMaskings(samples, maskings)
        level, kind = joint.level, joint.kind
        shown = np.flatnonzero(joint.is_visible)
        lengths = np.bincount(samples.owner[shown], minlength=samples.num_samples)
        context = sequences(samples, shown, lengths, level=level, kind=kind)
        is_asked, counts, is_there = {}, np.zeros_like(samples.lengths_by_modality), samples.lengths_by_modality < 0
        for number, (name, tokens) in enumerate(samples.tokens.items()):
            is_asked[name] = self._asked_each(maskings[name], tokens.draws.at("ask", name))
            counts[samples.rows[name], number] = np.bincount(tokens.owner[is_asked[name]], minlength=tokens.num_samples)
            is_there[samples.rows[name], number] = True
        asked = np.flatnonzero(samples.joint(is_asked, bool))
        query = sequences(
            samples,
            asked,
            counts[is_there],
            literal=np.full(len(asked), NOTHING),
            targets=targets(np.arange(len(asked)), asked, weight=joint.weight(asked)),
            parent=np.nonzero(is_there)[0],
            level=level,
            kind=kind,
        )
        return View(context, query)

    def _asked_each(self, masking: MaskingColumns, draws: Draws) -> NDArray[np.bool_]:
        """Return (P,) True for the tokens to ask for."""
        if self.ask == 1:
            return masking.is_target
        candidates = np.flatnonzero(masking.is_target)
        counts = np.bincount(np.searchsorted(masking.offsets, candidates, side="right") - 1, minlength=len(masking.lengths))
        number = num_hidden_each(counts, np.full(len(counts), self.ask), draws)
        is_asked = np.zeros(len(masking.is_target), bool)
        is_asked[candidates] = lowest(draws.uniform(counts, "order"), counts, number)
        return is_asked
