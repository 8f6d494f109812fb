"""Published variants of masking and corruption keep the contracts, on chains of 20 residues with words, spans and scores."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from pathlib import Path

import numpy as np

from omnimask.component import named
from omnimask.components.corruptors.by_kind import ByKind
from omnimask.components.corruptors.cluster_substitute import ClusterSubstitute
from omnimask.components.corruptors.replace_units import ReplaceUnits
from omnimask.components.corruptors.scheduled import ScheduledCorruptor
from omnimask.components.corruptors.sketch import Sketch
from omnimask.components.corruptors.substitute import Substitute
from omnimask.components.corruptors.swap import Swap
from omnimask.components.corruptors.unit_token import UnitToken
from omnimask.components.maskers.annotated import AnnotatedMasker
from omnimask.components.maskers.choose import ChooseMasker
from omnimask.components.maskers.lexicon import LexiconMasker
from omnimask.components.maskers.ngram import NGramMasker
from omnimask.components.maskers.scheduled import ScheduledMasker
from omnimask.components.maskers.scored import ScoredMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.components.maskers.units import UnitMasker
from omnimask.components.units.lexicon import Lexicon
from omnimask.components.units.unit_pool import UnitPool
from omnimask.interfaces import Context, Corruptor, Draw, FieldSpec, Masker, Masking, Sample, Tokens, TokenSpec
from omnimask.interfaces.schedules import RatioSchedule
from omnimask.testing import CorruptorContract, MaskerContract, make_tokens

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


class TestLexicon(OfAChain):
    """Every n-gram of a third of the residues is in the lexicon, so that units of up to three are common."""

    ratio = 0.3

    def masker(self) -> Masker:
        ngrams = [ngram for length in (2, 3) for ngram in itertools.product(range(0, 20, 3), repeat=length)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lexicon.txt"
            Lexicon(20, tuple(ngrams), (1.0,) * len(ngrams)).save(path)
            return LexiconMasker(CONTEXT, ratio=0.3, lexicon=path)


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


RESERVED_RESIDUES = TokenSpec(vocabulary=20, special_ids={"mask": 3, "end": 5})


class OfIds(CorruptorContract):
    """What the network sees of hidden tokens is another id."""

    specs = {"chain": TokenSpec(vocabulary=20), "own": RESERVED_RESIDUES}


class TestSubstitute(OfIds):
    def corruptor(self, context: Context) -> Corruptor:
        return Substitute(context)


class TestClusterSubstitute(OfIds):
    def corruptor(self, context: Context) -> Corruptor:
        return ClusterSubstitute(context, clusters="random", num_clusters=4)


class TestSwap(OfIds):
    def corruptor(self, context: Context) -> Corruptor:
        return Swap(context)


class TestUnitToken(CorruptorContract):
    renumber = True

    def corruptor(self, context: Context) -> Corruptor:
        return UnitToken(context, renumber=self.renumber)


class TestUnitTokenWithEntries(TestUnitToken):
    """Pairs of neighbours are units of their own, with ids behind the vocabulary."""

    renumber = False

    def masking(self, sample: Sample, name: str, ratio: float) -> Masking:
        masking = super().masking(sample, name, ratio)
        unit = np.where(masking.is_target, np.arange(len(masking.is_target)) // 2, -1)
        return Masking(masking.is_visible, masking.is_target, unit, level=ratio, entry=np.where(unit >= 0, 50 + unit, -1))


class TestUnitTokenOfPatches(TestUnitToken):
    specs = {"patches": TokenSpec(width=(2, 3), axes=2)}
    renumber = False


class TestReplaceUnits(CorruptorContract):
    """Random stretches of two numbers are units; a visible one may show another."""

    specs = {"chain": TokenSpec(vocabulary=20, fields={"word": FieldSpec("int64")})}
    shows_all_visible = False
    rest = "mask_token"

    def corruptor(self, context: Context) -> Corruptor:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "units.txt"
            UnitPool(20, {-1: ((1,), (2, 3), (4, 5, 6, 7))}).save(path)
            return ReplaceUnits(context, field="word", units=path, rest=named("corruptor", self.rest))


class TestReplaceUnitsBesideSubstitutes(TestReplaceUnits):
    rest = "substitute"


class TestSketch(CorruptorContract):
    """The whole sample is written, what is visible as well."""

    answers_are_hidden = asks_all_targets = False
    renumber = True

    def corruptor(self, context: Context) -> Corruptor:
        return Sketch(context, renumber=self.renumber)


class TestSketchInPlace(TestSketch):
    renumber = False


class TestScheduledCorruptors(OfIds):
    """Contracts draw at the beginning of the run."""

    def corruptor(self, context: Context) -> Corruptor:
        corruptors = [named("corruptor", "mask_token"), named("corruptor", "bert")]
        return ScheduledCorruptor(context, corruptors=corruptors, until=[0.5])


class TestByKind(CorruptorContract):
    """Kinds of one length or another, with different special tokens."""

    asks_all_targets = answers_are_hidden = False

    def corruptor(self, context: Context) -> Corruptor:
        return ByKind(context, corruptors=[named("corruptor", "sentinel_spans", num_sentinels=64), named("corruptor", "sketch")])

    def masking(self, sample: Sample, name: str, ratio: float) -> Masking:
        return dataclasses.replace(super().masking(sample, name, ratio), kind=int(ratio > 0.5))
