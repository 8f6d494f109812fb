"""Tokens per sample, known before training: a constant, or a cached scan of the data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, data_key
from omnimask.data.column_files import compact, join_columns, read_columns
from omnimask.data.fields import FieldNames, decoded, raw_value
from omnimask.data.order import reading_processes
from omnimask.data.sample_errors import of_one_sample, reason_of
from omnimask.data.scans import Columns, RangeScan
from omnimask.interfaces import CountsShape, Dataset, Decoder, Draw, ReadsShape, Tokenizer

logger = logging.getLogger(__name__)

_FORMAT = 3
_READING = 2
"""Version of :func:`reading_digest`, which shards record beside their counts."""


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
    return blake2b(repr((_READING, options)).encode(), digest_size=16).hexdigest()


def token_counts(
    dataset: Dataset, readers: Sequence[ModalityReader], *, options: str = "", cache: Path | None = None
) -> int | NDArray[np.integer]:
    """Return the tokens of each sample before masking, over all modalities and before augmentation.

    Args:
        dataset: to count.
        readers: one per modality.
        options: other options affecting the counts, as text for the cache's key: the tokenizers' and decoders' names and options.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Returns:
        One number if every tokenizer knows it before reading, else (len(dataset),) by data set index, in the smallest unsigned
            type: 1 for a sample that cannot be read.

    Raises:
        RunStopped: a worker process died.
    """
    constants = [reader.tokenizer.count(None) for reader in readers]
    known = [count for count in constants if count is not None]
    if len(known) == len(readers):
        return sum(known)
    known_before = dataset.known_counts(reading_digest(options)) if isinstance(dataset, KnowsCounts) else None
    if known_before is not None:
        return known_before
    key = blake2b(repr((_FORMAT, data_key(dataset), len(dataset), options)).encode(), digest_size=16).hexdigest()
    folder = (cache or cache_folder()) / "counts" / key
    columns = read_columns(folder, "token counts")
    if columns is None or len(columns["tokens"]) != len(dataset):
        logger.info("counting the tokens of %d samples; later runs reuse the counts", len(dataset))
        work = partial(_counts_of_range, dataset, readers, constants)
        scan = RangeScan(
            work, len(dataset), folder.with_name(f"{key}.ranges"), "counting tokens", processes=reading_processes(dataset)
        )
        scan.run()
        columns = join_columns(lambda: iter(scan), folder, "token counts")
        scan.remove()
        if num_bad := len(columns["unreadable"]):
            logger.warning("%d of %d samples could not be read while tokens were counted", num_bad, len(dataset))
    return columns["tokens"]


def _counts_of_range(
    dataset: Dataset, readers: Sequence[ModalityReader], constants: Sequence[int | None], numbers: range
) -> Columns:
    counts = np.ones(len(numbers), np.int64)
    unreadable: list[int] = []
    for place, number in enumerate(numbers):
        try:
            with of_one_sample:
                counts[place] = _tokens_of(dataset, number, readers, constants)
        except (OSError, ValueError) as error:
            unreadable.append(number)
            logger.debug("sample %s cannot be read: %s", dataset.key(number), reason_of(error))
    return {"tokens": compact(counts), "unreadable": np.array(unreadable, np.int64)}


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
