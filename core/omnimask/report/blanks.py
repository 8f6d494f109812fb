"""The tokens that a model was asked for, and what it would put in their places. L tokens of a sample, P store tokens, K columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, NOTHING, Blank, Candidate, MaskedBatch, Tokenizer, Tokens, TokenSpec
from omnimask.report.pieces import Speller

CANDIDATES = 5
"""So many candidates are shown for a token."""


@dataclass(frozen=True)
class Ranking:
    """What models say for the P tokens of a modality: ``ids`` and ``probabilities`` (P, K) in order, and ``is_there`` (P,)."""

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    is_there: NDArray[np.bool_]

    def put(self, of: NDArray[np.int64], ids: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Writes the candidates (N, K') of tokens that have none yet; -1 in ``of`` is no token."""
        is_free = (of >= 0) & ~self.is_there[np.maximum(of, 0)] if len(self.is_there) else np.zeros(len(of), bool)
        width = min(ids.shape[1], self.ids.shape[1])
        self.ids[of[is_free], :width] = ids[is_free, :width]
        self.probabilities[of[is_free], :width] = probabilities[is_free, :width]
        self.is_there[of[is_free]] = True

    def part(self, start: int, stop: int) -> Ranking:
        """Of some of the tokens."""
        return Ranking(self.ids[start:stop], self.probabilities[start:stop], self.is_there[start:stop])


def no_ranking(count: int, spec: TokenSpec) -> Ranking:
    """Nothing is said of any token; there is room for ``CANDIDATES`` and for the ids that are left out of them."""
    columns = columns_of(spec)
    return Ranking(np.full((count, columns), -1), np.zeros((count, columns), np.float32), np.zeros(count, bool))


def columns_of(spec: TokenSpec) -> int:
    """K, with which ``CANDIDATES`` remain when ids that stand for no token are left out."""
    return CANDIDATES + len(spec.special_ids) + spec.answers


def shown_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.int64]:
    """(P,) what the first view, which is the main one, shows of a token: ``CONTENT``, an id, or ``NOTHING``, also where it has no
    slot for it; ``batch`` on the host. Other views show what is hidden in this one."""
    base, count = batch.base[modality], batch.store[modality].layout.num_slots
    found = np.full(count, NOTHING, np.int64)
    context = next(iter(batch.views.values())).context
    of, literal = np.asarray(context.source) - base, np.asarray(context.literal)
    is_here = (of >= 0) & (of < count)
    found[of[is_here]] = literal[is_here]
    return found


def asked_in_store(batch: MaskedBatch, modality: str) -> NDArray[np.bool_]:
    """(P,) whether any view asks for a token; ``batch`` on the host."""
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
    """The pieces of a sample's text, and its blanks: tokens that were hidden, shown as something else, or asked for.

    Args:
        tokens: of the sample, ids.
        tokenizer: of the modality.
        spec: of the modality.
        shown: (L,) as :func:`shown_in_store` gives it.
        is_asked: (L,).
        ranking: of the L tokens.
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
    """Whether an id is a special one, of the tokenizer or after the vocabulary."""
    return number >= (spec.vocabulary or 0) or number in spec.special_ids.values()
