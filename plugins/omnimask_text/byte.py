"""Bytes as tokens [0].

[0] Xue et al.: ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models, TACL 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context
from omnimask_text.annotations import Kind
from omnimask_text.characters import word_numbers
from omnimask_text.scheme import CONTENT_USES, Frame, Ints, Pieces
from omnimask_text.tokenizer import TextTokenizer

_NUM_BYTES = 256
_SPECIALS = {"pad": 256, "cls": 257, "sep": 258, "mask": 259}
_NAMES = {number: f"[{use.upper()}]" for use, number in _SPECIALS.items()}


class ByteScheme:
    """A text's UTF-8 bytes are its pieces, and their values are the ids; special tokens follow."""

    def __init__(self) -> None:
        self.vocabulary = _NUM_BYTES + len(_SPECIALS)
        self.special_ids: Mapping[str, int] = _SPECIALS
        self.frame_ids = np.array([number for use, number in _SPECIALS.items() if use not in CONTENT_USES], np.int64)
        before, after = (np.array([_SPECIALS[use]], np.int64) for use in ("cls", "sep"))
        self.frame = Frame(before, after, after)

    def encode(self, text: str) -> Pieces:
        """Bytes; all bytes of a character have its offset."""
        values = np.frombuffer(text.encode("utf-8"), np.uint8)
        begins = (values & 0xC0) != 0x80
        character = np.cumsum(begins) - 1
        offsets = np.stack((character, character + 1), axis=1)
        return Pieces(values.astype(np.int64), offsets, word_numbers(text, offsets))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Bytes of each text."""
        return [len(text.encode("utf-8")) for text in texts]

    def decode(self, ids: Ints) -> str:
        """The text; bytes that make no character become U+FFFD, and special tokens are written out."""
        parts = [bytes([number]) if number < _NUM_BYTES else _NAMES.get(number, "").encode() for number in ids.tolist()]
        return b"".join(parts).decode("utf-8", "replace")

    def fingerprint(self) -> str:
        """There is one such scheme."""
        return "bytes"


class BytesTokenizer(TextTokenizer):
    """The bytes of a text in UTF-8, and four special ids: [PAD] 256, [CLS] 257, [SEP] 258, [MASK] 259.

    Words are runs of letters and digits, with the white space before them, and every other sign.

    Args:
        max_length: tokens of a sequence, special ones included; data sets cut longer texts.
        add_special: frame texts as [CLS] a [SEP], pairs as [CLS] a [SEP] b [SEP].
        annotations: what each annotation's spans carry: ``span`` (nothing), ``number``, or a list of classes.
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
