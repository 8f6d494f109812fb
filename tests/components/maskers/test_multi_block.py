"""Targets and context as blocks, flat along every axis, whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.corruptors.drop import Drop
from omnimask.components.maskers.multi_block import MultiBlockMasker
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, MaskedBatch, Sample, Tokens, TokenSpec
from omnimask.testing import make_tokens

VIDEO = TokenSpec(width=(1,), axes=3, extent=(8, 14, 14))
IMAGE = TokenSpec(width=(1,), axes=2, extent=(14, 14))
SHORT_RANGE: dict[str, Any] = {
    "num_targets": 8,
    "scale": (0.15, 0.15),
    "aspect": (0.75, 1.5),
    "context_scale": (1.0, 1.0),
    "full_axes": (0,),
    "together": True,
}
BATCH = 24
DEVIATIONS = 5.0


def tokens_of(spec: TokenSpec) -> Tokens:
    return make_tokens(spec, int(np.prod([size or 1 for size in spec.extent])), Draw(0, 0, "grid"))


def multi_block(**options: Any) -> MultiBlockMasker:
    return MultiBlockMasker(Context(), **options)


def packed(masker: MultiBlockMasker, tokens: Tokens, spec: TokenSpec, keys: list[str]) -> MaskedBatch:
    samples = [Sample({"a": tokens}, Draw(0, 0, key), ("a",)) for key in keys]
    drop = Drop(Context())
    views = [{"main": drop(sample, {"a": masker(tokens, sample.draw)})} for sample in samples]
    return collate(samples, views, {"a": spec})


def test_targets_of_a_batch_are_flat_in_time() -> None:
    """V-JEPA's short-range masks, 24 at a time: every frame is asked for, and shown, equally often, and no token is lost."""
    tokens = tokens_of(VIDEO)
    batch = packed(multi_block(**SHORT_RANGE), tokens, VIDEO, [str(key) for key in range(BATCH)])
    query, context = batch.views["main"].query, batch.views["main"].context
    assert query is not None
    frames = np.tile(tokens.positions[:, 0], BATCH).astype(int)
    asked, shown = np.bincount(frames[np.asarray(query.targets.of)]), np.bincount(frames[np.asarray(context.source)])
    assert len(set(asked.tolist())) == len(set(shown.tolist())) == 1  # exactly: all blocks reach through time
    assert asked.sum() + shown.sum() == len(tokens) * BATCH
    assert len(set(query.layout.lengths.tolist())) > 1  # of ragged sets, none is cut to another's size


def test_a_sample_s_masks_do_not_depend_on_its_batch() -> None:
    tokens, masker = tokens_of(IMAGE), multi_block(aspect=(0.75, 1.5))
    keys = [str(key) for key in range(BATCH)]
    together = packed(masker, tokens, IMAGE, keys).views["main"]
    assert together.query is not None
    for number, key in enumerate(keys):
        alone = packed(masker, tokens, IMAGE, [key]).views["main"]
        assert alone.query is not None
        for one, many in ((alone.context, together.context), (alone.query, together.query)):
            mine = np.flatnonzero(many.layout.parent == number)
            slots = np.concatenate([np.arange(*many.layout.offsets[i : i + 2]) for i in mine])
            assert np.array_equal(many.layout.lengths[mine], one.layout.lengths)
            assert np.array_equal(np.asarray(many.source)[slots] - number * len(tokens), np.asarray(one.source))


def test_coverage_along_the_first_axis_is_the_documented_one() -> None:
    """Cubes of 4 x 4 x 4 in 8 x 10 x 10 places; P(target | place) = 1 - (1 - product of the axes' shares)^3."""
    spec = TokenSpec(width=(1,), axes=3, extent=(8, 10, 10))
    tokens, draws = tokens_of(spec), 3000
    masker = multi_block(num_targets=3, scale=(0.08, 0.08), context_scale=(1.0, 1.0))
    axes = [np.array([min(i + 1, n - i, 4, n - 3) for i in range(n)]) / (n - 3) for n in (8, 10, 10)]
    expected = (1 - (1 - np.einsum("i,j,k->ijk", *axes)) ** 3).mean(axis=(1, 2))
    by_frame = np.array([masker(tokens, Draw(0, 0, str(key))).is_target.reshape(8, -1).mean(axis=1) for key in range(draws)])
    error = by_frame.std(axis=0) / np.sqrt(draws)
    assert np.all(np.abs(by_frame.mean(axis=0) - expected) < DEVIATIONS * error)
    assert expected[3] == expected[4] == expected.max()
    assert np.allclose(expected, expected[::-1])  # the first and the last frame alike


@given(st.sampled_from([(14, 14), (3, 3), (1, 12), (64, 8)]), st.integers(1, 6), st.text(max_size=3))
def test_targets_are_sets_of_blocks_and_never_visible(sizes: tuple[int, int], num_targets: int, key: str) -> None:
    tokens = tokens_of(TokenSpec(width=(1,), axes=2, extent=sizes))
    masking = multi_block(num_targets=num_targets)(tokens, Draw(0, 0, key))
    assert masking.groups is not None
    assert 1 <= len(masking.groups) <= num_targets
    assert np.array_equal(masking.groups.any(axis=0), masking.is_target)
    assert not np.any(masking.is_visible & masking.is_target)
    assert masking.is_visible.any()
    for group in masking.groups:
        sides = np.ptp(tokens.positions[group], axis=0) + 1
        assert np.count_nonzero(group) == np.prod(sides)  # a block without holes


def test_sizes_are_the_scales() -> None:
    tokens = tokens_of(IMAGE)
    masker = multi_block(aspect=(0.75, 1.5))
    for key in range(100):
        masking = masker(tokens, Draw(0, 0, str(key)))
        assert masking.groups is not None
        assert len(masking.groups) == 4
        counts = np.asarray(masking.groups).sum(axis=1)
        assert counts.min() >= 0.15 * 196 - 4  # sides are rounded: half a place on each of about 6
        assert counts.max() <= 0.2 * 196 + 4
        assert np.count_nonzero(np.logical_or(masking.is_visible, masking.is_target)) >= 0.85 * 196 - 7


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_smallest_samples_keep_a_context(length: int) -> None:
    spec = TokenSpec(width=(1,))
    for key in range(50):
        masking = multi_block(num_targets=8)(make_tokens(spec, length, Draw(0, 0, "a")), Draw(0, 0, str(key)))
        assert masking.is_visible.any()
        assert masking.is_target.any() == (length > 1)


def test_impossible_options_are_refused_with_their_numbers() -> None:
    video = Context(specs={"a": VIDEO}, modalities=("a",))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"aspect": (0.75, 1.5)}, "blocks are drawn along 3; remove"),
        ({"full_axes": (3,)}, r"full_axes \[3\] must contain some of the tokens' 3 position axes"),
        ({"full_axes": (0, 1, 2)}, "but not all"),
        ({"scale": (0.2, 0.1)}, r"scale must be \(minimum, maximum\), got \(0\.2, 0\.1\)"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            MultiBlockMasker(video, **options)
