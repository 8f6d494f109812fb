"""Pieces of words, encoded once and looked up afterwards. W words of all texts, S texts, N pieces.

Texts repeat their words, and looking one up takes a fraction of the time of encoding it. A tokenizer permits it if its pieces of a
text are those of the text's words, one after another: it discards white space, and nothing that it does reaches across it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from omnimask.packed import ranges
from omnimask_text.tokenize.scheme import Ints, ManyPieces, Pieces

_LOCAL_NORMALIZERS = frozenset(("BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"))
"""They change characters by themselves, or with the combining marks behind them, which white space separates."""
_DIVIDE_AT_SPACE = frozenset(("BertPreTokenizer", "Whitespace", "WhitespaceSplit"))
_DIVIDE_FURTHER = frozenset(("Punctuation", "Digits"))
_MOST_WORDS, _MOST_PIECES = 1 << 18, 1 << 20
"""Words and pieces to keep, some tens of megabytes each; others are encoded again where they occur."""


def is_by_word(backend: Tokenizer) -> bool:
    """Return whether the pieces of any text are those of its parts between spaces and line ends, encoded by themselves."""
    settings = json.loads(backend.to_str())
    divide = _types(settings["pre_tokenizer"], "pretokenizers")
    added = backend.get_added_tokens_decoder().values()
    return (
        set(_types(settings["normalizer"], "normalizers")) <= _LOCAL_NORMALIZERS
        and bool(divide)
        and divide[0] in _DIVIDE_AT_SPACE
        and set(divide[1:]) <= _DIVIDE_AT_SPACE | _DIVIDE_FURTHER
        and not any(token.lstrip or token.rstrip or len(token.content.split()) != 1 for token in added)
        and all(token.content == token.content.strip() for token in added)
    )


def _types(setting: Any, members: str) -> list[str]:
    """Return the types of a tokenizer's step, and of the members of a sequence of steps in its place."""
    if setting is None:
        return []
    return [name for each in setting[members] for name in _types(each, members)] if members in setting else [setting["type"]]


class WordTable:
    """Pieces of the words seen so far.

    Args:
        encode_many: returns the pieces of each of several words.
        most_words, most_pieces: to keep.
    """

    def __init__(
        self,
        encode_many: Callable[[Sequence[str]], Sequence[Pieces]],
        most_words: int = _MOST_WORDS,
        most_pieces: int = _MOST_PIECES,
    ) -> None:
        self._encode_many, self._most = encode_many, (most_words, most_pieces)
        self._clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_encode_many": self._encode_many, "_most": self._most}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[str, int] = {}
        self._passing: list[str] = []
        self._ids, self._offsets, self._words = _Column(), _Column(2), _Column()  # of the pieces of all words
        self._begins, self._sizes, self._num_words = _Column(), _Column(), _Column()  # of each word

    def ids_many(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Return the ids of the pieces of all texts (N,), and the number of pieces of each (S,).

        Raises:
            ValueError: a word cannot be encoded.
        """
        words, counts = _divided(texts)
        rows = self._looked_up(words)
        sizes = self._sizes.values[rows]
        return self._ids.values[ranges(self._begins.values[rows], sizes)], _sums(sizes, counts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of pieces of each text. Raise ``ValueError`` as :meth:`ids_many` does."""
        words, counts = _divided(texts)
        rows = self._looked_up(words)
        return _sums(self._sizes.values[rows], counts).tolist()

    def encode_many(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of each text, as views of shared arrays. Raise ``ValueError`` as :meth:`ids_many` does."""
        words, counts = _divided(texts)
        rows = self._looked_up(words)
        sizes = self._sizes.values[rows]
        index = ranges(self._begins.values[rows], sizes)
        ends = np.cumsum(np.fromiter(map(len, words), np.int64, len(words)) + 1)
        # First character and first number of each word in its text.
        first = _since(np.concatenate([np.zeros(1, np.int64), ends])[:-1], counts)
        num_words = self._num_words.values[rows]
        number = _since(np.cumsum(num_words) - num_words, counts)
        offsets = self._offsets.values[index] + np.repeat(first, sizes)[:, None]
        own = self._words.values[index]
        numbers = np.where(own < 0, -1, own + np.repeat(number, sizes))
        of_texts = _sums(sizes, counts)
        stops = np.cumsum(of_texts)
        ids = self._ids.values[index]
        return [
            Pieces(ids[start:stop], offsets[start:stop], numbers[start:stop])
            for start, stop in zip((stops - of_texts).tolist(), stops.tolist(), strict=True)
        ]

    def _looked_up(self, words: Sequence[str]) -> Ints:
        """Return the (W,) rows of words, after adding those that are new."""
        self._forget()
        rows = np.fromiter(map(self._rows.get, words, repeat(-1)), np.int64, len(words))
        missing = np.flatnonzero(rows < 0).tolist()
        if missing:
            new = list(dict.fromkeys(words[place] for place in missing))
            self._add(new)
            rows[missing] = [self._rows[words[place]] for place in missing]
            if len(self._rows) > self._most[0] or len(self._ids) > self._most[1]:
                self._passing = new
        return rows

    def _forget(self) -> None:
        """Remove the words that were added last if the table was full: those seen first are the most frequent."""
        for word in self._passing:
            del self._rows[word]
        if self._passing:
            num_words = len(self._rows)
            num_pieces = int(self._sizes.values[:num_words].sum())
            for column in (self._ids, self._offsets, self._words):
                column.shrink(num_pieces)
            for column in (self._begins, self._sizes, self._num_words):
                column.shrink(num_words)
            self._passing = []

    def _add(self, words: Sequence[str]) -> None:
        each = self._encode_many(words)
        pieces = ManyPieces.of(each, has_places=True)
        self._begins.extend(len(self._ids) + np.cumsum(pieces.sizes) - pieces.sizes)
        self._sizes.extend(pieces.sizes)
        self._num_words.extend(np.array([int(own.words.max(initial=-1)) + 1 for own in each], np.int64))
        self._ids.extend(pieces.ids)
        self._offsets.extend(pieces.offsets)
        self._words.extend(pieces.words)
        self._rows.update(zip(words, range(len(self._rows), len(self._rows) + len(words)), strict=True))


class _Column:
    """Array of int64, (n,) or (n, width), that grows."""

    def __init__(self, width: int | None = None) -> None:
        self._held = np.zeros((1024,) if width is None else (1024, width), np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> Ints:
        return self._held[: self._size]

    def extend(self, values: Ints | None) -> None:
        assert values is not None
        size = self._size + len(values)
        if size > len(self._held):
            more = np.zeros((max(size, 2 * len(self._held)), *self._held.shape[1:]), np.int64)
            more[: self._size] = self.values
            self._held = more
        self._held[self._size : size] = values
        self._size = size

    def shrink(self, size: int) -> None:
        self._size = size


def _divided(texts: Sequence[str]) -> tuple[list[str], Ints]:
    """Return what lies between spaces and line ends in texts (W,), and how many of them each text has (S,), at least one."""
    divided = [text.replace("\n", " ").split(" ") for text in texts]
    counts = np.fromiter(map(len, divided), np.int64, len(divided))
    return [word for words in divided for word in words], counts


def _sums(values: Ints, counts: Ints) -> Ints:
    """Return the sum of the values (W,) of each text (S,)."""
    return np.add.reduceat(values, np.cumsum(counts) - counts) if len(counts) else counts


def _since(values: Ints, counts: Ints) -> NDArray[np.int64]:
    """Subtract from the values (W,) the first one of their text."""
    return values - np.repeat(values[np.cumsum(counts) - counts], counts) if len(counts) else values
