"""Sets of words with different likelihoods under a document. n words of a document, V words of a vocabulary."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.cache import cache_folder, keep
from omnimask.interfaces import Context, Corpus, Draw
from omnimask_text.groups.transforms import check_label, text_of, the_modality
from omnimask_text.tokenize.raw import read
from omnimask_text.tokenize.scheme import Ints

logger = logging.getLogger(__name__)

_WORD = re.compile(r"[^\W\d_]+")
_FORMAT = 1
_MOST = 16
"""Minimum number of document words per word of a set, which limits the length of rows."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WordCounts:
    """Word counts of a corpus: ``counts`` (V,) of ``words`` in ``num_texts`` texts."""

    words: tuple[str, ...]
    counts: Ints
    num_texts: int

    @cached_property
    def number(self) -> Mapping[str, int]:
        """Index of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def ends(self) -> Floats:
        """Cumulative shares, (V,)."""
        return np.cumsum(self.share)

    @cached_property
    def share(self) -> Floats:
        """Share of each word, (V,), which is P(w | corpus)."""
        return self.counts / self.counts.sum()


class WordSets:
    """Two rows for each document: a set of words and the document, another set and the document (PROP [0]).

    Both sets have one length from a Poisson distribution. They are drawn from the document's language model, the multinomial
    unigram with Dirichlet smoothing: P(w | document) = (count in it + smoothing P(w | corpus)) / (its length + smoothing). The
    label of a row is the logarithm of its set's probability: of two sets of a group, the likelier one represents the document
    better. Use groups of one document each (``data.group.size: 1``, the default), which compare only sets of one document.

    A row is the pair of a set and its document; the document is truncated if it is too long for a sequence. Words are runs of
    letters in lower case. Words of the training samples are counted once and cached (``$OMNIMASK_CACHE``).

    Args:
        sets: name of the label it sets, a number.
        mean_words: of the Poisson distribution, without 0. A set has at most a sixteenth of its document's words.
        smoothing: in words; None: the mean length of a document, as in the reference's code.
        subsample: words more frequent than this share are drawn less often, as in word2vec; None to disable.
        min_count: words that occur less often in the corpus are excluded from sets.
        min_words: documents with fewer words are omitted.
        stop_words: a file with words, one per line, to exclude from sets.
        max_words: counting stops after the document that reaches this number.
        modality: the one with the texts, if the recipe has several.

    [0] Ma et al.: PROP: Pre-training with Representative Words Prediction for Ad-hoc Retrieval, 2021.
    """

    growth = 2.5
    smoke: ClassVar[Mapping[str, Any]] = {"min_count": 2, "min_words": 8, "stop_words": None, "max_words": 50_000}

    def __init__(
        self,
        context: Context,
        *,
        sets: Annotated[str, Field(description="name of the label")],
        mean_words: Annotated[float, Field(gt=0, description="in a set")] = 3.0,
        smoothing: Annotated[float | None, Field(gt=0, description="in words; none: the mean length")] = None,
        subsample: Annotated[
            float | None, Field(gt=0, lt=1, description="frequency above which words are sampled less often")
        ] = 1e-4,
        min_count: Annotated[int, Field(gt=0, description="minimum count of a word")] = 10,
        min_words: Annotated[int, Field(gt=0, description="minimum words of a document")] = 64,
        stop_words: Annotated[Path | None, Field(description="file of excluded words")] = None,
        max_words: Annotated[int, Field(gt=0, description="maximum number of words to count")] = 100_000_000,
        modality: Annotated[str | None, Field(description="modality with the texts, if there are several")] = None,
    ) -> None:
        check_label(context, sets, classes=None)
        self.label, self.modality = sets, the_modality(context, modality)
        self.mean_words, self.min_words = mean_words, min_words
        if self.modality not in context.corpora:
            raise ValueError("transform text.word_sets needs the training samples of a recipe to count their words")
        stops = frozenset() if stop_words is None else frozenset(words_of(_text(stop_words)))
        self.words = _cached(context.corpora[self.modality], min_count, max_words, stops)
        if not self.words.words:
            raise ValueError(f"no word occurs {min_count} times in the training samples; lower min_count")
        self.smoothing = smoothing or float(self.words.counts.sum()) / self.words.num_texts
        rate = (subsample or 1.0) / self.words.share
        self.kept: Floats = np.ones_like(rate) if subsample is None else np.minimum(1.0, np.sqrt(rate) + rate)

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        """Return two rows for each document that is long enough.

        Raises:
            ValueError: a value is not a single text.
        """
        found: list[Mapping[str, Any]] = []
        for row, draw in zip(rows, draws, strict=True):
            text = text_of(row, self.modality)
            number = self.words.number
            ids = np.array([number[word] for word in words_of(text) if word in number], np.int64)
            if len(ids) >= self.min_words:
                rng = draw.rng("sets")
                size = self._size(len(ids), rng)
                for _ in range(2):
                    chosen = self._draw(ids, size, rng)
                    words = " ".join(self.words.words[one] for one in chosen.tolist())
                    found.append({**row, self.modality: [words, text], self.label: self._likelihood(ids, chosen)})
        return found

    def _size(self, length: int, rng: np.random.Generator) -> int:
        while not (size := int(rng.poisson(self.mean_words))):
            pass
        return max(1, min(size, length // _MOST))

    def _draw(self, ids: Ints, size: int, rng: np.random.Generator) -> Ints:
        """Draw (size,) words from the smoothed model, a mixture of the document (n,) and the corpus."""
        found: list[int] = []
        while len(found) < size:
            is_own = rng.random(4 * size) < len(ids) / (len(ids) + self.smoothing)
            own = ids[rng.integers(len(ids), size=4 * size)]
            foreign = np.minimum(np.searchsorted(self.words.ends, rng.random(4 * size), side="right"), len(self.words.words) - 1)
            words = np.where(is_own, own, foreign)
            found += words[rng.random(4 * size) < self.kept[words]].tolist()
        return np.array(found[:size], np.int64)

    def _likelihood(self, ids: Ints, chosen: Ints) -> float:
        """Return the logarithm of the probability of the chosen words in a document (n,)."""
        count = (ids == chosen[:, None]).sum(1)
        return float(np.log((count + self.smoothing * self.words.share[chosen]) / (len(ids) + self.smoothing)).sum())


def words_of(text: str) -> list[str]:
    """Return runs of letters, in lower case."""
    return _WORD.findall(text.lower())


def count_words(corpus: Corpus, *, min_count: int, max_words: int, stops: frozenset[str] = frozenset()) -> WordCounts:
    """Count the words of a corpus, in sorted order."""
    counts: Counter[str] = Counter()
    total = num_texts = 0
    for raw in corpus.raw():
        words = [word for text in read(raw).texts for word in words_of(text)]
        counts.update(words)
        total, num_texts = total + len(words), num_texts + 1
        if total >= max_words:
            break
    kept = {word: count for word, count in sorted(counts.items()) if count >= min_count and word not in stops}
    return WordCounts(tuple(kept), np.array(list(kept.values()), np.int64), max(1, num_texts))


def _cached(corpus: Corpus, min_count: int, max_words: int, stops: frozenset[str]) -> WordCounts:
    key = repr((_FORMAT, corpus.fingerprint(), min_count, max_words, sorted(stops)))
    file = cache_folder() / "words" / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.json"
    try:
        record = json.loads(file.read_bytes())
        return WordCounts(tuple(record["words"]), np.array(record["counts"], np.int64), int(record["texts"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("cached words %s cannot be read (%s) and are recounted", file, error)
    logger.info("counting the words of the training samples; later runs reuse the counts")
    words = count_words(corpus, min_count=min_count, max_words=max_words, stops=stops)
    record = json.dumps({"words": words.words, "counts": words.counts.tolist(), "texts": words.num_texts}, ensure_ascii=False)
    keep(file, lambda stream: stream.write(record.encode()), "counts of words")
    return words


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"stop_words {path} cannot be read: {error}") from error
