"""Lexicons of n-grams: extraction from a corpus, file format, and segmentation of samples.

T tokens of a corpus, L of a sample, E n-grams of a lexicon, U units of a sample.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from omnimask.components.units.unit_files import read_unit_file

logger = logging.getLogger(__name__)

_FIRST_LINE = "# omnimask lexicon 1"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """Segmentation of a sample: ``size`` (U,) of each unit in tokens; ``entry`` (U,) index of the n-gram, -1 for a single token."""

    size: Ints
    entry: Ints


@dataclass(frozen=True)
class Lexicon:
    """N-grams of two or more ids below ``vocabulary``, each with a score, numbered in order.

    Raises:
        ValueError: an n-gram is too short, is duplicated, or has an id outside of the vocabulary.
    """

    vocabulary: int
    ngrams: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ngrams) != len(self.scores):
            raise ValueError(f"{len(self.ngrams)} n-grams have {len(self.scores)} scores")
        seen: set[tuple[int, ...]] = set()
        for number, ngram in enumerate(self.ngrams):
            shown = f"n-gram {number} ({' '.join(map(str, ngram))})"
            if len(ngram) < 2:
                raise ValueError(f"{shown} has fewer than two ids")
            if min(ngram) < 0 or max(ngram) >= self.vocabulary:
                raise ValueError(f"{shown} contains an id outside the vocabulary of {self.vocabulary}")
            if ngram in seen:
                raise ValueError(f"duplicate {shown}")
            seen.add(ngram)

    def __len__(self) -> int:
        return len(self.ngrams)

    @cached_property
    def _levels(self) -> tuple[tuple[Ints, Ints], ...]:
        """Trie by length, from 2 on: ascending codes of n-grams and of prefixes of longer ones, and n-gram indices or -1.

        A code is the index of the prefix without its last id, among the codes of that length, times the vocabulary, plus the last
        id.
        """
        nodes: dict[tuple[int, ...], int] = {}
        levels: list[tuple[Ints, Ints]] = []
        number = {ngram: index for index, ngram in enumerate(self.ngrams)}
        for length in range(2, max(map(len, self.ngrams), default=1) + 1):
            heads = {ngram[:length] for ngram in self.ngrams if len(ngram) >= length}
            before = {head: nodes.get(head[:-1], head[0]) for head in heads}
            codes = {before[head] * self.vocabulary + head[-1]: head for head in heads}
            order = sorted(codes)
            nodes = {codes[code]: place for place, code in enumerate(order)}
            levels.append((np.array(order, np.int64), np.array([number.get(codes[code], -1) for code in order], np.int64)))
        return tuple(levels)

    def found(self, ids: Ints) -> list[Ints]:
        """Return, by length from 2 on, (L,) index of the n-gram that begins at each place, -1 for none."""
        node, out = ids, []
        for length, (codes, numbers) in enumerate(self._levels, start=2):
            code = node[: len(ids) - length + 1] * self.vocabulary + ids[length - 1 :] if len(ids) >= length else ids[:0]
            place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
            # The search returns a neighbor for missing codes; a lost prefix (-1) stays lost.
            is_there = (node[: len(code)] >= 0) & (codes[place] == code)
            node = np.where(is_there, place, -1)
            out.append(np.concatenate([np.where(is_there, numbers[place], -1), np.full(len(ids) - len(code), -1)]))
        return out

    def segment(self, ids: Ints) -> Units:
        """Segment a sample's ids (L,) into the fewest n-grams and single tokens. Ties prefer longer n-grams first."""
        count = len(ids)
        starting: dict[int, list[tuple[int, int]]] = {}
        for length, numbers in enumerate(self.found(ids), start=2):
            for place in np.flatnonzero(numbers >= 0).tolist():
                starting.setdefault(place, []).append((length, int(numbers[place])))
        # Dynamic program from the right: fewest[p] units cover ids[p:].
        fewest, taken = [0] * (count + 1), [(1, -1)] * count
        for place in range(count - 1, -1, -1):
            fewest[place] = fewest[place + 1] + 1
            for length, number in starting.get(place, ()):
                if fewest[place + length] + 1 <= fewest[place]:
                    fewest[place], taken[place] = fewest[place + length] + 1, (length, number)
        place, units = 0, []
        while place < count:
            units.append(taken[place])
            place += taken[place][0]
        size, entry = np.array(units, np.int64).reshape(-1, 2).T
        return Units(size, entry)

    def write(self, file: TextIO) -> None:
        """Write as text: three lines that begin with ``#``, then a line ``score TAB id id ...`` for every n-gram, in order."""
        file.write(f"{_FIRST_LINE}\n# vocabulary {self.vocabulary}\n# n-grams {len(self)}\n")
        for ngram, score in zip(self.ngrams, self.scores, strict=True):
            file.write(f"{score!r}\t{' '.join(map(str, ngram))}\n")

    def save(self, path: Path) -> None:
        """Write to a file. Raise ``OSError`` on failure."""
        with path.open("w", encoding="ascii", newline="\n") as file:
            self.write(file)


def read_lexicon(path: Path) -> Lexicon:
    """Read a lexicon from its file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or in another format; the message names the line.
    """
    vocabulary, rows = read_unit_file(path, _FIRST_LINE, "lexicon", "n-grams", "SCORE")
    try:
        return Lexicon(vocabulary, tuple(ngram for _, ngram in rows), tuple(float(score) for score, _ in rows))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def build_lexicon(stretches: Iterable[Ints], vocabulary: int, *, sizes: Sequence[int], min_count: int = 5) -> Lexicon:
    """Return the n-grams of a corpus least likely to occur by chance, by the t-statistic (ERNIE-Gram [0]).

    With p the share of an n-gram among all of its length, and p' the product of its tokens' shares, the statistic is (p - p') /
    sqrt(p (1 - p) / N) over the N n-grams of this length. The highest-scoring n-grams of each length are taken, bigrams first, in
    descending order. N-grams with a statistic at or below 0, no more frequent than by chance, are excluded.

    Args:
        stretches: (L,) ids each; n-grams never cross their boundaries.
        vocabulary: exclusive upper bound of ids.
        sizes: maximum number of bigrams, trigrams, and so on.
        min_count: minimum number of occurrences of an n-gram.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020, section 3.1 and appendix A.
    """
    ids = np.concatenate([np.zeros(0, np.int64), *(part for stretch in stretches for part in (stretch, [-1]))]).astype(np.int64)
    is_token = ids >= 0
    count = np.bincount(ids[is_token], minlength=vocabulary)
    with np.errstate(divide="ignore"):
        log_share = np.where(is_token, np.log(count / max(1, count.sum()))[ids], 0.0)
    ngrams: list[tuple[int, ...]] = []
    scores: list[float] = []
    node, by_chance = ids, log_share
    for length, size in enumerate(sizes, start=2):
        last = ids[length - 1 :]
        node, by_chance = node[: len(last)], by_chance[: len(last)] + log_share[length - 1 :]
        total = int(np.count_nonzero(_whole(is_token, length)))
        held = np.flatnonzero((node >= 0) & (last >= 0))
        _, first, inverse, count = np.unique(
            node[held] * vocabulary + last[held], return_index=True, return_inverse=True, return_counts=True
        )
        share = count / max(1, total)
        spread = np.sqrt(share * (1 - share) / max(1, total))
        score = np.where(spread > 0, (share - np.exp(by_chance[held[first]])) / np.where(spread > 0, spread, 1.0), 0.0)
        chosen = np.flatnonzero((count >= min_count) & (score > 0))
        chosen = chosen[np.argsort(-score[chosen], kind="stable")[:size]]
        ngrams += [tuple(ids[start : start + length].tolist()) for start in held[first[chosen]].tolist()]
        scores += score[chosen].tolist()
        node = np.full(len(last), -1)
        node[held] = np.where(count >= min_count, np.arange(len(count)), -1)[inverse]
    return Lexicon(vocabulary, tuple(ngrams), tuple(scores))


def _whole(is_token: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return for each place whether ``length`` consecutive tokens start there."""
    parts = [is_token[start : len(is_token) - length + 1 + start] for start in range(length)]
    return np.logical_and.reduce(parts) if len(is_token) >= length else np.zeros(0, bool)


def stretches_of(ids: Ints, is_special: NDArray[np.bool_] | None) -> Iterator[Ints]:
    """Yield the runs of a sample's ids (L,) between its special tokens."""
    if is_special is None:
        yield ids
        return
    cuts = [-1, *np.flatnonzero(is_special).tolist(), len(ids)]
    for before, after in pairwise(cuts):
        if after - before > 1:
            yield ids[before + 1 : after]


def to_bytes(lexicon: Lexicon) -> bytes:
    """Return the content of the lexicon's file."""
    text = io.StringIO()
    lexicon.write(text)
    return text.getvalue().encode("ascii")
