"""Token counts of samples in shards: counted once with a recipe's tokenizers, and stored in the indexes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omnimask.commands import token_counter
from omnimask.errors import UserError
from omnimask.interfaces import Context
from omnimask_datasets.shards.dataset import Shards
from omnimask_datasets.shards.index import ShardIndex
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.write import Counter


def counter(recipe: Any) -> Counter:
    """Return a function that counts tokens with the tokenizers of a recipe.

    Args:
        recipe: from ``omnimask.load_recipe``.

    Raises:
        UserError: the recipe cuts long samples into parts, which are listed when a run begins.
    """
    try:
        digest, token_counts = token_counter(recipe)
    except UserError as error:
        raise UserError(*(f"--count: {message}" for message in error.messages)) from error

    def count(folder: Path, indexes: Sequence[ShardIndex]) -> list[ShardIndex]:
        dataset = Shards(Context(), path=folder)
        counts = token_counts(dataset)
        if isinstance(counts, int):
            return list(indexes)
        counted: list[ShardIndex] = []
        for path, index, start in zip(sorted(folder.glob("*.tar")), indexes, dataset.starts, strict=False):
            tokens = np.array(counts[start : start + len(index)], np.int64)
            counted.append(dataclasses.replace(index, reading=digest, tokens=tokens))
            write_index(beside(path), counted[-1])
        return counted

    return count
