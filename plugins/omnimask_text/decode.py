"""Decoder of text files."""

from __future__ import annotations

import codecs
from typing import Annotated

from pydantic import Field

from omnimask.interfaces import Context

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and their encodings; UTF-32's begins with UTF-16's."""


class Utf8Decoder:
    """Bytes of a text file -> str.

    A byte order mark is removed, and identifies UTF-8, UTF-16 and UTF-32 regardless of ``encoding``. Line ends become ``\\n``, and
    an empty file is an empty text. Nothing is guessed or replaced: invalid bytes are an error.

    Args:
        encoding: Python's name of it: ``utf-8``, ``latin-1``, ``cp1252``, ``shift_jis``, ...
    """

    def __init__(self, context: Context, *, encoding: Annotated[str, Field(min_length=1)] = "utf-8") -> None:
        del context
        try:
            self.encoding = codecs.lookup(encoding).name
            "".encode(encoding)
        except LookupError as error:
            raise ValueError(
                f"encoding {encoding!r} is not supported by Python; try utf-8, latin-1, cp1252 or shift_jis"
            ) from error

    def __call__(self, data: bytes) -> str:
        """Return the text.

        Raises:
            ValueError: bytes are invalid in this encoding, or control characters indicate a binary file.
        """
        mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", self.encoding))
        if encoding == "utf-8":
            data = data.removeprefix(mark)
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"byte {error.start + (len(mark) if encoding == 'utf-8' else 0)} is not valid {encoding} "
                f"({error.reason}); convert the file, or set its encoding: decoder: "
                f"{{name: text.utf8, encoding: latin-1}}"
            ) from error
        if (place := text.find("\0")) >= 0:
            raise ValueError(f"character {place} is a NUL, so this is not a text file")
        return text.replace("\r\n", "\n").replace("\r", "\n")
