"""Tokens of a run's data set in the cache, made once instead of in every epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, data_key
from omnimask.data.part_index import PartIndex, list_parts, part_columns, split_samples, warn_of_unreadable
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.sample_parts import SampleParts
from omnimask.interfaces import Dataset, Draw, Draws, TokenColumns, Tokens
from omnimask.token_store.range_folder import DamagedStore
from omnimask.token_store.remote import INDEX
from omnimask.token_store.scan import complete, open_tokens, token_scan
from omnimask.token_store.stored import StoredTokens
from omnimask.token_store.tokenize import TokenSource, tokens_per_sample

logger = logging.getLogger(__name__)

_FORMAT = 1


class StoredParts(SampleParts):
    """Parts of samples with their tokens in the cache. Raw values are read from the data set as before.

    Args:
        dataset, reader, index: see :class:`~omnimask.data.sample_parts.SampleParts`.
        modality: name of the only modality.
        stored: tokens of the parts.
        folder: of the store.
    """

    def __init__(
        self, dataset: Dataset, reader: ModalityPipeline, index: PartIndex, modality: str, stored: StoredTokens, folder: Path
    ) -> None:
        super().__init__(dataset, reader, index)
        self.folder = folder
        self.modality, self.pipeline = modality, reader
        self.stored: StoredTokens | None = stored

    def held(self, index: int) -> tuple[Mapping[str, Tokens], Mapping[str, Any]]:
        """Return the tokens of a part, and its sample's labels. They are made anew if the cache is damaged.

        Raises:
            OSError, ValueError: the sample is unreadable.
        """
        with self._leaving_damage():
            if self.stored is not None and self.stored.error(index) is None:
                return self.stored.held(index)
        sample = self[index]
        value = self.pipeline.decoded(sample[self.pipeline.field] if isinstance(self.pipeline.field, str) else sample)
        tokens = self.pipeline.tokenized(value, Draw(0, 0, self.key(index)))
        self.check_count(index, len(tokens))
        return {self.modality: tokens}, sample

    def held_columns(
        self, indices: Sequence[int], draws: Draws
    ) -> tuple[Mapping[str, TokenColumns], Mapping[str, NDArray[np.int64]]] | None:
        """Return the tokens of many parts; None if one is unreadable or the cache is damaged."""
        with self._leaving_damage():
            return None if self.stored is None else self.stored.columns(indices, draws)
        return None

    @contextmanager
    def _leaving_damage(self) -> Iterator[None]:
        """Warn of a damaged cache, remove its index, and use it no more."""
        try:
            yield
        except DamagedStore as damage:
            logger.warning("cached tokens are not used: %s; the next run makes them anew", damage)
            shutil.rmtree(self.folder / INDEX, ignore_errors=True)
            self.stored = None


def cached_parts(source: TokenSource, *, options: str, most: int, cache: Path | None = None) -> SampleParts:
    """Return the parts of a data set of one modality, with their tokens in the cache if they are few enough.

    Args:
        source: one modality, whose tokenizer is a :class:`~omnimask.interfaces.TokenizesMany` that splits.
        options: other options affecting the tokens, as text for the cache's key.
        most: number of tokens from which on only the parts are listed.
        cache: folder of earlier scans; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Raises:
        RunStopped: a worker process died.
    """
    dataset, (modality, reader) = source.dataset, next(iter(source.readers.items()))
    key = repr((_FORMAT, data_key(dataset), len(dataset), options, source.fields, list(source.specs[modality].fields)))
    folder = (cache or cache_folder()) / "tokens" / blake2b(key.encode(), digest_size=16).hexdigest()
    stored = open_tokens(folder, source.specs)
    if stored is not None and _is_repaired(dataset, reader, stored.index):
        shutil.rmtree(folder, ignore_errors=True)
        stored = None
    if stored is None and (tokens := tokens_per_sample(source)) * len(dataset) <= most:
        stored = _made(source, folder, tokens)
    if stored is None:
        return SampleParts(dataset, reader, list_parts(dataset, reader, options=options, cache=cache))
    return StoredParts(dataset, reader, stored.index, modality, stored, folder)


def _made(source: TokenSource, folder: Path, tokens: float) -> StoredTokens | None:
    """Make the store; None if it cannot be written."""
    logger.info("tokenizing %d samples; later runs and epochs reuse the tokens", len(source.dataset))
    scan = token_scan(source, folder, tokens)
    try:
        scan.run()
        return complete(source, folder, scan)
    except OSError as error:
        logger.warning("tokens are not cached: %s", error)
        return None


def _is_repaired(dataset: Dataset, reader: ModalityPipeline, index: PartIndex) -> bool:
    """Try the unreadable samples of a store again. Return whether some are readable by now."""
    again: list[int] = index.unreadable.astype(np.int64).tolist()
    found = part_columns(dataset, split_samples(dataset, reader, again))
    warn_of_unreadable(dataset, [found])
    return len(found["unreadable"]) < len(again)
