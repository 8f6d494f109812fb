"""Tokens of the samples of shards, counted once as a recipe counts them and kept in the indexes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omnimask.builder import read_part, reading_options
from omnimask.data.counts import reading_digest, token_counts
from omnimask.errors import UserError
from omnimask.interfaces import Context, Splits
from omnimask.recipe import Recipe
from omnimask_datasets.shards.dataset import Shards
from omnimask_datasets.shards.index import ShardIndex
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.write import Counter


def counter(recipe: Recipe) -> Counter:
    """Counts tokens with the tokenizers of a recipe.

    Raises:
        UserError: the recipe cuts long samples into parts, which are listed when a run begins.
    """
    readers = {name: read_part(recipe, name) for name in recipe.modalities}
    if len(readers) == 1 and isinstance(next(iter(readers.values())).tokenizer, Splits):
        raise UserError(f"--count: the tokenizer of {recipe.name} cuts long samples into parts, which a run lists when it begins")
    options = reading_options(recipe, readers)

    def count(folder: Path, indexes: Sequence[ShardIndex]) -> list[ShardIndex]:
        dataset = Shards(Context(), path=folder)
        counts = token_counts(dataset, None, tuple(readers.values()), options=options)
        if isinstance(counts, int):
            return list(indexes)
        counted: list[ShardIndex] = []
        for path, index, start in zip(sorted(folder.glob("*.tar")), indexes, dataset.starts, strict=False):
            tokens = np.array(counts[start : start + len(index)], np.int64)
            counted.append(dataclasses.replace(index, reading=reading_digest(options), tokens=tokens))
            write_index(beside(path), counted[-1])
        return counted

    return count
