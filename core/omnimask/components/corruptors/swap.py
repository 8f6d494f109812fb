"""Hidden tokens change places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.components.corruptors.base import check_ids
from omnimask.components.corruptors.pools import Ints, Pools, drawable
from omnimask.components.corruptors.substitute import Ask, Asked, shown_instead, substituted
from omnimask.interfaces import Context, Masking, Sample, View


class Swap:
    """Shows every hidden token's id in the place of another hidden token, and asks in place (the swapped course of MCL [0]).

    In a circle of random order each shows the id of the next, so none stays where it was (two tokens of one id may trade places).
    A token that is the only hidden one of its modality shows a random other id. The network sees no mask token, and the sample's
    ids are what they were but for their order. For modalities whose tokens are ids.

    Args:
        ask: which tokens are asked for: the masker's ``targets``, or ``all`` but those that only frame the sample.

    [0] Chen et al.: Pre-training Language Model as a Multi-perspective Course Learner, 2023.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context, *, ask: Ask = "targets") -> None:
        check_ids(context, "swap")
        self.ask: Asked = ask
        specs = {name: context.specs[name] for name in context.modalities}
        self.pools = {name: Pools.of(np.where(drawable(spec), 0, -1), name) for name, spec in specs.items()}

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        literal = shown_instead(sample, masking, self.pools)
        for name, tokens in sample.tokens.items():
            hidden = np.flatnonzero(~np.asarray(masking[name].is_visible, bool))
            if len(hidden) > 1:
                literal[hidden + sample.start[name]] = self._turned(np.asarray(tokens.content, np.int64)[hidden], name, sample)
        return substituted(sample, masking, literal, self.ask)

    def _turned(self, ids: Ints, name: str, sample: Sample) -> Ints:
        """The ids (n,), each in the place of the one before it in a random order."""
        order = np.argsort(sample.draw.uniform(len(ids), "circle", name), kind="stable")
        turned = np.empty_like(ids)
        turned[order] = ids[np.roll(order, 1)]
        return turned
