"""Lossless division of a long text into parts that fit, after paragraphs, sentences or words.

N pieces of a block of text. A place is the index of the piece before which a text may be cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask_text.tokenize.characters import paragraph_starts, sentence_starts, white_space
from omnimask_text.tokenize.scheme import Encodes, Ints, Pieces

_BLOCK = 1 << 18
"""Number of characters to encode at once."""
_FULL, _HALF = 0.75, 0.5
_ORDER = (("paragraph", _FULL), ("sentence", _FULL), ("paragraph", _HALF), ("sentence", _HALF), ("space", 0.0), ("word", 0.0))
"""Kinds of places in order of preference, and how full they must leave a part. The last resort is a cut between any two
characters."""
_MOST = 256
"""Number of parts to count at once."""


def cut(text: str, scheme: Encodes, budget: int, whole: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int, int]]:
    """Return (start, stop, pieces) of parts that cover a text except white space between them.

    Args:
        text: of any length.
        scheme: gives each part at most ``budget`` pieces, counted as a separate text.
        budget: at least 1.
        whole: [start, stop) characters to keep together if they fit into one part.

    Raises:
        ValueError: a single character has more than ``budget`` pieces.
    """
    found: list[tuple[int, int, int]] = []
    start = 0
    while start < len(text):
        stop = _block_end(text, start, longest_block(budget))
        parts = list(_TextBlock(text, start, stop, scheme, budget, whole).parts())
        if stop < len(text) and len(parts) > 1:
            parts.pop()
            stop = parts[-1][1]
        found += parts
        start = stop
    return found


def longest_block(budget: int) -> int:
    """Return the most characters that are encoded at once. A text of as many, with at most ``budget`` pieces, is one part."""
    return max(_BLOCK, 16 * budget)


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """Return the number of pieces to keep of each text, at most ``room`` in total; the longest texts are cut first.

    Raises:
        ValueError: ``room`` is below one piece of each.
    """
    if room < len(lengths):
        raise ValueError(f"{len(lengths)} texts do not fit in {max(0, room)} tokens; raise max_length")
    found = list(lengths)
    by_length = sorted(range(len(lengths)), key=lambda number: (lengths[number], number))
    for done, number in enumerate(by_length):
        found[number] = min(lengths[number], room // (len(lengths) - done))
        room -= found[number]
    return found


def shifted(spans: Sequence[Any], start: int, stop: int) -> list[list[Any]]:
    """Clip spans [start, stop, ...] to a range of characters, and count from its start."""
    return [
        [max(span[0], start) - start, min(span[1], stop) - start, *span[2:]] for span in spans if span[0] < stop and span[1] > start
    ]


def _block_end(text: str, start: int, size: int) -> int:
    """Return an end near ``start + size``, at white space if there is any."""
    stop = start + size
    if stop >= len(text):
        return len(text)
    return next((place for place in range(stop, start + size // 2, -1) if text[place].isspace()), stop)


@dataclass(frozen=True)
class _CutPlaces:
    """Sorted places by the unit that ends before them; ``character`` holds all places between two characters."""

    paragraph: Ints
    sentence: Ints
    space: Ints
    word: Ints
    character: Ints

    def without(self, is_left_out: NDArray[np.bool_]) -> _CutPlaces:
        """Return the places that are not marked; ``is_left_out`` (N,)."""
        return _CutPlaces(*(places[~is_left_out[places]] for places in vars(self).values()))


class _TextBlock:
    """Text from ``start`` to ``stop``, cut from the front, each part as full as its border allows."""

    def __init__(self, text: str, start: int, stop: int, scheme: Encodes, budget: int, whole: Sequence[tuple[int, int]]) -> None:
        self.text, self.start, self.stop = text, start, stop
        self.scheme, self.budget = scheme, budget
        block = text[start:stop]
        pieces = scheme.encode(block)
        self.starts = pieces.offsets[:, 0] + start
        self.num_pieces = len(self.starts)
        everywhere = _places(block, pieces)
        is_whole = _is_inside(self.starts, whole)
        self.choices = [everywhere.without(is_whole), everywhere] if is_whole.any() else [everywhere]

    def parts(self) -> Iterator[tuple[int, int, int]]:
        """Yield (start, stop, pieces) in characters of the whole text."""
        place, most = 0, _MOST
        while place < self.num_pieces:
            ahead = self._ahead(place, most)
            sizes = self._sizes([self._characters(*part) for part in ahead])
            most = _MOST
            for (first, last), size in zip(ahead, sizes, strict=True):
                place = last if size <= self.budget else self._earlier(first, last, size)
                if place < last or size > self.budget:
                    yield from self._letter_by_letter(*self._characters(first, place))
                    most = 1
                    break
                if size:
                    yield *self._characters(first, last), size

    def _ahead(self, place: int, most: int) -> list[tuple[int, int]]:
        """Return the next parts, assuming each has as many pieces separately as here."""
        found: list[tuple[int, int]] = []
        while place < self.num_pieces and len(found) < most:
            found.append((place, self._end(place, self.budget)))
            place = found[-1][1]
        return found

    def _earlier(self, first: int, last: int, size: int) -> int:
        """Return an earlier end of a part whose ``size`` pieces exceed the budget, or the earliest one if none suffices."""
        earliest = self._end(first, 1)
        while size > self.budget and last > earliest:
            last = max(earliest, min(last - 1, self._end(first, max(1, last - first - (size - self.budget)))))
            size = self._sizes([self._characters(first, last)])[0]
        return last

    def _letter_by_letter(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the characters as one part if they fit, else cut anywhere: a piece of a word may become several separately."""
        while start < stop:
            end = stop
            while (size := self._sizes([(start, end)])[0]) > self.budget:
                if end == start + 1:
                    raise ValueError(
                        f"the character {self.text[start]!r} has {size} pieces, but at most {self.budget} fit; raise max_length"
                    )
                end = (start + end + 1) // 2
            if size:
                yield start, end, size
            start = end

    def _sizes(self, parts: Sequence[tuple[int, int]]) -> list[int]:
        """Return the pieces of each part, encoded separately."""
        return self.scheme.lengths([self.text[start:stop] for start, stop in parts])

    def _end(self, first: int, budget: int) -> int:
        """Return the end of a part that begins at ``first``."""
        limit = first + budget
        if limit >= self.num_pieces:
            return self.num_pieces
        for places in self.choices:
            for name, fullness in _ORDER:
                found = _last(getattr(places, name), limit)
                if found > first and found - first >= fullness * budget:
                    return found
            if (found := _last(places.character, limit)) > first:
                return found
        after = np.searchsorted(self.choices[-1].character, first, side="right")
        following = self.choices[-1].character[after : after + 1]
        return int(following[0]) if len(following) else self.num_pieces

    def _characters(self, first: int, last: int) -> tuple[int, int]:
        """Return [start, stop) of the pieces between two places, including text without pieces, without surrounding white space."""
        start = self.start if first == 0 else int(self.starts[first])
        stop = self.stop if last == self.num_pieces else int(self.starts[last])
        part = self.text[start:stop]
        return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _places(block: str, pieces: Pieces) -> _CutPlaces:
    starts, stops = pieces.offsets[:, 0], np.maximum.accumulate(pieces.offsets[:, 1])
    is_open = np.ones(len(starts), bool)
    is_open[1:] = starts[1:] >= stops[:-1]
    is_space = white_space(block)
    is_behind_space = is_open & is_space[np.maximum(starts - 1, 0)]
    is_word = is_open.copy()
    is_word[1:] &= pieces.words[1:] != pieces.words[:-1]
    found = [np.unique(np.searchsorted(starts, where)) for where in (paragraph_starts(block), sentence_starts(block))]
    found += [np.flatnonzero(is_here) for is_here in (is_behind_space, is_word, is_open)]
    return _CutPlaces(*(places[(places < len(starts))] for places in found)).without(~is_open)


def _is_inside(characters: Ints, whole: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return for each character whether a cut before it divides one of the spans."""
    depth = np.zeros(len(characters) + 1, np.int64)
    for start, stop in whole:
        first, last = np.searchsorted(characters, [start + 1, stop])
        depth[first] += 1
        depth[max(first, last)] -= 1
    return np.cumsum(depth[:-1]) > 0


def _last(places: Ints, limit: int) -> int:
    """Return the last place up to ``limit``, or 0 if there is none."""
    found = int(np.searchsorted(places, limit, side="right"))
    return int(places[found - 1]) if found else 0
