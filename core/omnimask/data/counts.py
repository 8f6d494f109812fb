"""Tokens per sample, known before training: a constant, or a scan of the data set that is kept in a cache."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from omnimask.interfaces import CountsShape, Dataset, Decoder, Draw, ReadsShape, Tokenizer

logger = logging.getLogger(__name__)

_FORMAT = 1


class Reader(Protocol):
    """How one modality is read: the data set's field, its decoder (for ``bytes``) and its tokenizer."""

    @property
    def field(self) -> str: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def decoder(self) -> Decoder | None: ...


def token_counts(
    dataset: Dataset, indices: ArrayLike | None, readers: Sequence[Reader], *, options: str = "", cache: Path | None = None
) -> int | NDArray[np.int64]:
    """Tokens of each sample before masking, over all modalities and before augmentation.

    Args:
        dataset: what is counted.
        indices: which samples are read; None means all.
        readers: one per modality.
        options: what else the counts depend on, as text for the cache's key: the tokenizers' and decoders' names and options.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Returns:
        One number when every tokenizer knows it before reading, else (len(dataset),) int64 by data set index: 1 for a sample
        that cannot be read or is not among ``indices``.
    """
    constants = [reader.tokenizer.count(None) for reader in readers]
    known = [count for count in constants if count is not None]
    if len(known) == len(readers):
        return sum(known)
    chosen = np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)
    file = (cache or cache_folder()) / "counts" / f"{_cache_key(dataset, chosen, options)}.npy"
    counts = _load(file, len(dataset))
    if counts is None:
        counts = _scan(dataset, chosen, readers, constants)
        _save(file, counts)
    return counts


def cache_folder() -> Path:
    """Where scans are kept: ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``."""
    folder = os.environ.get("OMNIMASK_CACHE")
    return Path(folder) if folder else Path.home() / ".cache" / "omnimask"


def _scan(
    dataset: Dataset, indices: NDArray[np.int64], readers: Sequence[Reader], constants: Sequence[int | None]
) -> NDArray[np.int64]:
    logger.info("counting the tokens of %d samples; later runs reuse the counts", len(indices))
    counts = np.ones(len(dataset), np.int64)
    num_bad = 0
    for index in indices.tolist():
        try:
            sample, key = dataset[index], dataset.key(index)
            counts[index] = sum(
                known if known is not None else _count(reader, sample[reader.field], key)
                for reader, known in zip(readers, constants, strict=True)
                if sample.get(reader.field) is not None
            )
        except (OSError, ValueError) as error:
            num_bad += 1
            logger.debug("sample %s cannot be read: %s", dataset.key(index), error)
    if num_bad:
        logger.warning("%d of %d samples could not be read while tokens were counted", num_bad, len(indices))
    return counts


def _count(reader: Reader, raw: Any, key: str) -> int:
    """Tokens of one raw value of the sample that ``key`` names; nothing is decoded where its shape is enough."""
    tokenizer, decoder = reader.tokenizer, reader.decoder
    if isinstance(raw, bytes) and decoder is not None:
        if isinstance(decoder, ReadsShape) and isinstance(tokenizer, CountsShape):
            return tokenizer.count_of_shape(decoder.shape(raw))
        raw = decoder(raw)
    count = tokenizer.count(raw)
    return len(tokenizer(raw, Draw(0, 0, key))) if count is None else count


def _cache_key(dataset: Dataset, indices: NDArray[np.int64], options: str) -> str:
    digest = blake2b(repr((_FORMAT, dataset.fingerprint(), len(dataset), options)).encode(), digest_size=16)
    digest.update(indices.tobytes())
    return digest.hexdigest()


def _load(file: Path, num_samples: int) -> NDArray[np.int64] | None:
    try:
        counts = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("cached token counts %s cannot be read (%s) and are counted anew", file, error)
        return None
    if counts.shape != (num_samples,) or counts.dtype != np.int64:
        logger.warning("cached token counts %s do not fit the data set and are counted anew", file)
        return None
    return counts


def _save(file: Path, counts: NDArray[np.int64]) -> None:
    """Complete or absent: written beside the file, then renamed."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.save(stream, counts, allow_pickle=False)
            Path(part).replace(file)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("token counts are not cached: %s", error)
