"""Forms of a raw text: one text, several in one sequence, or a mapping with annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TEXT = "text"


@dataclass(frozen=True)
class Texts:
    """Nonblank ``texts`` of one sequence, and the unchecked spans of each text by annotation.

    ``is_several`` is False if the raw value was one text and not a sequence of one.
    """

    texts: tuple[str, ...]
    is_several: bool = False
    spans: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])


def read(raw: Any, annotations: Sequence[str] = ()) -> Texts:
    """Normalize the form of a raw value.

    Args:
        raw: ``str``; a sequence of ``str``; or a mapping of ``text`` (or any first key) to either of them, and of annotations to
            spans, or to a list of spans for each of several texts. None means no spans.
        annotations: names to read.

    Raises:
        ValueError: it has none of these forms, one of the texts is blank, or a mapping lacks an annotation.
    """
    if not isinstance(raw, Mapping):
        return _read_texts(raw)
    if missing := [name for name in annotations if name not in raw]:
        raise ValueError(f"it has no annotation {' or '.join(map(repr, missing))}; it has {', '.join(map(repr, raw))}")
    found = _read_texts(raw[main_key(raw)])
    spans = {name: _per_text(name, raw[name], found) for name in annotations}
    return Texts(found.texts, found.is_several, spans)


def is_plain(raw: Any) -> bool:
    """Return whether a raw value is one valid text without annotations, which is not blank."""
    try:
        return isinstance(raw, str) and bool(raw) and not raw.isspace() and raw.encode("utf-8") is not None
    except UnicodeEncodeError:
        return False


def main_key(raw: Mapping[str, Any]) -> str:
    """Return the key of the text in a mapping: ``text``, or the first key if missing."""
    if not raw:
        raise ValueError("no text: the mapping is empty")
    return TEXT if TEXT in raw else next(iter(raw))


def _read_texts(raw: Any) -> Texts:
    if isinstance(raw, str):
        _check(raw, "it")
        return Texts((raw,))
    if isinstance(raw, bytes | bytearray):
        raise ValueError("bytes need a decoder (text.utf8)")
    if not isinstance(raw, Sequence) or not all(isinstance(text, str) for text in raw):
        raise ValueError(f"a text must be a string or a list of strings, not {_described(raw)}")
    if not raw:
        raise ValueError("no text: the list of texts is empty")
    for number, text in enumerate(raw):
        _check(text, f"text {number + 1} of {len(raw)}")
    return Texts(tuple(raw), is_several=True)


def _check(text: str, about: str) -> None:
    if not text or text.isspace():
        raise ValueError(f"{about} is empty" + (f": only {len(text)} blank characters" if text else ""))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{about} contains a lone surrogate at {error.start} ({text[error.start]!r}), which is not valid UTF-8"
        ) from error


def _per_text(name: str, spans: Any, found: Texts) -> Sequence[Any]:
    if spans is None:
        return [()] * len(found.texts)
    if not isinstance(spans, Sequence) or isinstance(spans, str | bytes):
        raise ValueError(f"annotation {name!r} must be a list of spans, not {_described(spans)}")
    if not found.is_several:
        return [spans]
    if len(spans) != len(found.texts):
        raise ValueError(f"annotation {name!r} has {len(spans)} lists of spans for {len(found.texts)} texts; give one per text")
    return spans


def _described(raw: Any) -> str:
    if isinstance(raw, Sequence) and not isinstance(raw, str | bytes):
        kinds = sorted({type(item).__name__ for item in raw})
        return f"{type(raw).__name__} of {', '.join(kinds)}"
    return type(raw).__name__
