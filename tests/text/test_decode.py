"""Bytes of text files: nothing is guessed, and what is wrong is named."""

from __future__ import annotations

import codecs

import pytest

from omnimask.interfaces import Context
from omnimask_text.decode import Utf8Decoder

UTF8 = Utf8Decoder(Context())


@pytest.mark.parametrize("text", ["", "a", "Ünïcode 漢字 😀", "two\nlines\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_with_and_without_a_mark(text: str, encoding: str) -> None:
    assert UTF8(text.encode(encoding)) == text


@pytest.mark.parametrize(("mark", "encoding"), [(codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")])
def test_the_mark_tells_the_order_of_bytes(mark: bytes, encoding: str) -> None:
    assert UTF8(mark + "é😀".encode(encoding)) == "é😀"


def test_line_ends_are_the_same_from_every_system() -> None:
    assert UTF8(b"one\r\ntwo\rthree\n") == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"caf\xe9 au lait", r"byte 3 is not valid utf-8 \(invalid continuation byte\).*encoding: latin-1"),
        (codecs.BOM_UTF8 + b"ab\xff", "byte 5 is not valid utf-8"),
        (codecs.BOM_UTF16_LE + b"a\x00b", "byte 4 is not valid utf-16"),
        (b"\x89PNG\r\n\x1a\n", "byte 0 is not valid utf-8"),
        (b"ab\x00cd", "character 2 is a NUL, so this is not a text file"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UTF8(data)


def test_other_encodings() -> None:
    assert Utf8Decoder(Context(), encoding="latin-1")(b"caf\xe9") == "café"
    assert Utf8Decoder(Context(), encoding="Shift_JIS")("漢字".encode("shift_jis")) == "漢字"
    assert Utf8Decoder(Context(), encoding="latin-1")(codecs.BOM_UTF8 + "é".encode()) == "é"
    with pytest.raises(ValueError, match="byte 1 is not valid ascii"):
        Utf8Decoder(Context(), encoding="ascii")(b"a\xe9")
    for wrong in ("utf-9", "base64"):
        with pytest.raises(ValueError, match=f"encoding {wrong!r}"):
            Utf8Decoder(Context(), encoding=wrong)
