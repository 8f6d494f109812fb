"""Language-independent properties of characters: white space, words, and starts of sentences and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from omnimask_text.tokenize.scheme import Ints

_LAST_SPACE = 0x3000
_IS_SPACE = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])
"""By code point; the ideographic space is the last white space."""
_UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
"""Chinese characters and Japanese kana, which are written without spaces between words."""
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*|(?<=[.!?…:\"'”’)])[^\S\n]*\n\s*")
"""An empty line, or the end of a line at which a sentence ends."""
EMPTY_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+\s++|[。！？]++[”’」』）]*+\s*+|\n[^\S\n]*+\n\s*+")
"""Possessive, so that a hundred thousand consecutive dots take no longer than other text."""


def white_space(text: str) -> NDArray[np.bool_]:
    """Return (characters,) True for white space."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return _IS_SPACE[np.minimum(codes, _LAST_SPACE + 1)]


def word_numbers(text: str, offsets: Ints) -> Ints:
    """Return (n,) index of the word at the first character of each piece, or of the next word if this is white space.

    Words are runs of letters and digits, every Chinese character and kana alone, and every other character alone.
    """
    stops = np.array([found.end() for found in _WORD.finditer(text)], np.int64)
    return np.minimum(np.searchsorted(stops, offsets[:, 0], side="right"), len(stops) - 1)


def divided_by_script(text: str, offsets: Ints, words: Ints) -> Ints:
    """Return (n,) word indices with every Chinese character or kana as a separate word, as in BERT [0].

    Pieces of one character stay together, as do the characters of one piece.

    Args:
        text: of the pieces.
        offsets: (n, 2) of the pieces, in characters.
        words: (n,) nondecreasing indices, -1 for none.

    [0] Devlin et al.: BERT, NAACL 2019; ``BasicTokenizer`` of its code, with the kana beside the Chinese characters.
    """
    if not _IS_UNSPACED.search(text):
        return words
    is_alone = np.zeros(len(text) + 1, bool)
    is_alone[[found.start() for found in _IS_UNSPACED.finditer(text)]] = True
    is_word = words >= 0
    here, starts, stops = words[is_word], offsets[is_word, 0], np.maximum.accumulate(offsets[is_word, 1])
    is_new = np.diff(here) != 0
    touches = is_alone[starts[1:]] | is_alone[np.maximum(stops[:-1] - 1, 0)]
    is_new |= touches & (starts[1:] >= stops[:-1])
    out = words.copy()
    out[is_word] = np.cumsum(np.concatenate(([0], is_new))) if len(here) else here
    return out


def sentence_starts(text: str) -> Ints:
    """Return the first characters of sentences, except the first sentence.

    A sentence ends at an empty line; after ``. ! ? …``, including closing quotes and brackets, if white space follows and the next
    character is not a lower-case letter; and after ``。！？``. Thus ``e.g. this`` is one sentence, and ``Dr. Who`` two.
    """
    return np.fromiter(_sentences(text), np.int64)


def paragraph_starts(text: str) -> Ints:
    """Return the first characters of paragraphs, except the first one: after empty lines, and after lines that end a sentence."""
    return np.array([found.end() for found in _PARAGRAPH.finditer(text) if found.end() < len(text)], np.int64)


def _sentences(text: str) -> Iterator[int]:
    for found in _STOP.finditer(text):
        stop = found.end()
        if stop < len(text) and not (text[stop].islower() and not EMPTY_LINE.search(text, found.start(), stop)):
            yield stop
