"""What tests of corruptors share: samples of ids, maskings, and what a network reads of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, Context, Corruptor, Draw, Masking, Sample, Stream, Tokens, TokenSpec
from omnimask.testing.corruptor import reserve


def built(cls: type, spec: TokenSpec, **options) -> tuple[Corruptor, TokenSpec]:
    """A corruptor of one modality ``m``, and the spec with its special tokens."""
    plain = Context(specs={"m": spec}, modalities=("m",))
    spec = reserve(spec, cls(plain, **options))
    return cls(Context(specs={"m": spec}, modalities=("m",)), **options), spec


def sample_of(ids: Sequence[int], key: str = "s", special: Sequence[int] | None = None, progress: float = 0.0) -> Sample:
    """Tokens of one modality ``m``; ``special`` are the places of those that only frame it."""
    is_special = np.isin(np.arange(len(ids)), special or [])
    fields = {} if special is None else {"special": is_special}
    positions = np.arange(len(ids), dtype=np.float32)[:, None]
    return Sample({"m": Tokens(np.array(ids, np.int64), positions, fields)}, Draw(0, 0, key, progress=progress), ("m",))


def masking_of(length: int, hidden: Sequence[int], **options) -> dict[str, Masking]:
    is_target = np.isin(np.arange(length), hidden)
    return {"m": Masking(~is_target, is_target, **options)}


def read(stream: Stream, sample: Sample) -> NDArray[np.int64]:
    """(T,) the ids that a network reads."""
    content = np.asarray(sample.tokens["m"].content)
    return np.where(stream.literal == CONTENT, content[np.maximum(stream.source, 0)] if len(content) else 0, stream.literal)
