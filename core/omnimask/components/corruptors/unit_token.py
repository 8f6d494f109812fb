"""Hidden units reduced to one slot each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.corruptors.base import (
    JointMaskings,
    check_one_axis,
    joint_targets,
    joint_weight,
    only_modality,
    with_units,
)
from omnimask.components.corruptors.shortened import (
    Ints,
    Shortened,
    context_of,
    contexts_of,
    hidden_units,
    only_samples,
    shorten,
    shorten_each,
)
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, Targets, View
from omnimask.streams import targets


class UnitToken:
    """One mask token for every hidden unit of any length, where all of its tokens are answered (ERNIE-Gram [0]).

    Serves one modality. Units are the masking's; hidden tokens without a unit form units by adjacency. A unit's slot stands for its
    first token.

    The targets have a row for every token to predict: ``at`` its slot, ``of`` the token, and ``index`` its place in the unit, from
    0 (0 for visible tokens). If the masker identifies units (``Masking.entry``) and all of a unit's tokens are targets, there is
    another row ``at`` its slot with ``of`` -1, ``literal`` the entry and ``index`` -1, weighted like the unit's first token. Rows
    are in token order, followed by those of units. In a packed batch ``Targets.rows`` returns the bounds of either kind: predictors
    of tokens see no rows of units. Entries have their own id space: an id below the vocabulary is a unit of this one token; ids
    from the vocabulary on are the units numbered by the masker.

    Args:
        renumber: positions count the slots of the shortened input. Otherwise tokens keep their positions, and a unit takes that of
            its first token.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ("mask",)
    num_answers = 0

    def __init__(
        self,
        context: Context,
        *,
        renumber: Annotated[bool, Field(description="number positions by slots instead of tokens")] = True,
    ) -> None:
        if renumber:
            check_one_axis(context)
        self.specs, self.renumber = context.specs, renumber

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        name = only_modality(sample, "unit_token")
        short = shorten(hidden_units(masking[name]), "unit_token")
        mask_ids = np.full(int(short.is_unit.sum()), self.specs[name].id("mask"))
        table = _answers(short, joint_targets(sample, masking), masking[name].entry, joint_weight(sample, masking))
        context = context_of(sample, masking, short, mask_ids, renumber=self.renumber, source=short.kept, targets=table)
        return View(context)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once; None unless all have the only modality."""
        if (name := only_samples(samples)) is None:
            return None
        joint = JointMaskings(samples, maskings)
        short = shorten_each(maskings[name], samples.owner, "unit_token")
        weight = joint.weight(np.arange(len(samples.owner)))
        table = _answers(short, joint.is_target, maskings[name].entry, weight)
        # The rows of one sample's units follow those of its tokens.
        order = np.argsort(samples.owner[short.kept[table.at[:, 0]]], kind="stable")
        assert table.index is not None
        table = targets(
            table.at[order, 0], table.of[order], literal=table.literal[order], weight=table.weight[order], index=table.index[order]
        )
        mask_ids = np.full(int(short.is_unit.sum()), self.specs[name].id("mask"))
        return View(contexts_of(samples, joint, short, mask_ids, renumber=self.renumber, source=short.kept, targets=table))


def _answers(short: Shortened, is_asked: NDArray[np.bool_], entry: Ints | None, weight: NDArray[np.float32]) -> Targets:
    """Return the rows of the tokens, followed by those of the units."""
    asked = np.flatnonzero(is_asked)
    index = asked - short.kept[short.slot[asked]]
    rows = targets(short.slot[asked], asked, weight=weight[asked], index=index)
    if entry is None:
        return rows
    # (T,) True if all tokens of a slot are asked for.
    is_whole = np.bincount(short.slot, minlength=len(short.kept)) == np.bincount(short.slot[asked], minlength=len(short.kept))
    slots = np.flatnonzero(short.is_unit & is_whole & (np.asarray(entry)[short.kept] >= 0))
    first = short.kept[slots]
    return with_units(rows, slots, np.asarray(entry)[first], weight[first])
