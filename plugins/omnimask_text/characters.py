"""What characters tell without a language: white space, words, and where sentences and paragraphs begin."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from omnimask_text.scheme import Ints

_LAST_SPACE = 0x3000
_IS_SPACE = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])
"""By code point; no character beyond the ideographic space is white space."""
_WORD = re.compile(r"\w+|[^\w\s]")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*|(?<=[.!?…:\"'”’)])[^\S\n]*\n\s*")
"""An empty line, or the end of a line at which a sentence ends."""
_EMPTY_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s++|[。！？]++[”’」』）]*+\s*+|\n[^\S\n]*+\n\s*+")
"""Possessive, so that a hundred thousand dots in a row take no longer than other text."""


def white_space(text: str) -> NDArray[np.bool_]:
    """(characters,) whether each is white space."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return _IS_SPACE[np.minimum(codes, _LAST_SPACE + 1)]


def word_numbers(text: str, offsets: Ints) -> Ints:
    """(n,) number of the word at the first character of each piece, or of the next one if that is white space.

    Words are runs of letters and digits, and every other sign alone.
    """
    stops = np.array([found.end() for found in _WORD.finditer(text)], np.int64)
    return np.minimum(np.searchsorted(stops, offsets[:, 0], side="right"), len(stops) - 1)


def sentence_starts(text: str) -> Ints:
    """Characters at which sentences begin, the first one's left out.

    A sentence ends at an empty line; behind ``. ! ? …``, closing quotes and brackets included, where white space follows and the
    next character is no small letter; and behind ``。！？``. So ``e.g. this`` is one, and ``Dr. Who`` two.
    """
    return np.fromiter(_sentences(text), np.int64)


def paragraph_starts(text: str) -> Ints:
    """Characters at which paragraphs begin, the first one's left out: behind empty lines, and behind lines that end a sentence."""
    return np.array([found.end() for found in _PARAGRAPH.finditer(text) if found.end() < len(text)], np.int64)


def _sentences(text: str) -> Iterator[int]:
    for found in _STOP.finditer(text):
        stop = found.end()
        if stop < len(text) and not (text[stop].islower() and not _EMPTY_LINE.search(text, found.start(), stop)):
            yield stop
