"""Base class of corruptors that combine several others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from omnimask.component import Component
from omnimask.interfaces import Context, Corruptor, Masking, Sample, View


class Several:
    """Base class of corruptors that delegate every sample to one of several; subclasses choose which.

    Raises:
        ValueError: they do not answer in the same stream.
    """

    def __init__(self, context: Context, corruptors: list[Component[Corruptor]]) -> None:
        self.corruptors = [corruptor(context) for corruptor in corruptors]
        streams = {corruptor.answers_in for corruptor in self.corruptors}
        if len(streams) > 1:
            each = ", ".join(f"{component.name}: {c.answers_in}" for component, c in zip(corruptors, self.corruptors, strict=True))
            raise ValueError(f"corruptors of one list must put targets into the same stream ({each})")

    @property
    def answers_in(self) -> Literal["context", "query"]:
        """The stream in which all of them answer."""
        return self.corruptors[0].answers_in

    @property
    def specials(self) -> tuple[str, ...]:
        """Specials of all of them, possible answers first."""
        answers = [name for corruptor in self.corruptors for name in corruptor.specials[: corruptor.num_answers]]
        return tuple(dict.fromkeys([*answers, *(name for corruptor in self.corruptors for name in corruptor.specials)]))

    @property
    def num_answers(self) -> int:
        """Number of ``specials``, from the first, that may be answers."""
        return len({name for corruptor in self.corruptors for name in corruptor.specials[: corruptor.num_answers]})

    def corrupt(self, number: int, sample: Sample, masking: Mapping[str, Masking]) -> View:
        """Corrupt a sample with one of them, in a separate stage of the draw."""
        return self.corruptors[number](dataclasses.replace(sample, draw=sample.draw.at(number)), masking)
