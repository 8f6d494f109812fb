"""Comparison of answers with the outputs of heads over ids. T slots, N targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from omnimask.interfaces import Stream, TokenSpec


def beyond_head(stream: Stream, specs: Mapping[str, TokenSpec]) -> str | None:
    """Return the violation of the first literal answer without an output of its modality's head over ids, or None.

    Answers for whole units have ids of their own, and their predictors compare them. Store tokens have ids of the vocabulary.
    """
    table = stream.targets
    # Modalities without ids have no such head.
    outputs = np.array([np.iinfo(np.int64).max if spec.vocabulary is None else spec.num_answers for spec in specs.values()])
    if not table.arity or int(np.asarray(table.literal).max(initial=-1)) < outputs.min():
        return None
    number = np.asarray(stream.modality)[np.asarray(table.at)[:, 0]]
    is_over = table.literal >= outputs[number]
    if table.index is not None:
        is_over = is_over & (table.index >= 0)
    if not is_over.any():
        return None
    row = int(np.flatnonzero(is_over)[0])
    spec, literal = list(specs.values())[number[row]], int(table.literal[row])
    named = [name for name in spec.specials if spec.id(name) == literal]
    found = f"{literal} ({named[0]!r})" if named else str(literal)
    return (
        f"targets.literal must be less than {spec.num_answers}, the outputs of a head over the vocabulary and the special tokens "
        f"that corruptors declare as answers, got {found}; put answers first in `specials` and count them in `num_answers`"
    )
