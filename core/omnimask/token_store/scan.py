"""Tokenization of a whole data set into a folder, in ranges, and its completion by an index."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from omnimask.data.column_files import join_columns, read_columns
from omnimask.data.order import reading_processes
from omnimask.data.part_index import PartIndex, numbered, samples_per_range, warn_of_unreadable
from omnimask.data.scans import Columns, RangeScan
from omnimask.interfaces import TokenSpec
from omnimask.token_store.range_folder import RangeFolder
from omnimask.token_store.remote import INDEX, RemoteStore
from omnimask.token_store.stored import StoredTokens, StoreFiles
from omnimask.token_store.tokenize import TokenSource, tokenize_range

logger = logging.getLogger(__name__)

_RANGES = "ranges"
_MOST_FILES = 16_384
_FILES = ("bytes", "crc32", "per_file")


def range_size(num_samples: int, tokens: float) -> int:
    """Return the number of samples in a file: about a million tokens, doubled until there are at most 16,384 files.

    Args:
        num_samples: of the data set.
        tokens: of a sample on average.
    """
    size = samples_per_range(tokens)
    while num_samples > size * _MOST_FILES:
        size *= 2
    return size


def token_scan(source: TokenSource, folder: Path, tokens: float, share: tuple[int, int] = (0, 1)) -> RangeScan:
    """Return the scan that writes the files of a store.

    Args:
        source: of the samples.
        folder: of the store.
        tokens: of a sample on average (:func:`~omnimask.token_store.tokenize.tokens_per_sample`).
        share: (I, N) for every N-th range only, beginning with the I-th, counted from 0.
    """
    total = len(source.dataset)
    size = range_size(total, tokens)
    work = partial(tokenize_range, source, folder, size=size)
    ranges = folder / f"{_RANGES}-{size}"  # ranges of another size, from another estimate, are not continued
    return RangeScan(work, total, ranges, "tokenizing", size, share, keeps=True, processes=reading_processes(source.dataset))


def complete(source: TokenSource, folder: Path, scan: RangeScan) -> StoredTokens:
    """Write the index of a store whose ranges are all complete, and return its tokens."""
    warn_of_unreadable(source.dataset, scan)
    columns = join_columns(lambda: numbered(scan, _FILES), folder / INDEX, "tokens")
    scan.remove()
    found = _stored(RangeFolder(folder), source.specs, columns)
    index = found.index
    if num_empty := int(np.count_nonzero(np.diff(index.first.astype(np.int64)) == 0)):
        logger.info("skipping %d of %d samples, which are empty", num_empty, index.num_samples)
    logger.info("%d samples have %d parts with %d tokens", index.num_samples, len(index), int(index.tokens.sum(dtype=np.int64)))
    return found


def open_tokens(folder: Path, specs: Mapping[str, TokenSpec]) -> StoredTokens | None:
    """Return the tokens of a complete store; None if it has no index, or a damaged one."""
    columns = read_columns(folder / INDEX, "tokens")
    return None if columns is None else _stored(RangeFolder(folder), specs, columns)


def open_remote_tokens(store: RemoteStore, specs: Mapping[str, TokenSpec]) -> StoredTokens:
    """Return the tokens of a store on a server.

    Raises:
        ValueError: the store is not complete, its index is damaged, or the server does not respond.
    """
    try:
        return _stored(store, specs, store.index())
    except KeyError as error:
        raise ValueError(f"data.url: the index of {store.url} has no column {error}; copy the store to the server again") from error


def _stored(files: StoreFiles, specs: Mapping[str, TokenSpec], columns: Columns) -> StoredTokens:
    index = PartIndex.of(columns)
    return StoredTokens(files, specs, index, int(columns["per_file"].max(initial=1)), columns["bytes"], columns["crc32"])
