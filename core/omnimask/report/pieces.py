"""Text pieces of a sample's tokens, and of other tokens in their places. L tokens of one sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.components.maskers.candidates import take
from omnimask.interfaces import SPECIAL, Tokenizer, Tokens, TokenSpec

_BETWEEN = "\n"
"""Separator between the texts of a sample with several."""


def as_text(raw: Any) -> str | None:
    """Return a raw value as one text; None if it is neither a text nor several."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, Sequence) and raw and all(isinstance(part, str) for part in raw):
        return _BETWEEN.join(raw)
    return None


class Speller:
    """Speller of one sample's tokens, each in its place. If the raw value isn't text, ``pieces`` is empty and ids are numbers.

    A token's text depends on the tokens before it (spaces between words, letters of several bytes). It is therefore the difference
    between the texts with and without the token.

    Args:
        tokens: ids, with their fields.
        tokenizer: decodes them.
        spec: spec of the modality.
    """

    def __init__(self, tokens: Tokens, tokenizer: Tokenizer, spec: TokenSpec) -> None:
        self.tokens, self.tokenizer, self.spec = tokens, tokenizer, spec
        self.is_text = as_text(tokenizer.decode(tokens)) is not None
        self.pieces = self._pieces() if self.is_text else ()

    def piece(self, at: int, number: int) -> str:
        """Return the text of an id in a token's place."""
        if not self.is_text:
            return str(number)
        before, after = self._text(at), self._text(at, number)
        return after[_shared(before, after) :]

    def _pieces(self) -> tuple[str, ...]:
        """Return one text per token. Joined, they are the sample's text."""
        length = len(self.tokens)
        ends = np.zeros(length + 1, np.int64)
        text = ""
        for count in range(1, length + 1):
            longer = self._text(count)
            ends[:count] = np.minimum(ends[:count], _shared(text, longer))
            ends[count], text = len(longer), longer
        return tuple(text[start:stop] for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))

    def _text(self, count: int, number: int | None = None) -> str:
        """Return the text of the first ``count`` tokens, followed by an id if given."""
        if not count and number is None:
            return ""
        shown = take(self.tokens, np.arange(count + (number is not None)), self.spec)
        if number is not None:
            fields = {name: _ordinary(values) if name == SPECIAL else values for name, values in shown.fields.items()}
            shown = dataclasses.replace(shown, content=np.append(shown.content[:-1], number), fields=fields)
        return as_text(self.tokenizer.decode(shown)) or ""


def _ordinary(is_special: Any) -> NDArray[np.bool_]:
    """Append a final False: the last token is not special."""
    return np.append(np.asarray(is_special, bool)[:-1], False)


def _shared(first: str, second: str) -> int:
    """Return the length of the texts' common prefix."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
