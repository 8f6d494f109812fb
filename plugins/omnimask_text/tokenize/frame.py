"""Detection of the special tokens with which a tokenizer of the library ``tokenizers`` frames texts, by encoded probes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from tokenizers import Encoding, Tokenizer

from omnimask_text.tokenize.scheme import Frame, Ints


def read_frame(backend: Tokenizer) -> Frame:
    """Return the frame around one text, and around several.

    Tokens of the tokenizer's own vocabulary pass through its post-processor, alone and as a pair, which supports any kind of
    post-processor.

    Raises:
        ValueError: the post-processor divides, repeats or drops a text, or no token of the vocabulary can be encoded.
    """
    probes = list(islice(_probes(backend), 2))
    if not probes:
        raise ValueError(
            "no token of the tokenizer's vocabulary can be encoded: the vocabulary is empty, its files do not belong together, or "
            "its post_processor drops the text"
        )
    first, second = probes[0], probes[-1]
    alone = _around(backend.post_process(first), first.ids)
    if alone is None:
        raise ValueError("the tokenizer's post_processor splits or repeats a text; this is not supported")
    pair = backend.post_process(first, second)
    found = _around(pair, [*first.ids, *second.ids], len(first))
    if found is None:
        return Frame(alone[0], alone[1], alone[2], no_several=_NO_PAIRS)
    is_same = np.array_equal(alone[0], found[0]) and np.array_equal(alone[2], found[2])
    return Frame(*found, alone=None if is_same else (alone[0], alone[2]))


_NO_PAIRS = (
    "the tokenizer's post_processor has a pair template that reorders or repeats texts; use single texts, or a "
    "tokenizer with another template"
)


def _around(encoding: Encoding, expected: list[int], divided_at: int = 0) -> tuple[Ints, Ints, Ints] | None:
    """Return ids before, between and after the texts, or None if the other tokens differ from ``expected``.

    The library's sequence numbers are not used: some post-processors omit them.
    """
    ids = np.array(encoding.ids, np.int64)
    places = np.flatnonzero(np.array(encoding.special_tokens_mask, np.int64) == 0)
    if ids[places].tolist() != expected:
        return None
    gaps = np.flatnonzero(np.diff(places) != 1)
    if not set(gaps.tolist()) <= {divided_at - 1}:
        return None
    between = ids[places[divided_at - 1] + 1 : places[divided_at]] if divided_at else ids[:0]
    return ids[: places[0]], between, ids[places[-1] + 1 :]


def _probes(backend: Tokenizer) -> Iterator[Encoding]:
    """Yield encodings of vocabulary tokens whose text can be re-encoded, ordinary ones first."""
    added = backend.get_added_tokens_decoder()
    numbers = sorted(backend.get_vocab(with_added_tokens=True).values(), key=lambda number: (number in added, number))
    for number in numbers:
        for text in (backend.decode([number], skip_special_tokens=False), backend.id_to_token(number) or ""):
            try:
                encoding = backend.encode(text, add_special_tokens=False)
            except Exception:
                continue
            if len(encoding):
                yield encoding
                break
