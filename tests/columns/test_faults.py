"""A failure in a whole micro-batch is explained by its samples; a path that differs from them is a fault of its component."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from omnimask.columns import has_whole_batch
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.data.checked_masker import CheckedMasker
from omnimask.data.pipeline import Pipeline, ViewPlan
from omnimask.errors import BrokenContract, RunStopped
from omnimask.interfaces import (
    Context,
    Draw,
    Masking,
    MaskingColumns,
    Sample,
    SampleColumns,
    TokenColumns,
    Tokens,
    TokenSpec,
    View,
    WholeBatchCorruptor,
    WholeBatchMasker,
)
from omnimask.testing import make_tokens

SPECS = {"ids": TokenSpec(vocabulary=9, specials=("mask",))}
CONTEXT = Context(specs=SPECS, modalities=("ids",))


class Masker(RandomMasker):
    """A masker whose results are changed, of single samples and of whole micro-batches."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(CONTEXT, ratio=0.5)
        self.one = changes.get("one", lambda masking, key: masking)
        self.whole = changes.get("whole", lambda masking: masking)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        return self.one(super().__call__(tokens, draw), draw.key)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        return self.whole(super().mask_batch(tokens))


class Corruptor(MaskToken):
    """The same of a corruptor."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(CONTEXT)
        self.one = changes.get("one", lambda view, key: view)
        self.whole = changes.get("whole", lambda view: view)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return self.one(super().__call__(sample, masking), sample.draw.key)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        return self.whole(super().corrupt_batch(samples, maskings))


def packed(masker: Masker | None = None, corruptor: Corruptor | None = None) -> None:
    checked = CheckedMasker(PerModalityMasker({"ids": masker or Masker()}), {"ids": "masker 'own'"})
    plan = ViewPlan(checked, corruptor or Corruptor(), origin="corruptor 'own'")
    pipeline = Pipeline(None, {}, {"main": plan}, SPECS, 0)  # pyright: ignore[reportArgumentType]
    draws = [Draw(0, 0, f"s{number}") for number in range(4)]
    pipeline.pack([Sample({"ids": make_tokens(SPECS["ids"], 6, draw)}, draw, ("ids",)) for draw in draws])


def shorter(masking: MaskingColumns) -> MaskingColumns:
    return dataclasses.replace(masking, is_target=masking.is_target[:-1])


def failing(*_: Any) -> Any:
    raise ValueError("no room")


def at_s2(change: Any) -> Any:
    return lambda value, key: change(value) if key == "s2" else value


def context_of(**changes: Any) -> Any:
    return lambda view: dataclasses.replace(view, context=dataclasses.replace(view.context, **changes))


def test_one_sample_at_fault_is_named_as_when_alone() -> None:
    with pytest.raises(RunStopped, match="sample 's2' with 6 tokens cannot be masked: no room"):
        packed(Masker(one=at_s2(failing), whole=failing))
    with pytest.raises(BrokenContract, match="masker 'own', sample 's2': level must be in"):
        packed(
            Masker(
                one=at_s2(lambda m: dataclasses.replace(m, level=2.0)), whole=lambda m: dataclasses.replace(m, level=m.level + 2)
            )
        )
    with pytest.raises(BrokenContract, match="corruptor 'own', sample 's2': context literal must be less than 10, got 77"):
        packed(
            corruptor=Corruptor(
                one=at_s2(context_of(literal=np.full(6, 77))), whole=lambda view: context_of(literal=np.full(24, 77))(view)
            )
        )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"masker": Masker(whole=shorter)},
            "masker 'own': fails for whole micro-batches, not for single samples: is_target has shape",
        ),
        ({"masker": Masker(whole=failing)}, "masker 'own': .* no room"),
        ({"masker": Masker(whole=lambda m: dataclasses.replace(m, kind=m.kind[1:]))}, "masker 'own': .* kind has shape"),
        ({"corruptor": Corruptor(whole=failing)}, "corruptor 'own': .* no room"),
        (
            {"corruptor": Corruptor(whole=context_of(source=np.zeros(24, np.int64)))},
            "corruptor 'own': .* source must be inside the sample",
        ),
        ({"corruptor": Corruptor(whole=context_of(source=np.full(24, 24)))}, "corruptor 'own': .* source must be less than 24"),
        ({"corruptor": Corruptor(whole=context_of(rank=np.zeros(3, np.int64)))}, "corruptor 'own': .* declared types and counts"),
        ({"corruptor": Corruptor(whole=lambda view: 3)}, "corruptor 'own': .* must return a View"),
        (
            {"corruptor": Corruptor(whole=lambda v: dataclasses.replace(v, fields={"x": np.zeros(1)}))},
            "corruptor 'own': .* a field 'x'",
        ),
    ],
)
def test_a_whole_batch_that_fails_where_its_samples_do_not_is_a_breach(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(BrokenContract, match=words):
        packed(**parts)


def test_a_redefined_call_takes_the_capability_away() -> None:
    class Other(RandomMasker):
        def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
            return super().__call__(tokens, draw)

    class Another(MaskToken):
        def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
            return super().__call__(sample, masking)

    class Same(MaskToken):
        pass

    assert not has_whole_batch(Other(CONTEXT, ratio=0.5), WholeBatchMasker)
    assert not has_whole_batch(Another(CONTEXT), WholeBatchCorruptor)
    assert has_whole_batch(Same(CONTEXT), WholeBatchCorruptor) and has_whole_batch(Masker(), WholeBatchMasker)
