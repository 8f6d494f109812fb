"""Synthetic tokens and samples of any specification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Draw, FieldSpec, Masking, Sample, Tokens, TokenSpec

LENGTHS = (0, 1, 2, 3, 17, 64)


def make_tokens(spec: TokenSpec, length: int, draw: Draw) -> Tokens:
    """Return random tokens: content of the right dtype, positions along the grid (if any), and fields of noise.

    If the grid has fewer places than ``length``, there are only as many tokens as places.
    """
    sizes = [math.inf if size is None else size for size in spec.extent or (None,) * spec.axes]
    length = int(min(length, math.prod(sizes)))
    rng = draw.rng("made-up tokens")
    if spec.width is None:
        content = rng.integers(0, spec.vocabulary or 1, length)
    elif np.dtype(spec.dtype).kind in "iu":
        content = rng.integers(0, 128, (length, *spec.width)).astype(spec.dtype)
    else:
        content = rng.normal(size=(length, *spec.width)).astype(spec.dtype)
    return Tokens(
        content,
        _positions(spec, length),
        {name: make_field(field, length, rng) for name, field in spec.fields.items()},
    )


def _positions(spec: TokenSpec, length: int) -> NDArray[np.float32]:
    """Return positions (length, A). The last axis is fastest; the first axis takes the rest."""
    sizes = [size or max(1, round(length ** (1 / spec.axes))) for size in spec.extent or (None,) * spec.axes]
    place, columns = np.arange(length), []
    for size in reversed(sizes[1:]):
        columns.append(place % size)
        place = place // size
    return np.stack([place, *reversed(columns)], axis=1).astype(np.float32)


def make_field(field: FieldSpec, length: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return random values of a field for ``length`` tokens: () or (L,) or (L, L), times the field's own shape."""
    full = (length,) * field.arity + field.shape
    values = rng.normal(size=full) if np.dtype(field.dtype).kind == "f" else rng.integers(0, field.classes or 2, full)
    return np.asarray(values).astype(field.dtype)


def make_sample(specs: Mapping[str, TokenSpec], lengths: Mapping[str, int], draw: Draw) -> Sample:
    """Return a sample with synthetic tokens. Modalities missing in ``lengths`` are absent."""
    tokens = {name: make_tokens(spec, lengths[name], draw.at(name)) for name, spec in specs.items() if name in lengths}
    return Sample(tokens, draw, tuple(specs))


def make_masking(length: int, ratio: float, draw: Draw) -> Masking:
    """Return a masking: every token is hidden and a target with probability ``ratio``. 0 and 1 hide nothing and everything."""
    is_target = draw.uniform(length, "made-up masking") < ratio
    return Masking(~is_target, is_target, level=ratio)
