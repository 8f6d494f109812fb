"""Masking of n-grams from a lexicon."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from omnimask.components.maskers.budget import pick_units
from omnimask.components.units.lexicon import Ints, Lexicon, build_lexicon, read_lexicon, stretches_of, to_bytes
from omnimask.components.units.unit_files import cached_units, first_samples
from omnimask.interfaces import SPECIAL, Context, Corpus, Draw, Masking, Tokens
from omnimask.interfaces.schedules import Ratio, value_at

logger = logging.getLogger(__name__)

_FORMAT = 1
Size = Annotated[int, Field(ge=0)]


class LexiconMasker:
    """Masking of whole n-grams of ids, and of single tokens between them (the explicit n-gram masking of ERNIE-Gram [0]).

    A sample is segmented into the fewest units, n-grams of the lexicon and single tokens. Units are picked in random order until
    the ratio is reached. The one that would exceed it is picked with the probability that makes the expected number exact. ``unit``
    numbers the hidden units, and ``entry`` identifies them: the id of a single token, or the vocabulary plus the n-gram's index in
    the lexicon.

    The lexicon is a file, or is built from the recipe's training samples: the n-grams with the largest t-statistics. It is built
    once and cached (``$OMNIMASK_CACHE``) in the same format.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it.
        lexicon: a file; the options below then have no effect. None: it is built.
        sizes: maximum number of bigrams, trigrams, and so on.
        min_count: minimum number of occurrences of an n-gram.
        max_tokens: reading stops after the sample that reaches this number of tokens.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"lexicon": None, "sizes": [200, 100], "min_count": 2, "max_tokens": 20_000}

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")] = 0.15,
        lexicon: Annotated[Path | None, Field(description="file; default: built from the training samples")] = None,
        sizes: Annotated[tuple[Size, ...], Field(description="maximum number of bigrams, trigrams, ...")] = (20_000, 10_000),
        min_count: Annotated[int, Field(gt=0, description="minimum count of an n-gram")] = 5,
        max_tokens: Annotated[int, Field(gt=0, description="maximum number of tokens to read")] = 10_000_000,
    ) -> None:
        (name,) = context.modalities
        vocabulary = context.specs[name].vocabulary
        if vocabulary is None:
            raise ValueError(f"masker lexicon needs ids, but the tokens of {name!r} are continuous; use ngram")
        self.ratio, self.vocabulary = ratio, vocabulary
        if lexicon is not None:
            self.lexicon = _read(lexicon, vocabulary)
        elif name in context.corpora:
            self.lexicon = _cached(context.corpora[name], vocabulary, sizes, min_count, max_tokens)
        else:
            raise ValueError("masker lexicon needs a file, lexicon=..., outside of a recipe")

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        ids, ratio = np.asarray(tokens.content, np.int64), value_at(self.ratio, draw)
        units = self.lexicon.segment(ids)
        number = np.repeat(np.arange(len(units.size)), units.size)
        is_target = pick_units(units.size, ratio * len(ids), draw)[number]
        entry = np.where(units.entry[number] >= 0, self.vocabulary + units.entry[number], ids)
        return Masking(~is_target, is_target, np.where(is_target, number, -1), level=ratio, entry=np.where(is_target, entry, -1))


def _read(path: Path, vocabulary: int) -> Lexicon:
    try:
        lexicon = read_lexicon(path)
    except OSError as error:
        raise ValueError(f"lexicon {path} cannot be read: {error.strerror or error}") from error
    if lexicon.vocabulary != vocabulary:
        raise ValueError(f"lexicon {path} has a vocabulary of {lexicon.vocabulary}, but the tokenizer has {vocabulary} ids")
    return lexicon


def _cached(corpus: Corpus, vocabulary: int, sizes: tuple[int, ...], min_count: int, max_tokens: int) -> Lexicon:
    """Return the lexicon of the training samples from the cache, or build and cache it."""

    def built() -> Lexicon:
        logger.info("building a lexicon of n-grams from the training samples; later runs reuse it")
        lexicon = build_lexicon(_stretches(corpus, max_tokens), vocabulary, sizes=sizes, min_count=min_count)
        logger.info("the lexicon has %d n-grams", len(lexicon))
        return lexicon

    key = repr((_FORMAT, corpus.fingerprint(), vocabulary, sizes, min_count, max_tokens))
    read = partial(_read, vocabulary=vocabulary)
    return cached_units("lexicons", key, read, built, to_bytes)


def _stretches(corpus: Corpus, max_tokens: int) -> Iterator[Ints]:
    for tokens in first_samples(corpus, max_tokens):
        yield from stretches_of(np.asarray(tokens.content, np.int64), tokens.fields.get(SPECIAL))
