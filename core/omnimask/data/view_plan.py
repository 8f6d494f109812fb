"""Creation of one view of a sample: mask, corrupt, give every slot its noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from omnimask.data.border import Breach, called_for, refuse, view_of
from omnimask.interfaces import SPECIAL, Draw, JointMasker, Masking, Sample, Stream, Tokens, View


@dataclass(frozen=True)
class ViewPlan:
    """Creation of one view of a sample by a masker and a corruptor.

    ``draw`` names a random draw of the view's own. With ``noise`` every slot gets a uniform number (:class:`Stream`), for random
    choices on the device. ``origin`` describes the corruptor's component in messages.
    """

    masker: JointMasker
    corruptor: Callable[[Sample, Mapping[str, Masking]], View]
    draw: str | None = None
    noise: bool = False
    origin: str = "the corruptor"

    @property
    def drawing(self) -> tuple[int, str | None]:
        """Identity of the masker and its random draw. Views of one drawing share their maskings."""
        return id(self.masker), self.draw

    @property
    def stage(self) -> tuple[str, ...]:
        """Stage of the view's random draw."""
        return () if self.draw is None else ("view", self.draw)

    def masking(self, sample: Sample) -> Mapping[str, Masking]:
        """Mask a sample."""
        return self.masker(Sample(sample.tokens, sample.draw.at(*self.stage, "masker"), sample.modalities, sample.labels))

    def __call__(self, sample: Sample, masking: Mapping[str, Masking] | None = None) -> View:
        """Return the view of a sample; ``masking`` is its own masking if it is known."""
        masking = self.masking(sample) if masking is None else masking
        draw = sample.draw.at(*self.stage)
        corrupted = Sample(sample.tokens, draw.at("corruptor"), sample.modalities, sample.labels)
        view = called_for(lambda: self.corruptor(corrupted, masking), (self.origin,), sample)
        try:
            view = view_of(view)
        except Breach as breach:
            raise refuse(self.origin, breach, sample.draw.key) from None
        if self.noise:
            query = None if view.query is None else _with_noise(view.query, draw.at("noise", "query"))
            view = dataclasses.replace(view, context=_with_noise(view.context, draw.at("noise", "context")), query=query)
        return dataclasses.replace(view, hidden={name: _hidden(tokens, masking[name]) for name, tokens in sample.tokens.items()})


def _with_noise(stream: Stream, draw: Draw) -> Stream:
    return dataclasses.replace(stream, noise=draw.uniform(stream.layout.num_slots))


def _hidden(tokens: Tokens, masking: Masking) -> tuple[int, int]:
    """Return the number of hidden tokens and of maskable tokens."""
    special = tokens.fields.get(SPECIAL)
    candidates = len(tokens) - (0 if special is None else int(np.count_nonzero(special)))
    return len(tokens) - int(np.count_nonzero(masking.is_visible)), candidates
