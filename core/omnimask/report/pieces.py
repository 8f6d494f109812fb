"""What each token of a sample adds to its text, and what other tokens would add in its place. L tokens of one sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.components.maskers.candidates import take
from omnimask.interfaces import SPECIAL, Tokenizer, Tokens, TokenSpec

_BETWEEN = "\n"
"""Stands between the texts of a sample that has several."""


def as_text(raw: Any) -> str | None:
    """A raw value as one text; None if it is neither a text nor several."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, Sequence) and raw and all(isinstance(part, str) for part in raw):
        return _BETWEEN.join(raw)
    return None


class Speller:
    """Spells tokens of one sample, each in its place; a sample whose raw value is no text has no ``pieces``, and ids are numbers.

    What a token looks like depends on those before it (spaces between words, letters of several bytes), so it is what its text
    is longer than that of the tokens before it.

    Args:
        tokens: ids, with their fields.
        tokenizer: decodes them.
        spec: of the modality.
    """

    def __init__(self, tokens: Tokens, tokenizer: Tokenizer, spec: TokenSpec) -> None:
        self.tokens, self.tokenizer, self.spec = tokens, tokenizer, spec
        self.is_text = as_text(tokenizer.decode(tokens)) is not None
        self.pieces = self._pieces() if self.is_text else ()

    def piece(self, at: int, number: int) -> str:
        """The text of an id in a token's place."""
        if not self.is_text:
            return str(number)
        before, after = self._text(at), self._text(at, number)
        return after[_shared(before, after) :]

    def _pieces(self) -> tuple[str, ...]:
        """One text per token; joined they are the sample's."""
        length = len(self.tokens)
        ends = np.zeros(length + 1, np.int64)
        text = ""
        for count in range(1, length + 1):
            longer = self._text(count)
            ends[:count] = np.minimum(ends[:count], _shared(text, longer))
            ends[count], text = len(longer), longer
        return tuple(text[start:stop] for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))

    def _text(self, count: int, number: int | None = None) -> str:
        """Of the first ``count`` tokens, and then of an id."""
        if not count and number is None:
            return ""
        shown = take(self.tokens, np.arange(count + (number is not None)), self.spec)
        if number is not None:
            fields = {name: _ordinary(values) if name == SPECIAL else values for name, values in shown.fields.items()}
            shown = dataclasses.replace(shown, content=np.append(shown.content[:-1], number), fields=fields)
        return as_text(self.tokenizer.decode(shown)) or ""


def _ordinary(is_special: Any) -> NDArray[np.bool_]:
    """The last token is none of the special ones."""
    return np.append(np.asarray(is_special, bool)[:-1], False)


def _shared(first: str, second: str) -> int:
    """Length of the beginning that both texts have."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
