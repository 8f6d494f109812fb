"""The kit compares whole micro-batches with single samples: it finds what differs, and omnimask's own components pass."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask.component import named
from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.annotated import AnnotatedMasker
from omnimask.components.maskers.choose import ChooseMasker
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.interfaces import (
    Context,
    Corruptor,
    Draw,
    FieldSpec,
    JointMasker,
    Masker,
    Masking,
    MaskingColumns,
    Sample,
    SampleColumns,
    TokenColumns,
    Tokens,
    TokenSpec,
    View,
)
from omnimask.testing import CorruptorContract, JointMaskerContract, MaskerContract, make_tokens

from .failing import finds

SPECS = {"a": TokenSpec(vocabulary=50), "b": TokenSpec(width=(4,), axes=2)}
IDS = TokenSpec(vocabulary=11)


class TestBert(CorruptorContract):
    hides_all_hidden = answers_are_hidden = False  # a tenth shows itself

    def corruptor(self, context: Context) -> Corruptor:
        return BertCorruptor(context)


class TestBertOfTwoModalities(TestBert):
    specs = {"ids": IDS, "codes": TokenSpec(vocabulary=30, special_ids={"mask": 3}, axes=2)}


class TestMaskTokenOfTwoModalities(CorruptorContract):
    specs = SPECS

    def corruptor(self, context: Context) -> Corruptor:
        return MaskToken(context)


class TestDropSome(TestMaskTokenOfTwoModalities):
    asks_all_targets = False

    def corruptor(self, context: Context) -> Corruptor:
        return Drop(context, ask=0.4)


class TestPerModality(JointMaskerContract):
    specs = SPECS

    def masker(self) -> JointMasker:
        return PerModalityMasker({"a": RandomMasker(Context(), ratio=0.3), "b": SpanMasker(Context(), ratio=0.5)})


class TestCells(MaskerContract):
    spec = TokenSpec(width=(2,), axes=2, extent=(8, 8))

    def masker(self) -> Masker:
        return RandomMasker(Context(), ratio=0.4, unit=(2, 3))


class TestMixtureWithUnits(MaskerContract):
    ratio = 0.3

    def masker(self) -> Masker:
        return ChooseMasker(Context(), maskers=[named("masker", "span", ratio=0.2), named("masker", "span", ratio=0.4)])


class TestAnnotated(MaskerContract):
    spec = TokenSpec(vocabulary=9, fields={"phrase": FieldSpec("int64"), "time": FieldSpec("float32")})

    def masker(self) -> Masker:
        context = Context(specs={"m": self.spec}, modalities=("m",))
        return AnnotatedMasker(context, fields=["phrase", "time"], ratio=0.5, rest=named("masker", "random", ratio=0.2))

    def tokens(self, length: int, draw: Draw) -> Tokens:
        tokens = make_tokens(self.spec, length, draw)
        phrase = np.floor(draw.uniform(length, "phrases") * 5).astype(np.int64) - 2
        time = np.where(draw.uniform(length, "times") < 0.5, np.nan, np.floor(np.arange(length) / 3)).astype(np.float32)
        return dataclasses.replace(tokens, fields={"phrase": phrase, "time": time})


Change = Callable[[Any], Any]


class FaultyMasker(RandomMasker):
    def __init__(self, change: Change) -> None:
        super().__init__(Context(), ratio=0.3)
        self.change = change

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        return super().__call__(tokens, draw)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        return self.change(super().mask_batch(tokens))


class FaultyJoint(PerModalityMasker):
    def mask_batch(self, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
        found = super().mask_batch(samples)
        return None if found is None else {**found, "b": dataclasses.replace(found["b"], level=found["b"].level / 2)}

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        return super().__call__(sample)


class FaultyCorruptor(MaskToken):
    def __init__(self, context: Context, change: Change) -> None:
        super().__init__(context)
        self.change = change

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return super().__call__(sample, masking)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        view = super().corrupt_batch(samples, maskings)
        return dataclasses.replace(view, context=self.change(view.context))


def next_sample(masking: MaskingColumns) -> MaskingColumns:
    is_target = np.roll(masking.is_target, 1)
    return dataclasses.replace(masking, is_visible=~is_target, is_target=is_target)


TEST = "test_whole_batch_equals_single_samples"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (next_sample, "mask_batch returned another is_visible than the call for this sample"),
        (lambda m: dataclasses.replace(m, unit=np.zeros(len(m.is_target), np.int64)), "another unit than the call"),
        (lambda m: dataclasses.replace(m, kind=m.kind + 1), "another kind than the call"),
        (lambda m: dataclasses.replace(m, lengths=m.lengths + 1), "mask_batch returned lengths"),
    ],
)
def test_a_masker_that_differs(change: Change, message: str) -> None:
    class Contract(MaskerContract):
        lengths: Any = (0, 1, 17)

        def masker(self) -> Masker:
            return FaultyMasker(change)

    finds(Contract(), TEST, message)


def test_a_joint_masker_that_differs() -> None:
    class Contract(JointMaskerContract):
        def masker(self) -> JointMasker:
            return FaultyJoint({name: RandomMasker(Context(), ratio=0.5) for name in self.specs})

    finds(Contract(), TEST, "another level than the call for this sample")


CHANGES: Mapping[str, Change] = {
    "literal": lambda values: np.full_like(values, -1),
    "positions": lambda values: values + 1,
    "has_position": lambda values: ~values,
    "rank": lambda values: values + 1,
    "level": lambda values: values / 2,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_corruptor_that_differs(name: str) -> None:
    def change(stream: Any) -> Any:
        return dataclasses.replace(stream, **{name: CHANGES[name](getattr(stream, name))})

    class Contract(CorruptorContract):
        def corruptor(self, context: Context) -> Corruptor:
            return FaultyCorruptor(context, change)

    finds(Contract(), TEST, f"another context.{name} from corrupt_batch than one by one")


PAGE = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"


def test_the_page_adds_it_to_its_masker() -> None:
    """The blocks of the page are run, and the masker with the method keeps the contract."""
    masker, method = (
        re.search(rf"```python[^\n]*\n((?:(?!```).)*{words}.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        for words in ("class ForecastMasker", "def mask_batch")
    )
    assert masker is not None and method is not None
    names: dict[str, Any] = {}
    for text in (masker[1], method[1]):
        exec(text.replace("from __future__ import annotations\n", ""), names)
    names["ForecastMasker"].mask_batch = names["mask_batch"]

    class Contract(MaskerContract):
        lengths: Sequence[int] = (0, 1, 2, 17, 64)  # pyright: ignore[reportIncompatibleVariableOverride]

        def masker(self) -> Masker:
            return names["ForecastMasker"](Context())

    Contract().test_whole_batch_equals_single_samples()
    del names["mask_batch"]
