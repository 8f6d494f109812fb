"""Published variants of masking and corruption keep the contracts, on chains of 20 residues with words, spans and scores."""

from __future__ import annotations

import numpy as np

from omnimask.component import named
from omnimask.interfaces import Context, Draw, FieldSpec, Masker, Tokens, TokenSpec
from omnimask.maskers.annotated import AnnotatedMasker
from omnimask.maskers.choose import ChooseMasker
from omnimask.maskers.ngram import NGramMasker
from omnimask.maskers.scheduled import ScheduledMasker
from omnimask.maskers.scored import ScoredMasker
from omnimask.maskers.span import SpanMasker
from omnimask.maskers.units import UnitMasker
from omnimask.scheduled import RatioSchedule
from omnimask.testing import MaskerContract, make_tokens

FIELDS = {
    "word": FieldSpec("int64"),
    "site": FieldSpec("int64"),
    "site.class": FieldSpec("int64", classes=2),
    "score": FieldSpec("float32"),
}
RESIDUES = TokenSpec(vocabulary=20, fields=FIELDS)
CONTEXT = Context(specs={"chain": RESIDUES}, modalities=("chain",))


class OfAChain(MaskerContract):
    spec = RESIDUES

    def tokens(self, length: int, draw: Draw) -> Tokens:
        """Words of three residues; the first two of every five residues are a site."""
        tokens, place = make_tokens(self.spec, length, draw), np.arange(length)
        site = np.where(place % 5 < 2, place // 5, -1)
        score = np.where(place % 4 == 3, np.nan, 1 + tokens.fields["score"] ** 2).astype(np.float32)
        fields = {"word": place // 3, "site": site, "site.class": np.where(site >= 0, site % 2, -1), "score": score}
        return Tokens(tokens.content, tokens.positions, fields)


class TestGeometricSpan(OfAChain):
    ratio = 0.15

    def masker(self) -> Masker:
        return SpanMasker(CONTEXT, lengths="geometric", field="word")


class TestGeometricSpanOfVectors(MaskerContract):
    ratio = 0.4

    def masker(self) -> Masker:
        return SpanMasker(Context(), ratio=0.4, lengths="geometric")


class TestUnits(OfAChain):
    ratio = 0.3

    def masker(self) -> Masker:
        return UnitMasker(CONTEXT, ratio=0.3)


class TestNGram(OfAChain):
    ratio = 0.15

    def masker(self) -> Masker:
        return NGramMasker(CONTEXT, field="word")


class TestNGramOfVectors(MaskerContract):
    ratio = 0.4

    def masker(self) -> Masker:
        return NGramMasker(Context(), ratio=0.4)


class TestAnnotated(OfAChain):
    """Two of five residues are candidates; 15 % of all tokens is less."""

    ratio = 0.15
    lengths = (0, 17, 64)

    def masker(self) -> Masker:
        return AnnotatedMasker(CONTEXT, fields=["site"], ratio=0.15, share_of="tokens")


class TestOneOfASpan(OfAChain):
    def masker(self) -> Masker:
        return AnnotatedMasker(CONTEXT, fields=["site"], ratio=0.5, per_span="one", classes={"site": [1]})


class TestAnnotatedAndTheRest(OfAChain):
    ratio = 0.5

    def masker(self) -> Masker:
        return AnnotatedMasker(CONTEXT, fields=["site"], ratio=0.5, per_span="any", rest=named("masker", "random", ratio=0.5))


class TestAllButTheAnnotated(OfAChain):
    def masker(self) -> Masker:
        return AnnotatedMasker(CONTEXT, fields=["site"], ratio=0.8, inverse=True, fallback=named("masker", "span", ratio=0.8))


class TestScored(OfAChain):
    """Three of four residues have a score."""

    ratio, is_exact = 0.5, True
    lengths = (0, 1, 2, 3, 17, 64)

    def masker(self) -> Masker:
        return ScoredMasker(CONTEXT, ratio=0.5, pick="sampled", weighted=True)


class TestHighest(OfAChain):
    def masker(self) -> Masker:
        return ScoredMasker(CONTEXT, ratio=0.5)


class TestRatioOverTheRun(OfAChain):
    """Contracts draw at the beginning of the run."""

    ratio, is_exact = 0.3, True

    def masker(self) -> Masker:
        return SpanMasker(CONTEXT, ratio=RatioSchedule(schedule="cosine", start=0.3, end=0.1))


class TestScheduled(OfAChain):
    ratio, is_exact = 0.3, True

    def masker(self) -> Masker:
        maskers = [named("masker", "random", ratio=0.3), named("masker", "units", ratio=0.5)]
        return ScheduledMasker(CONTEXT, maskers=maskers, until=[0.5])


class TestChoose(OfAChain):
    ratio = 0.25 * 0.3 + 0.75 * 0.7

    def masker(self) -> Masker:
        maskers = [named("masker", "random", ratio=0.3), named("masker", "ngram", ratio=0.7)]
        return ChooseMasker(CONTEXT, maskers=maskers, weights=[1, 3])
