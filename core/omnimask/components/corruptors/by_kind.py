"""Choice of a corruptor by the masker drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from omnimask.component import Component
from omnimask.components.corruptors.base import JointMaskings, kind_of
from omnimask.components.corruptors.several import Several
from omnimask.interfaces import Context, Corruptor, Masking, MaskingColumns, Sample, SampleColumns, View


class ByKind(Several):
    """Choice of a corruptor by the masking's kind, the index of the masker's branch or stage.

    With the masker ``choose`` it forms a mixture of tasks, each with its own masker and corruptor (UL2 [0]); with ``scheduled`` a
    sequence of tasks.

    Args:
        corruptors: one corruptor per kind; all answer in the same stream.

    [0] Tay et al.: UL2: Unifying Language Learning Paradigms, 2022.
    """

    def __init__(
        self,
        context: Context,
        *,
        corruptors: Annotated[list[Component[Corruptor]], Field(min_length=1, description="one corruptor per kind")],
    ) -> None:
        super().__init__(context, corruptors)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        kind = kind_of(masking)
        self._check(kind)
        return self.corrupt(kind, sample, masking)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once."""
        kind = JointMaskings(samples, maskings).kind
        self._check(int(kind.max(initial=0)))
        return self.corrupt_each(kind, samples, maskings)

    def _check(self, kind: int) -> None:
        if kind >= len(self.corruptors):
            raise ValueError(f"the masker drew kind {kind} (counted from 0), but by_kind has {len(self.corruptors)} corruptors")
