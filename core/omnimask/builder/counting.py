"""Token counts of a data set, as a recipe reads it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from omnimask.builder.build import read_part
from omnimask.builder.reading import reading_options
from omnimask.data.token_counts import reading_digest, token_counts
from omnimask.errors import UserError
from omnimask.interfaces import Dataset, Splits
from omnimask.recipe import Recipe


def token_counter(recipe: Recipe) -> tuple[str, Callable[[Dataset], NDArray[np.int64] | int]]:
    """Return a digest of how a recipe reads samples, and a function that counts the tokens of a data set's samples.

    Raises:
        UserError: the recipe splits long samples into parts, which are listed at the start of a run.
    """
    readers = {name: read_part(recipe, name) for name in recipe.modalities}
    if len(readers) == 1 and isinstance(next(iter(readers.values())).tokenizer, Splits):
        raise UserError(f"the tokenizer of {recipe.name} splits long samples into parts, which are listed at the start of a run")
    options = reading_options(recipe, readers)

    def count(dataset: Dataset) -> NDArray[np.int64] | int:
        counts = token_counts(dataset, tuple(readers.values()), options=options)
        return counts if isinstance(counts, int) else counts.astype(np.int64)

    return reading_digest(options), count
