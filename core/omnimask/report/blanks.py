"""Tokens asked of a model, and its candidates for them. L tokens of a sample, P store tokens, K columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, NOTHING, Blank, Candidate, MaskedBatch, Tokenizer, Tokens, TokenSpec
from omnimask.report.pieces import Speller

CANDIDATES = 5
"""Number of candidates to show for a token."""


@dataclass(frozen=True)
class Ranking:
    """Models' candidates for the P tokens of a modality: ``ids`` and ``probabilities`` (P, K) in order, and ``is_there`` (P,)."""

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    is_there: NDArray[np.bool_]

    def put(self, of: NDArray[np.int64], ids: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Store the candidates (N, K') of tokens that have none yet. Entries of -1 in ``of`` are skipped."""
        is_free = (of >= 0) & ~self.is_there[np.maximum(of, 0)] if len(self.is_there) else np.zeros(len(of), bool)
        width = min(ids.shape[1], self.ids.shape[1])
        self.ids[of[is_free], :width] = ids[is_free, :width]
        self.probabilities[of[is_free], :width] = probabilities[is_free, :width]
        self.is_there[of[is_free]] = True

    def part(self, start: int, stop: int) -> Ranking:
        """Return the ranking of some of the tokens."""
        return Ranking(self.ids[start:stop], self.probabilities[start:stop], self.is_there[start:stop])


def no_ranking(count: int, spec: TokenSpec) -> Ranking:
    """Return an empty ranking with room for ``CANDIDATES``, and for excluded ids."""
    columns = columns_of(spec)
    return Ranking(np.full((count, columns), -1), np.zeros((count, columns), np.float32), np.zeros(count, bool))


def columns_of(spec: TokenSpec) -> int:
    """Return K, the number of columns: ``CANDIDATES``, and the ids to exclude because they are not tokens."""
    return CANDIDATES + len(spec.special_ids) + spec.answers


def shown_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.int64]:
    """Return (P,) the form of each token in the first, main view: ``CONTENT``, an id, or ``NOTHING``.

    ``NOTHING`` also marks tokens without a slot in the view. Other views show the tokens hidden in this one. ``batch`` is on the
    host.
    """
    base, count = batch.base[modality], batch.store[modality].layout.num_slots
    found = np.full(count, NOTHING, np.int64)
    context = next(iter(batch.views.values())).context
    of, literal = np.asarray(context.source) - base, np.asarray(context.literal)
    is_here = (of >= 0) & (of < count)
    found[of[is_here]] = literal[is_here]
    return found


def asked_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.bool_]:
    """Return (P,) whether any view asks for a token. ``batch`` is on the host."""
    base, count = batch.base[modality], batch.store[modality].layout.num_slots
    is_asked = np.zeros(count, bool)
    for view in batch.views.values():
        for stream in (view.context, view.query):
            if stream is not None:
                of = np.asarray(stream.targets.of) - base
                is_asked[of[(of >= 0) & (of < count)]] = True
    return is_asked


def describe(
    tokens: Tokens,
    tokenizer: Tokenizer,
    spec: TokenSpec,
    shown: NDArray[np.int64],
    is_asked: NDArray[np.bool_],
    ranking: Ranking,
) -> tuple[tuple[str, ...], tuple[Blank, ...]]:
    """Return the pieces of a sample's text, and its blanks: tokens that were hidden, replaced, or asked for.

    Args:
        tokens: tokens of the sample, ids.
        tokenizer: tokenizer of the modality.
        spec: spec of the modality.
        shown: (L,) from :func:`shown_in_store`.
        is_asked: (L,) whether a token is asked for.
        ranking: ranking of the L tokens.
    """
    speller = Speller(tokens, tokenizer, spec)

    def blank(at: int) -> Blank:
        right, literal = int(tokens.content[at]), int(shown[at])
        truth = None if right == spec.special_ids.get("mask") else _spelt(speller, at, right)
        seen = truth if literal == CONTENT else None if literal < 0 or _is_no_token(literal, spec) else speller.piece(at, literal)
        return Blank(at, truth, seen, tuple(_candidates(speller, at, ranking, spec)))

    blanks = tuple(blank(at) for at in np.flatnonzero((shown != CONTENT) | is_asked).tolist())
    return speller.pieces, blanks


def _spelt(speller: Speller, at: int, right: int) -> str:
    return speller.pieces[at] if speller.is_text else str(right)


def _candidates(speller: Speller, at: int, ranking: Ranking, spec: TokenSpec) -> Iterator[Candidate]:
    left = CANDIDATES
    for number, probability in zip(ranking.ids[at].tolist(), ranking.probabilities[at].tolist(), strict=True):
        if left and number >= 0 and not _is_no_token(number, spec):
            left -= 1
            yield Candidate(speller.piece(at, number), probability)


def _is_no_token(number: int, spec: TokenSpec) -> bool:
    """Return whether an id is special, in the tokenizer or after the vocabulary."""
    return number >= (spec.vocabulary or 0) or number in spec.special_ids.values()
