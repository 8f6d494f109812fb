"""Bytes as tokens [0].

[0] Xue et al.: ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models, TACL 2022.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context
from omnimask_text.tokenize.annotations import Kind
from omnimask_text.tokenize.characters import word_numbers
from omnimask_text.tokenize.scheme import CONTENT_USES, Frame, Ints, ManyPieces, Pieces
from omnimask_text.tokenize.tokenizer import TextTokenizer

_NUM_BYTES = 256
_SPECIALS = {"pad": 256, "cls": 257, "sep": 258, "mask": 259}
_NAMES = {number: f"[{use.upper()}]" for use, number in _SPECIALS.items()}
_SPELLED = re.compile("|".join(map(re.escape, _NAMES.values())))


class ByteScheme:
    """A scheme whose pieces are a text's UTF-8 bytes, with their values as ids, followed by special tokens.

    Args:
        reads_spelled: parse the spelling of a special token (``[MASK]``) as this token, instead of as its bytes.
    """

    def __init__(self, *, reads_spelled: bool = False) -> None:
        self.reads_spelled = reads_spelled
        self.vocabulary = _NUM_BYTES + len(_SPECIALS)
        self.special_ids: Mapping[str, int] = _SPECIALS
        self.frame_ids = np.array([number for use, number in _SPECIALS.items() if use not in CONTENT_USES], np.int64)
        before, after = (np.array([_SPECIALS[use]], np.int64) for use in ("cls", "sep"))
        self.frame = Frame(before, after, after)

    def encode(self, text: str) -> Pieces:
        """Return bytes; all bytes of a character have its offset."""
        values = np.frombuffer(text.encode("utf-8"), np.uint8)
        begins = (values & 0xC0) != 0x80
        character = np.cumsum(begins) - 1
        offsets = np.stack((character, character + 1), axis=1)
        ids = values.astype(np.int64)
        if self.reads_spelled:
            ids, offsets = _with_specials(text, ids, offsets)
        return Pieces(ids, offsets, word_numbers(text, offsets))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        if self.reads_spelled:
            return [len(self.encode(text).ids) for text in texts]
        return [len(text.encode("utf-8")) for text in texts]

    def ids_many(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Return the ids of the bytes of all texts (N,), and the number of bytes of each (S,)."""
        if self.reads_spelled:
            pieces = ManyPieces.of(self.encode_many(texts), has_places=False)
            return pieces.ids, pieces.sizes
        encoded = [text.encode("utf-8") for text in texts]
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64), sizes

    def encode_many(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the bytes of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Ints) -> str:
        """Return the text; invalid bytes become U+FFFD, and special tokens are spelled out."""
        parts = [bytes([number]) if number < _NUM_BYTES else _NAMES.get(number, "").encode() for number in ids.tolist()]
        return b"".join(parts).decode("utf-8", "replace")

    def fingerprint(self) -> str:
        """Return a constant: there is only one such scheme."""
        return "bytes"


def _with_specials(text: str, ids: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """Replace the bytes of every spelled special token by its id, with the offsets (n, 2) of its spelling."""
    numbers = {name: number for number, name in _NAMES.items()}
    is_kept = np.ones(len(ids), bool)
    ids, offsets = ids.copy(), offsets.copy()
    for found in _SPELLED.finditer(text):
        first, *others = np.flatnonzero((offsets[:, 0] >= found.start()) & (offsets[:, 0] < found.end())).tolist()
        ids[first], offsets[first] = numbers[found[0]], found.span()
        is_kept[others] = False
    return ids[is_kept], offsets[is_kept]


class BytesTokenizer(TextTokenizer):
    """The bytes of a text in UTF-8, and four special ids: [PAD] 256, [CLS] 257, [SEP] 258, [MASK] 259.

    Words are runs of letters and digits, with the white space before them, and every other character.

    Args:
        max_length: tokens of a sequence, including special ones; data sets cut longer texts.
        add_special: frame texts as [CLS] a [SEP], pairs as [CLS] a [SEP] b [SEP].
        annotations: value of each annotation's spans: ``span`` (nothing), ``number``, or a list of classes.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"max_length": 64}

    def __init__(
        self,
        context: Context,
        *,
        max_length: Annotated[int, Field(ge=1)] = 1024,
        add_special: bool = True,
        annotations: dict[str, Kind] | None = None,
    ) -> None:
        del context
        super().__init__(ByteScheme(), max_length=max_length, add_special=add_special, vocabulary=None, annotations=annotations)

    def reading_spelled(self) -> BytesTokenizer:
        """Return a copy that reads ``[MASK]`` in a typed text as the mask token."""
        copied = copy.copy(self)
        copied.scheme = ByteScheme(reads_spelled=True)
        return copied
