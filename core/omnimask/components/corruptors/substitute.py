"""Replacement of hidden tokens by random ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from omnimask.components.corruptors.base import (
    all_but_special,
    check_ids,
    joint_targets,
    joint_weight,
    kind_of,
    level_of,
)
from omnimask.components.corruptors.pools import Ints, Pools, whole_pools
from omnimask.interfaces import CONTENT, Context, Masking, Sample, View
from omnimask.streams import sequence, targets

Asked: TypeAlias = Literal["targets", "all"]
Ask: TypeAlias = Annotated[Asked, Field(description="targets: as set by the masker; all: every token")]


class Substitute:
    """A random id, never the token's own, in place of every hidden token, answered in place (RTS, SLM [0]).

    The network sees no mask token. Ids are uniform over the vocabulary without the tokenizer's special ones. For modalities with
    ids.

    Args:
        ask: which tokens are asked for: the masker's ``targets`` (SLM: predict the original), or ``all`` except special tokens
            (RTS: detect replaced tokens).

    [0] Di Liello et al.: Effective Pretraining Objectives for Transformer-based Autoencoders, 2022.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context, *, ask: Ask = "targets") -> None:
        check_ids(context, "substitute")
        self.ask: Asked = ask
        self.pools = whole_pools(context)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return substituted(sample, masking, shown_instead(sample, masking, self.pools), self.ask)


def shown_instead(sample: Sample, masking: Mapping[str, Masking], pools: Mapping[str, Pools]) -> Ints:
    """Return (n,) a different id of the pool for every hidden token, ``CONTENT`` elsewhere."""
    literal = np.full(len(sample), CONTENT, np.int64)
    uniform = sample.draw.uniform(len(sample), "id")
    for name, tokens in sample.tokens.items():
        hidden = np.flatnonzero(~np.asarray(masking[name].is_visible, bool))
        ids, at = np.asarray(tokens.content, np.int64)[hidden], hidden + sample.start[name]
        literal[at] = pools[name].other(ids, uniform[at])
    return literal


def substituted(sample: Sample, masking: Mapping[str, Masking], literal: Ints, ask: Asked) -> View:
    """Return a view in which every token keeps its slot, and ids (n,) are shown unless they are ``CONTENT``."""
    is_asked = joint_targets(sample, masking) if ask == "targets" else all_but_special(sample)
    asked = np.flatnonzero(is_asked)
    table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
    level, kind = level_of(masking), kind_of(masking)
    return View(sequence(sample, np.arange(len(sample)), literal=literal, targets=table, level=level, kind=kind))
