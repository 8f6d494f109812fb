"""Base class of text tokenizers, independent of the scheme of pieces."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np

from omnimask.interfaces import Draw, PartColumns, Tokens, TokenSpec
from omnimask_text.tokenize.annotations import Kind, Span, check_kinds, check_spans, field_specs
from omnimask_text.tokenize.cut import cut, longest_block, shares, shifted
from omnimask_text.tokenize.fields import OPTIONAL, SPECS, annotated, fields, framed, places
from omnimask_text.tokenize.many import columns_of_many, parts_of_texts
from omnimask_text.tokenize.raw import Texts, is_plain, main_key, read
from omnimask_text.tokenize.scheme import NO_FRAME, Pieces, Scheme

logger = logging.getLogger(__name__)

_NO_DRAW = Draw(0, 0, "")
"""Tokens of texts are the same for every draw."""

EMBEDDED: Mapping[str, Kind] = {
    "entity": ["person", "place", "organisation"],
    "noun": "span",
    "verb": "span",
    "time": "span",
    "signal": "span",
}
"""The annotations of the data set ``chronicle``."""


def embedded_data(options: Mapping[str, Any]) -> str:
    """Return ``chronicle`` if it has all annotations named in a tokenizer's options, else ``english``."""
    wanted: Mapping[str, Kind] = options.get("annotations") or {}
    return "chronicle" if wanted and all(_is_embedded(name, kind) for name, kind in wanted.items()) else "english"


def _is_embedded(name: str, kind: Kind) -> bool:
    known = EMBEDDED.get(name)
    return set(known) <= set(kind) if isinstance(known, list) and isinstance(kind, list) else known == kind


class TextTokenizer:
    """Base class of text tokenizers. A raw value is a string, a list of strings, or a mapping with annotations of either.

    Args:
        scheme: converts text to pieces.
        max_length: tokens of a sequence, including special ones.
        add_special: whether the scheme's special tokens frame texts.
        vocabulary: number of ids; None: the scheme's.
        annotations: value of each annotation's spans.
    """

    decoder: ClassVar[str | None] = "text.utf8"
    embedded: ClassVar[Any] = staticmethod(embedded_data)
    renderer: ClassVar[str | None] = "text.lines"

    def __init__(
        self,
        scheme: Scheme,
        *,
        max_length: int,
        add_special: bool,
        vocabulary: int | None,
        annotations: Mapping[str, Kind] | None,
    ) -> None:
        self.scheme = scheme
        self.max_length = max_length
        self.add_special = add_special
        self.frame = scheme.frame if add_special else NO_FRAME
        self.vocabulary = vocabulary or scheme.vocabulary
        self.annotations: dict[str, Kind] = dict(annotations or {})
        if self.vocabulary < scheme.vocabulary:
            raise ValueError(f"the tokenizer has {scheme.vocabulary:,} ids, but vocabulary is {vocabulary:,}; remove it")
        if max_length <= (size := self.frame.size()):
            raise ValueError(f"max_length {max_length} leaves no room for text besides {size} special tokens")
        check_kinds(self.annotations)
        self.left_out: frozenset[str] = frozenset()
        self._is_frame = np.isin(np.arange(scheme.vocabulary), scheme.frame_ids)

    @cached_property
    def spec(self) -> TokenSpec:
        """Ids on one unbounded axis."""
        own = {name: field for name, field in SPECS.items() if name not in self.left_out}
        return TokenSpec(
            vocabulary=self.vocabulary,
            special_ids=dict(self.scheme.special_ids),
            fields={**own, **field_specs(self.annotations)},
        )

    def keeping(self, names: Collection[str]) -> TextTokenizer:
        """Return a tokenizer without those of the fields ``word``, ``sentence`` and ``offset`` that are not among ``names``."""
        copied = copy.copy(self)
        vars(copied).pop("spec", None)
        copied.left_out = self.left_out | (OPTIONAL - set(names))
        return copied

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return tokens of a raw text. Nothing is random.

        Raises:
            ValueError: it is not a text, is blank, is longer than ``max_length``, or has invalid annotations.
        """
        found = read(raw, tuple(self.annotations))
        return self._tokens(found.texts, [self.scheme.encode(text) for text in found.texts], self._spans(found))

    def decode(self, tokens: Tokens) -> str | list[str]:
        """Return the text of tokens, without special ones; a list if they come from several texts."""
        ids = np.asarray(tokens.content, np.int64)
        is_text = ~np.asarray(tokens.fields["special"] if "special" in tokens.fields else np.isin(ids, self.scheme.frame_ids))
        documents = np.asarray(tokens.fields.get("document", np.zeros(len(ids), np.int64)))
        decoded = [self.scheme.decode(ids[is_text & (documents == number)]) for number in range(int(documents.max(initial=0)) + 1)]
        return decoded[0] if len(decoded) == 1 else decoded

    def count(self, raw: Any) -> int | None:
        """Return the number of tokens of a raw text, or None before it is read.

        Raises:
            ValueError: it is not a text, is blank, or is longer than ``max_length``.
        """
        if raw is None:
            return None
        texts = read(raw).texts
        return self._check_length(sum(self.scheme.lengths(texts)), len(texts))

    def split(self, raw: Any) -> list[tuple[int, int, int]]:
        """Return (start, stop, tokens) of parts with at most ``max_length`` tokens, in characters; empty for a blank text.

        A part ends after a paragraph, else a sentence, else a word, if this leaves it reasonably full, and inside an annotated span
        only as a last resort. Several texts are one part, whose borders count texts.

        Raises:
            ValueError: it is not a text, its annotations are invalid, or it consists of several texts that are too long together.
        """
        text = raw[main_key(raw)] if isinstance(raw, Mapping) else raw
        texts = [text] if isinstance(text, str) else text if isinstance(text, list | tuple) else [text]
        if all(each is None or (isinstance(each, str) and not each.strip()) for each in texts):
            return []
        found = read(raw, tuple(self.annotations))
        spans = self._spans(found)
        if found.is_several:
            return [(0, len(found.texts), self.count(found.texts) or 0)]
        whole = [(span.start, span.stop) for each in spans.values() for span in each[0]]
        around = self.frame.size()
        parts = cut(found.texts[0], self.scheme, self.max_length - around, whole)
        return [(start, stop, size + around) for start, stop, size in parts]

    def split_many(self, raws: Sequence[Any]) -> list[list[tuple[int, int, int]]]:
        """Return ``split(raw)`` of each raw text. Those that fit are counted together, and only the others are cut.

        Raises:
            ValueError: one of them raises it.
        """
        around = self.frame.size()
        sizes = iter(self.scheme.lengths([raw.strip() for raw in raws if self._is_plain(raw)]))
        found = [self._uncut(raw, next(sizes)) if self._is_plain(raw) else None for raw in raws]
        return [
            self.split(raw) if place is None else [(*place[:2], place[2] + around)] if place[2] else []
            for raw, place in zip(raws, found, strict=True)
        ]

    def tokenize_many(self, raws: Sequence[Any]) -> list[list[tuple[int, int, Tokens]]]:
        """Return the parts of each raw text with their tokens. Texts that fit are encoded together.

        Raises:
            ValueError: one of them is refused.
        """
        return self.tokenize_columns(raws).each()

    def tokenize_columns(self, raws: Sequence[Any]) -> PartColumns:
        """Return the parts of each raw text with their tokens, concatenated; see :meth:`tokenize_many`."""
        if self.annotations:
            return PartColumns.of([self._own_parts(raw) for raw in raws], self.spec)
        is_plain = np.array([self._is_plain(raw) for raw in raws], bool)
        if is_plain.all():
            return self._columns(raws)
        own = {number: self._own_parts(raws[number]) for number in np.flatnonzero(~is_plain).tolist()}
        found = self._columns([raw for raw, plain in zip(raws, is_plain, strict=True) if plain])
        if not any(own.values()):  # blank
            parts = np.zeros(len(raws), np.int64)
            parts[is_plain] = found.parts
            return dataclasses.replace(found, parts=parts)
        each = iter(found.each())
        return PartColumns.of([own[number] if number in own else next(each) for number in range(len(raws))], self.spec)

    def _own_parts(self, raw: Any) -> list[tuple[int, int, Tokens]]:
        parts = [(start, stop, self.part(raw, start, stop)) for start, stop, _ in self.split(raw)]
        return [(start, stop, self(part, _NO_DRAW)) for start, stop, part in parts]

    def _columns(self, raws: Sequence[str]) -> PartColumns:
        """Return the tokens of the parts of texts without annotations, each a sequence of its own."""
        budget = self.max_length - self.frame.size()
        found = parts_of_texts(self.scheme, raws, budget, has_places=not self.left_out >= OPTIONAL)
        sizes = found.pieces.sizes
        num_special = (
            np.add.reduceat(self._is_frame[found.pieces.ids], np.cumsum(sizes) - sizes, dtype=np.int64) if len(sizes) else sizes
        )
        for part in np.flatnonzero(num_special == sizes)[:1].tolist():
            text = raws[int(found.number[part])][int(found.start[part]) : int(found.stop[part])]
            raise self._unknown(text, int(sizes[part]))
        self._check_length(int(sizes.max(initial=0)), 1)
        return columns_of_many(self.frame, found, raws, self._is_frame, self.left_out)

    def _is_plain(self, raw: Any) -> bool:
        return not self.annotations and is_plain(raw)

    def _uncut(self, raw: str, size: int) -> tuple[int, int, int] | None:
        """Return (start, stop, pieces) of the only part of a text with ``size`` pieces without the white space around it.

        Return None if it has several parts, or may have: white space can have pieces.
        """
        budget, text = self.max_length - self.frame.size(), raw.strip()
        if size > budget or len(raw) > longest_block(budget) or (text != raw and self.scheme.lengths([raw])[0] > budget):
            return None
        start = len(raw) - len(raw.lstrip())
        return start, start + len(text), size

    def part(self, raw: Any, start: int, stop: int) -> Any:
        """Return the text from ``start`` to ``stop``, with annotated spans clipped to it and counted from ``start``."""
        if isinstance(raw, str):
            return raw[start:stop]
        if not isinstance(raw, Mapping) or not isinstance(text := raw[main_key(raw)], str):
            return raw
        spans = {name: shifted(raw[name], start, stop) for name in self.annotations if raw.get(name) is not None}
        return {**raw, main_key(raw): text[start:stop], **spans}

    def shorten(self, raw: Any) -> Any:
        """Truncate a text to its first part. Of several texts, truncate the longest until all fit.

        Each text keeps its beginning. Annotated spans are clipped.

        Raises:
            ValueError: it is not a text, its annotations are invalid, or not even the beginnings of all fit.
        """
        text = raw[main_key(raw)] if isinstance(raw, Mapping) else raw
        if isinstance(text, str):
            parts = self.split(raw)
            return self.part(raw, *parts[0][:2]) if len(parts) > 1 else raw
        texts = read(text).texts
        sizes = self.scheme.lengths(texts)
        room = self.max_length - self.frame.size(len(texts))
        if sum(sizes) <= room:
            return raw
        whole = isinstance(raw, Mapping) and read(raw, tuple(self.annotations))
        kept = [
            (0, len(text)) if share == size else cut(text, self.scheme, share)[0][:2]
            for text, size, share in zip(texts, sizes, shares(sizes, room), strict=True)
        ]
        short = [text[start:stop] for text, (start, stop) in zip(texts, kept, strict=True)]
        if not whole:
            return short
        spans = {
            name: [shifted(each, *place) for each, place in zip(found, kept, strict=True)] for name, found in whole.spans.items()
        }
        return {**raw, main_key(raw): short, **spans}

    def fingerprint(self) -> str:
        """Return a digest of the vocabulary, which options do not include. Cached counts and parts depend on it."""
        return self.scheme.fingerprint()

    def _tokens(self, texts: Sequence[str], pieces: Sequence[Pieces], spans: Mapping[str, Sequence[Sequence[Span]]]) -> Tokens:
        """Frame the pieces of the texts of one sequence, and compute their fields."""
        for text, part in zip(texts, pieces, strict=True):
            self._check(text, part)
        sizes = [len(part.ids) for part in pieces]
        self._check_length(sum(sizes), len(sizes))
        where = places(self.frame, sizes)
        return Tokens(
            framed(self.frame, where, pieces),
            np.arange(where.length, dtype=np.float32)[:, None],
            {
                **fields(self.frame, where, texts, pieces, self._is_frame, self.left_out),
                **annotated(where, pieces, spans, self.annotations),
            },
        )

    def _check(self, text: str, pieces: Pieces) -> None:
        if self._is_frame[pieces.ids].all():
            raise self._unknown(text, len(pieces.ids))

    def _unknown(self, text: str, num_pieces: int) -> ValueError:
        return ValueError(f"the tokenizer knows none of the text: {text[:40]!r} becomes {num_pieces} special tokens")

    def _spans(self, found: Texts) -> dict[str, list[tuple[Span, ...]]]:
        """Return validated spans of every annotation, for every text."""
        return {
            name: [
                check_spans(name, kind, spans, len(text))
                for spans, text in zip(found.spans.get(name, [()] * len(found.texts)), found.texts, strict=True)
            ]
            for name, kind in self.annotations.items()
        }

    def _check_length(self, num_pieces: int, num_texts: int) -> int:
        around = self.frame.size(num_texts)
        if num_texts > 1 and not around and self.frame.size():
            _warn_unframed()
        length = num_pieces + around
        if length > self.max_length:
            raise ValueError(
                f"the text has {length:,} tokens, more than max_length {self.max_length:,}; raise it, or truncate the text"
            )
        return length


@cache
def _warn_unframed() -> None:
    """Warn once per process."""
    logger.warning(
        "the pair template of the tokenizer has no special tokens, so sequences of several texts have none; add "
        "a pair template to its post_processor"
    )
