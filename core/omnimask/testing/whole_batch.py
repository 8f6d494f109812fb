"""Checks of components that handle a whole micro-batch at once: results equal those for single samples, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from omnimask.columns import concatenated, has_whole_batch
from omnimask.data.border import check_whole_view
from omnimask.data.checked_masker import check_masking_columns
from omnimask.data.collation import collate, collate_columns
from omnimask.data.sample_columns import columns_of, is_faithful
from omnimask.interfaces import (
    Corruptor,
    Draw,
    JointMasker,
    Masker,
    Masking,
    MaskingColumns,
    Sample,
    Tokens,
    TokenSpec,
    WholeBatchCorruptor,
    WholeBatchJointMasker,
    WholeBatchMasker,
)
from omnimask.testing.requirements import require, same

_MANY = 40
_REMEDY = "the call for one sample is the definition; correct the method for the whole micro-batch, or remove it"


def ragged(lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield lengths of the samples of several micro-batches: one sample, none with tokens, all of them, and many at random."""
    yield [max(lengths)]
    yield [0, 0]
    yield [0, *lengths, 0]
    rng = np.random.default_rng(0)
    yield rng.integers(0, max(lengths) + 1, _MANY).tolist()


def batch_draws(count: int) -> list[Draw]:
    """Return draws of samples all over the run, some of them rows of one group."""
    draws = [Draw(7, number % 2, f"sample '{number}", number, number / count, stage=("train",)) for number in range(count)]
    return [draw.at("row", number) if number % 5 == 4 else draw for number, draw in enumerate(draws)]


def check_masker(masker: Masker, spec: TokenSpec, tokens: Sequence[Tokens], draws: Sequence[Draw]) -> None:
    """Check a masker's capability ``WholeBatchMasker`` on the tokens of one micro-batch, if it has it."""
    whole: Any = masker
    if not has_whole_batch(whole, WholeBatchMasker):
        return
    samples = [Sample({"m": one}, draw, ("m",)) for one, draw in zip(tokens, draws, strict=True)]
    require(is_faithful(samples, {"m": spec}), "the tokens differ from the spec; return the declared types in the test's tokens()")
    found = whole.mask_batch(columns_of(samples, {"m": spec}).tokens["m"])
    _compare(found, [masker(one, draw) for one, draw in zip(tokens, draws, strict=True)])


def check_joint_masker(masker: JointMasker, specs: Mapping[str, TokenSpec], samples: Sequence[Sample]) -> None:
    """Check a joint masker's capability ``WholeBatchJointMasker`` on the samples of one micro-batch, if it has it."""
    whole: Any = masker
    if not has_whole_batch(whole, WholeBatchJointMasker):
        return
    found = whole.mask_batch(columns_of(samples, specs))
    each = [masker(sample) for sample in samples]
    for name in specs:
        _compare(
            None if found is None else found[name],
            [own[name] for own, sample in zip(each, samples, strict=True) if name in sample.tokens],
        )


def _compare(found: MaskingColumns | None, each: Sequence[Masking]) -> None:
    """Compare the maskings of a micro-batch; None leaves it to the single samples."""
    if found is None:
        return
    lengths = np.array([len(masking.is_visible) for masking in each], np.int64)
    require(same(found.lengths, lengths), f"mask_batch returned lengths {found.lengths.tolist()}, not {lengths.tolist()}")
    check_masking_columns(found, lengths)
    for number, masking in enumerate(each):
        own = found.masking(number)
        for field in dataclasses.fields(Masking):
            left, right = getattr(own, field.name), getattr(masking, field.name)
            require(
                same(_plain(left), _plain(right)),
                f"sample {number} of {len(each)}, with {lengths[number]} tokens: mask_batch returned another {field.name} than the "
                f"call for this sample; {_REMEDY}",
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def check_corruptor(
    corruptor: Corruptor, specs: Mapping[str, TokenSpec], samples: Sequence[Sample], maskings: Sequence[Mapping[str, Masking]]
) -> None:
    """Check a corruptor's capability ``WholeBatchCorruptor`` on one micro-batch, if it has it: the packed batches are equal."""
    whole_path: Any = corruptor
    if not has_whole_batch(whole_path, WholeBatchCorruptor):
        return
    columns = columns_of(samples, specs)
    joined = {
        name: concatenated([own[name] for own in maskings if name in own], tokens.lengths)
        for name, tokens in columns.tokens.items()
    }
    inputs = {name: masking for name, masking in joined.items() if masking is not None}
    if len(inputs) < len(joined):
        return
    view = whole_path.corrupt_batch(columns, inputs)
    if view is None:
        return
    each = collate(samples, [{"view": corruptor(s, own)} for s, own in zip(samples, maskings, strict=True)], specs)
    whole = collate_columns(columns, {"view": check_whole_view(view, columns, specs)}, specs)
    left, right = (dataclasses.replace(batch.views["view"], hidden={}) for batch in (whole, each))
    for name, one, other in (("context", left.context, right.context), ("query", left.query, right.query)):
        require(
            (one is None) == (other is None), f"corrupt_batch and the calls for single samples differ in having a {name}; {_REMEDY}"
        )
        for field in dataclasses.fields(one) if one is not None else ():
            require(
                same(getattr(one, field.name), getattr(other, field.name)),
                f"{len(samples)} samples: another {name}.{field.name} from corrupt_batch than one by one; {_REMEDY}",
            )
    require(same(left.fields, right.fields), f"corrupt_batch returned other fields than the calls for single samples; {_REMEDY}")
