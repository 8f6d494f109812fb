"""Creation of one view of a sample: mask, corrupt, give every slot its noise; as often as the view repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omnimask.data.border import Breach, called_for, refuse, view_of
from omnimask.data.view_sequences import Maskings, Samples, asking_all, joined_repetitions, restricted, split
from omnimask.interfaces import SPECIAL, Draw, JointMasker, Masking, MaskingColumns, Sample, Stream, TokenColumns, Tokens, View


@dataclass(frozen=True)
class ViewPlan:
    """Creation of one view of a sample by a masker and a corruptor.

    ``draw`` names a random draw of the view's own. With ``noise`` every slot gets a uniform number (:class:`Stream`), for random
    choices on the device. ``origin`` describes the corruptor's component in messages.

    ``repeat`` is the number of maskings of a sample. The first repetition draws in :attr:`stage`, as a view without repetitions
    does, and repetition i > 0 in the stage ``("repeat", i)`` behind it. With ``asks_all``, every token except special ones is a
    target. ``of`` are the modalities of the view (empty: all). ``split`` is a field of tokens, and each run of its values is a
    sequence.
    """

    masker: JointMasker
    corruptor: Callable[[Sample, Mapping[str, Masking]], View]
    draw: str | None = None
    noise: bool = False
    origin: str = "the corruptor"
    repeat: int = 1
    asks_all: bool = False
    of: tuple[str, ...] = ()
    split: str | None = None

    @property
    def drawing(self) -> tuple[int, str | None]:
        """Identity of the masker and its random draw. Views of one drawing share their maskings, repetition by repetition."""
        return id(self.masker), self.draw

    @property
    def stage(self) -> tuple[str, ...]:
        """Stage of the view's random draw."""
        return () if self.draw is None else ("view", self.draw)

    def repetition(self, sample: Sample, number: int) -> Sample:
        """Return a sample with the draw of one repetition."""
        draw = sample.draw.at(*self.stage, *(("repeat", number) if number else ()))
        return Sample(sample.tokens, draw, sample.modalities, sample.labels)

    def masking(self, sample: Sample, repetition: int = 0) -> Mapping[str, Masking]:
        """Mask a sample."""
        return self.masker(_at(self.repetition(sample, repetition), "masker"))

    def __call__(self, sample: Sample, maskings: Sequence[Mapping[str, Masking]] | None = None) -> View:
        """Return the view of a sample; ``maskings`` are those of its repetitions if they are known."""
        if maskings is None:
            maskings = [self.masking(sample, number) for number in range(self.repeat)]
        drawn = [self.drawn(self.repetition(sample, number), masking) for number, masking in enumerate(maskings)]
        return joined_repetitions(drawn, self.origin)

    def drawn(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        """Return the view of one repetition of a sample, which has the repetition's draw."""
        corrupted = _at(sample, "corruptor")
        view = called_for(lambda: self.corruptor(corrupted, masking), (self.origin,), sample)
        try:
            view = view_of(view)
        except Breach as breach:
            raise refuse(self.origin, breach, sample.draw.key) from None
        if self.noise:
            query = None if view.query is None else _with_noise(view.query, sample.draw.at("noise", "query"))
            view = dataclasses.replace(view, context=_with_noise(view.context, sample.draw.at("noise", "context")), query=query)
        return self.changed(view, sample, masking)

    def changed(self, view: View, samples: Samples, maskings: Maskings) -> View:
        """Return a corrupted view with the plan's targets, modalities and sequences, and the numbers of hidden tokens.

        Args:
            view: of one sample, or of a micro-batch; in the same coordinates as ``samples``.
            samples: one sample, or columns.
            maskings: of the samples.

        Raises:
            ValueError: the corruptor does not allow this.
        """
        if self.asks_all:
            view = asking_all(view, samples, maskings, self.origin)
        if self.of:
            view = restricted(view, [samples.modalities.index(name) for name in self.of])
        if self.split is not None:
            view = split(view, samples, self.split, self.of or samples.modalities, self.origin)
        shown = [name for name in samples.tokens if name in self.of] if self.of else samples.tokens
        return dataclasses.replace(view, hidden={name: _hidden(samples.tokens[name], maskings[name]) for name in shown})


def _at(sample: Sample, stage: str) -> Sample:
    return Sample(sample.tokens, sample.draw.at(stage), sample.modalities, sample.labels)


def _with_noise(stream: Stream, draw: Draw) -> Stream:
    return dataclasses.replace(stream, noise=draw.uniform(stream.layout.num_slots))


def _hidden(tokens: Tokens | TokenColumns, masking: Masking | MaskingColumns) -> tuple[int, int]:
    """Return the number of hidden tokens and of maskable tokens."""
    special, count = tokens.fields.get(SPECIAL), len(tokens.positions)
    candidates = count - (0 if special is None else int(np.count_nonzero(special)))
    return count - int(np.count_nonzero(masking.is_visible)), candidates
