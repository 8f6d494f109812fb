"""Base class of corruptors that combine several others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from omnimask.columns import arranged, corrupted, within_rows
from omnimask.component import Component
from omnimask.interfaces import Context, Corruptor, Masking, MaskingColumns, Sample, SampleColumns, View


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
    def withholds_positions(self) -> bool:
        """Whether any of them shows content without its position."""
        return any(getattr(corruptor, "withholds_positions", False) for corruptor in self.corruptors)

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

    def corrupt_each(
        self, number: NDArray[np.int64], samples: SampleColumns, maskings: Mapping[str, MaskingColumns]
    ) -> View | None:
        """Corrupt all samples of a micro-batch, each with one of them: ``number`` (B,)."""
        chosen = np.unique(number).tolist()
        if len(chosen) == 1:
            return corrupted(self.corruptors[chosen[0]], samples.at(chosen[0]), maskings)
        rows = [np.flatnonzero(number == one) for one in chosen]
        views: list[View] = []
        for one, row in zip(chosen, rows, strict=True):
            part, own = samples.take(row, maskings)
            view = corrupted(self.corruptors[one], part.at(one), own)
            if view is None or view.fields:
                return None
            views.append(within_rows(view, samples, row))
        context = arranged([view.context for view in views], rows)
        queries = [view.query for view in views if view.query is not None]
        if len(queries) not in (0, len(views)):
            return None
        owners = [row[query.layout.parent] for row, query in zip(rows, queries, strict=False)]
        return View(context, arranged(queries, owners) if queries else None)
