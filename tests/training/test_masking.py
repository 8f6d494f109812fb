"""How much was hidden, by modality and over all micro-batches of a step; which kinds were drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from omnimask.component import named
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.candidates import Candidates
from omnimask.components.maskers.choose import ChooseMasker
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.data.collation import collate
from omnimask.data.pipeline import ViewPlan
from omnimask.interfaces import Context, Draw, FieldSpec, MaskedBatch, Sample, TokenSpec
from omnimask.packed import pin_memory, to_device
from omnimask.testing import make_sample
from omnimask.testing.corruptor import reserve
from omnimask.training.monitoring.mask_shares import mask_counts, mask_shares

PLAIN = {"a": TokenSpec(vocabulary=9, fields={"special": FieldSpec("bool")}), "b": TokenSpec(width=(2,))}
SPECS = {name: reserve(spec, MaskToken(Context(specs=PLAIN, modalities=(name,)))) for name, spec in PLAIN.items()}


def framed(lengths: dict[str, int], key: str) -> Sample:
    """The first and the last token of ``a`` are special."""
    sample = make_sample(SPECS, lengths, Draw(0, 0, key))
    if "a" not in lengths:
        return sample
    place = np.arange(lengths["a"])
    fields = {"special": (place == 0) | (place == lengths["a"] - 1)}
    return dataclasses.replace(sample, tokens={**sample.tokens, "a": dataclasses.replace(sample.tokens["a"], fields=fields)})


def batch_of(*samples: Sample, masker=None) -> MaskedBatch:
    masker = masker or PerModalityMasker({"a": RandomMasker(Context(), ratio=0.5), "b": RandomMasker(Context(), ratio=0.25)})
    plan = ViewPlan(Candidates(masker, SPECS), MaskToken(Context(specs=SPECS, modalities=tuple(SPECS))))
    return collate(samples, [{"main": plan(sample)} for sample in samples], SPECS)


def test_shares_are_of_the_tokens_that_could_be_hidden() -> None:
    """5 of 10 and 2 of 4 of ``a`` without what frames it; 2 of 8 and 1 of 4 of ``b``."""
    first = batch_of(framed({"a": 12, "b": 8}, "x"), framed({"b": 4}, "y"))
    second = batch_of(framed({"a": 6}, "z"))
    assert first.views["main"].hidden == {"a": (5, 10), "b": (3, 12)}
    assert second.views["main"].hidden == {"a": (2, 4), "b": (0, 0)}
    assert mask_shares(mask_counts([first, second])) == {"mask_ratio.a": 7 / 14, "mask_ratio.b": 0.25}
    assert mask_shares(mask_counts([second])) == {"mask_ratio.a": 0.5}
    assert mask_shares(mask_counts([])) == {}
    assert to_device(first, "cpu").views["main"].hidden == first.views["main"].hidden


def test_one_modality_and_several_views() -> None:
    batch = batch_of(framed({"a": 12}, "x"))
    view = dataclasses.replace(batch.views["main"], hidden={"a": (5, 10)})
    batch = dataclasses.replace(batch, views={"main": view, "other": dataclasses.replace(view, hidden={"a": (1, 10)})})
    assert mask_shares(mask_counts([batch])) == {"mask_ratio": 0.5, "mask_ratio.other": 0.1}


def test_kinds_are_told_where_there_are_several() -> None:
    half, none = named("masker", "random", ratio=0.5), named("masker", "none")
    kinds = [ChooseMasker(Context(), maskers=[none] * number + [half], weights=[1e-9] * number + [1.0]) for number in range(3)]
    maskers = [PerModalityMasker({"a": kind, "b": RandomMasker(Context(), ratio=0.25)}) for kind in kinds]
    zero, one, two = (batch_of(framed({"a": 12}, "x"), masker=masker) for masker in maskers)
    assert set(mask_shares(mask_counts([zero]))) == {"mask_ratio.a"}
    found = mask_shares(mask_counts([zero, one, two, two]))
    assert found == {"mask_ratio.a": 0.5, "mask_kind.0": 0.25, "mask_kind.1": 0.25, "mask_kind.2": 0.5}


@pytest.mark.gpu
def test_counts_stay_on_the_host() -> None:
    batch = to_device(pin_memory(batch_of(framed({"a": 12}, "x"))), "cuda", non_blocking=True)
    assert batch.views["main"].hidden["a"] == (5, 10)
