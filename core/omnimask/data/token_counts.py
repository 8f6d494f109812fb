"""Tokens per sample, known before training: a constant, or a cached scan of the data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from omnimask.cache import cache_folder, data_key, keep_array, kept_array
from omnimask.data.fields import FieldNames, decoded, raw_value
from omnimask.data.progress_lines import watched
from omnimask.data.sample_errors import of_one_sample, reason_of
from omnimask.interfaces import CountsShape, Dataset, Decoder, Draw, ReadsShape, Tokenizer

logger = logging.getLogger(__name__)

_FORMAT = 2


class ModalityReader(Protocol):
    """Reading of one modality: the data set's field or fields, its decoder (for ``bytes``) and its tokenizer."""

    @property
    def field(self) -> FieldNames: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def decoder(self) -> Decoder | None: ...


@runtime_checkable
class KnowsCounts(Protocol):
    """Optional interface of data sets whose samples were counted when they were written."""

    def known_counts(self, reading: str) -> NDArray[np.int64] | None:
        """Return (data set length,) tokens by index, or None if not counted under ``reading`` (:func:`reading_digest`)."""
        ...


def reading_digest(options: str) -> str:
    """Return a digest of the tokenizers' and decoders' names and options, given as text."""
    return blake2b(repr((_FORMAT, options)).encode(), digest_size=16).hexdigest()


def token_counts(
    dataset: Dataset, indices: ArrayLike | None, readers: Sequence[ModalityReader], *, options: str = "", cache: Path | None = None
) -> int | NDArray[np.int64]:
    """Return the tokens of each sample before masking, over all modalities and before augmentation.

    Args:
        dataset: to count.
        indices: of the samples to read; None means all.
        readers: one per modality.
        options: other options affecting the counts, as text for the cache's key: the tokenizers' and decoders' names and options.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Returns:
        One number if every tokenizer knows it before reading, else (len(dataset),) int64 by data set index: 1 for a sample that
            cannot be read or is not among ``indices``.
    """
    constants = [reader.tokenizer.count(None) for reader in readers]
    known = [count for count in constants if count is not None]
    if len(known) == len(readers):
        return sum(known)
    known_before = dataset.known_counts(reading_digest(options)) if isinstance(dataset, KnowsCounts) else None
    if known_before is not None:
        return known_before
    chosen = np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)
    file = (cache or cache_folder()) / "counts" / f"{_cache_key(dataset, chosen, options)}.npy"
    counts = kept_array(file, lambda array: array.shape == (len(dataset),), "token counts")
    if counts is None:
        counts = _scan(dataset, chosen, readers, constants)
        keep_array(file, counts, "token counts")
    return counts


def _scan(
    dataset: Dataset, indices: NDArray[np.int64], readers: Sequence[ModalityReader], constants: Sequence[int | None]
) -> NDArray[np.int64]:
    logger.info("counting the tokens of %d samples; later runs reuse the counts", len(indices))
    counts = np.ones(len(dataset), np.int64)
    num_bad = 0
    for index in watched(indices.tolist(), "counting tokens"):
        try:
            with of_one_sample:
                counts[index] = _tokens_of(dataset, index, readers, constants)
        except (OSError, ValueError) as error:
            num_bad += 1
            logger.debug("sample %s cannot be read: %s", dataset.key(index), reason_of(error))
    if num_bad:
        logger.warning("%d of %d samples could not be read while tokens were counted", num_bad, len(indices))
    return counts


def _tokens_of(dataset: Dataset, index: int, readers: Sequence[ModalityReader], constants: Sequence[int | None]) -> int:
    sample = dataset[index]
    values = [(reader, known, raw_value(sample, reader.field)) for reader, known in zip(readers, constants, strict=True)]
    return sum(_known_or_counted(values, dataset.key(index)))


def _known_or_counted(values: Iterable[tuple[ModalityReader, int | None, Any]], key: str) -> Iterator[int]:
    for reader, known, raw in values:
        if raw is not None:
            yield _count(reader, raw, key) if known is None else known


def _count(reader: ModalityReader, raw: Any, key: str) -> int:
    """Count the tokens of one raw value of the sample ``key``, without decoding if its shape suffices."""
    tokenizer, decoder = reader.tokenizer, reader.decoder
    if isinstance(raw, bytes) and isinstance(decoder, ReadsShape) and isinstance(tokenizer, CountsShape):
        return tokenizer.count_of_shape(decoder.shape(raw))
    raw = decoded(raw, decoder)
    count = tokenizer.count(raw)
    return len(tokenizer(raw, Draw(0, 0, key))) if count is None else count


def _cache_key(dataset: Dataset, indices: NDArray[np.int64], options: str) -> str:
    digest = blake2b(repr((_FORMAT, data_key(dataset), len(dataset), options)).encode(), digest_size=16)
    digest.update(indices.tobytes())
    return digest.hexdigest()
