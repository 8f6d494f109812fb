"""Pairs of spans from the same or different paragraphs or documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw
from omnimask_text.groups.transforms import check_label, text_of, the_modality
from omnimask_text.tokenize.characters import EMPTY_LINE, paragraph_starts, sentence_starts

Objective: TypeAlias = Literal["same_paragraph", "in_paragraph", "same_document"]
Paragraphs: TypeAlias = Literal["empty_line", "line"]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Text:
    """A text and its suitable ``paragraphs``, each as the characters [start, stop) of its sentences."""

    text: str
    paragraphs: Sequence[Sequence[tuple[int, int]]]

    def between(self, sentences: Sequence[tuple[int, int]]) -> str:
        """Return the text from the first to the last of adjacent sentences."""
        return self.text[sentences[0][0] : sentences[-1][1]]


class SpanPairs:
    """A pair of spans of every text, with a label for whether they belong together (the sentence-level objectives of [0]).

    - ``same_paragraph`` (SSP): two spans of sentences, from one paragraph or not;
    - ``in_paragraph`` (SP): a span of sentences, and the rest of its paragraph, or of another one without a span;
    - ``same_document`` (PSD): two paragraphs, from one document or not.

    The second span of a negative pair comes from another paragraph of the same text (a hard negative), or from another document in
    the group. Each span is drawn in the same way regardless of its source, so a single span reveals nothing about the label. The
    two spans never overlap, and no text provides a second span twice.

    Texts with too few sentences or paragraphs for a pair are omitted. If a group has no other document to provide a span, hard
    negatives replace easy ones, and vice versa. The tokenizer shortens a pair that is too long for a sequence, the longer span
    first.

    Args:
        sets: name of the label it sets, with two classes: 1 if the spans belong together, else 0.
        objective: one of the three.
        sentences: minimum and maximum number of sentences of a span, as far as available.
        positive: probability of a positive pair.
        hard: probability that the second span of a negative pair comes from the same text; no effect with ``same_document``.
        paragraphs: their ends: at an ``empty_line``, or also at the end of a ``line`` that ends a sentence.
        modality: the one with the texts, if the recipe has several.

    [0] Di Liello et al.: Pre-training Transformer Models with Sentence-Level Objectives for Answer Sentence Selection, 2022.
    """

    growth = 2.0

    def __init__(
        self,
        context: Context,
        *,
        sets: Annotated[str, Field(description="name of the label")],
        objective: Annotated[Objective, Field(description="relation of the pair to predict")] = "same_paragraph",
        sentences: Annotated[tuple[int, int], Field(description="minimum and maximum number per span")] = (1, 3),
        positive: Annotated[Share, Field(description="probability of a positive pair")] = 0.5,
        hard: Annotated[Share, Field(description="probability that a negative pair is from the same text")] = 0.5,
        paragraphs: Annotated[Paragraphs, Field(description="boundaries of paragraphs")] = "empty_line",
        modality: Annotated[str | None, Field(description="modality with the texts, if there are several")] = None,
    ) -> None:
        if not 1 <= sentences[0] <= sentences[1]:
            raise ValueError(
                f"sentences {list(sentences)}: a span needs at least one, and the first number must be the smaller one"
            )
        check_label(context, sets, classes=2)
        self.label, self.objective, self.sentences = sets, objective, sentences
        self.positive, self.hard = positive, hard
        self.paragraphs: Paragraphs = paragraphs
        self.modality = the_modality(context, modality)

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        """Return a row for each text suitable for a pair.

        Raises:
            ValueError: a value is not a single text.
        """
        texts = [self._read(text_of(row, self.modality)) for row in rows]
        is_lent = [not self._serves(text) for text in texts]
        found: list[Mapping[str, Any]] = []
        for row, text, draw in zip(rows, texts, draws, strict=True):
            if not self._serves(text):
                continue
            lenders = [n for n, other in enumerate(draws) if not is_lent[n] and other.whole != draw.whole]
            kind = self._kind(draw, can_be_hard=self._can_be_hard(text), can_be_easy=bool(lenders))
            if kind is None:
                continue
            other = None
            if kind == "easy":
                lender = lenders[int(draw.uniform(1, "lender")[0] * len(lenders))]
                is_lent[lender] = True
                other = texts[lender]
            pair = self._pair(text, other, kind, draw.rng("spans"))
            found.append({**row, self.modality: pair, self.label: int(kind == "positive")})
        return found

    def _serves(self, text: Text) -> bool:
        return len(text.paragraphs) >= (2 if self.objective == "same_document" else 1)

    def _can_be_hard(self, text: Text) -> bool:
        return self.objective != "same_document" and len(text.paragraphs) >= 2

    def _kind(self, draw: Draw, *, can_be_hard: bool, can_be_easy: bool) -> Literal["positive", "hard", "easy"] | None:
        chance, share = draw.uniform(2, "kind").tolist()
        if chance < self.positive:
            return "positive"
        if can_be_hard and (share < self.hard or not can_be_easy):
            return "hard"
        return "easy" if can_be_easy else None

    def _read(self, text: str) -> Text:
        least = 1 if self.objective == "same_document" else 2
        found = [_sentences(text, start, stop) for start, stop in _paragraphs(text, self.paragraphs)]
        return Text(text, [sentences for sentences in found if len(sentences) >= least])

    def _pair(self, text: Text, other: Text | None, kind: str, rng: np.random.Generator) -> list[str]:
        """Return two spans. The second is drawn like that of a positive pair, in another paragraph or text."""
        places = rng.permutation(len(text.paragraphs)).tolist()
        first = text.paragraphs[places[0]]
        if self.objective == "same_document":
            owner = text if other is None else other
            second = text.paragraphs[places[1]] if other is None else owner.paragraphs[int(rng.integers(len(owner.paragraphs)))]
            return [text.between(first), owner.between(second)]
        one, two = self._split(text, first, rng)
        if kind == "hard":
            _, two = self._split(text, text.paragraphs[places[1]], rng)
        elif other is not None:
            _, two = self._split(other, other.paragraphs[int(rng.integers(len(other.paragraphs)))], rng)
        return [one, two]

    def _split(self, text: Text, sentences: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[str, str]:
        """Split a paragraph into two spans without overlap, in any order, or into a span and the rest."""
        least, most = self.sentences
        if self.objective == "in_paragraph":
            size = min(len(sentences) - 1, int(rng.integers(least, most + 1)))
            at = int(rng.integers(len(sentences) - size + 1))
            rest = [part for part in (sentences[:at], sentences[at + size :]) if part]
            return text.between(sentences[at : at + size]), " ".join(text.between(part) for part in rest)
        border = int(rng.integers(1, len(sentences)))
        spans = [self._span(text, part, rng) for part in (sentences[:border], sentences[border:])]
        return (spans[0], spans[1]) if rng.random() < 0.5 else (spans[1], spans[0])

    def _span(self, text: Text, sentences: Sequence[tuple[int, int]], rng: np.random.Generator) -> str:
        least, most = self.sentences
        size = min(len(sentences), int(rng.integers(least, most + 1)))
        at = int(rng.integers(len(sentences) - size + 1))
        return text.between(sentences[at : at + size])


def _paragraphs(text: str, end: Paragraphs) -> list[tuple[int, int]]:
    """Return [start, stop) of every paragraph."""
    starts = paragraph_starts(text).tolist() if end == "line" else [found.end() for found in EMPTY_LINE.finditer(text)]
    bounds = [0, *(start for start in starts if start < len(text)), len(text)]
    return list(pairwise(bounds))


def _sentences(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Return [start, stop) of the sentences of a paragraph, without surrounding white space."""
    part = text[start:stop]
    bounds = [0, *sentence_starts(part).tolist(), len(part)]
    found: list[tuple[int, int]] = []
    for first, last in pairwise(bounds):
        sentence = part[first:last]
        begin = start + first + len(sentence) - len(sentence.lstrip())
        end = start + first + len(sentence.rstrip())
        found += [(begin, end)] if begin < end else []
    return found
