"""Contract of maskers over several modalities."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import ClassVar

import numpy as np

from omnimask.interfaces import Draw, JointMasker, Masking, Sample, TokenSpec
from omnimask.testing import whole_batch
from omnimask.testing.masker import check_masking
from omnimask.testing.requirements import DRAW, disturb_global_randomness, require, require_picklable, same
from omnimask.testing.samples import make_sample


class JointMaskerContract(ABC):
    """Contract of a joint masker. Subclasses implement :meth:`masker`; samples have any subset of the modalities of ``specs``.

    Attributes:
        specs: of the modalities, in the recipe's order.
        lengths: tokens of every modality, if present.
        is_random: whether different samples are masked differently.
        needs_all: whether the masker may reject a sample lacking a modality with ``ValueError``, for example if it hides one
            modality given another.
    """

    specs: ClassVar[Mapping[str, TokenSpec]] = {"a": TokenSpec(vocabulary=50), "b": TokenSpec(width=(4,), axes=2)}
    lengths: ClassVar[Mapping[str, int]] = {"a": 12, "b": 16}
    is_random: ClassVar[bool] = True
    needs_all: ClassVar[bool] = False

    @abstractmethod
    def masker(self) -> JointMasker:
        """Return the masker, built as in a recipe: ``MyMasker(Context(specs=self.specs, modalities=tuple(self.specs)))``."""

    def sample(self, lengths: Mapping[str, int], draw: Draw = DRAW) -> Sample:
        """Return a sample to mask. Override it if the masker reads meaningful fields or labels."""
        return make_sample(self.specs, lengths, draw)

    def _partial(self) -> Iterator[Mapping[str, int]]:
        """Yield the lengths of samples with one modality, with two, ... with all."""
        for count in range(1, len(self.lengths) + 1):
            for names in combinations(self.lengths, count):
                yield {name: self.lengths[name] for name in names}

    def _masked(self, masker: JointMasker, lengths: Mapping[str, int]) -> Mapping[str, Masking] | None:
        """Return the maskings of a sample; None if the masker rejects it and may do so."""
        try:
            return masker(self.sample(lengths))
        except ValueError as error:
            is_whole = lengths.keys() == self.lengths.keys() and all(lengths.values())
            require(
                self.needs_all and not is_whole,
                f"a sample with {dict(lengths)} tokens raised ({error}); mask the modalities that are present, or "
                "set needs_all = True",
            )
            return None

    def test_every_modality_that_is_there_is_masked(self) -> None:
        masker = self.masker()
        for lengths in self._partial():
            found = self._masked(masker, lengths)
            if found is None:
                continue
            require(
                isinstance(found, Mapping) and all(name in found for name in lengths),
                f"the joint masker must return a masking for each of the modalities {list(lengths)} that a sample has",
            )
            for name, length in lengths.items():
                check_masking(found[name], length)

    def test_empty_modalities_are_no_error(self) -> None:
        masker = self.masker()
        for absent in self.lengths:
            lengths = {**self.lengths, absent: 0}
            found = self._masked(masker, lengths)
            if found is not None:
                check_masking(found[absent], 0)

    def test_deterministic_per_draw(self) -> None:
        masker, sample = self.masker(), self.sample(self.lengths)
        first = masker(sample)
        disturb_global_randomness(1)
        masker(self.sample(self.lengths, Draw(seed=3, epoch=1, key="another")))
        require(
            same(dict(first), dict(masker(sample))),
            "one draw gave two maskings; take every random number from sample.draw, and keep no state",
        )

    def test_another_sample_or_epoch_is_masked_differently(self) -> None:
        masker = self.masker()
        for what in ("key", "epoch", "seed") if self.is_random else ():
            draws = [Draw(**{"seed": 0, "epoch": 0, "key": "a", what: str(n) if what == "key" else n}) for n in range(8)]
            whole = self.sample(self.lengths)
            found = [masker(Sample(whole.tokens, draw, whole.modalities, whole.labels)) for draw in draws]
            patterns = {b"".join(np.asarray(one[name].is_target).tobytes() for name in self.lengths) for one in found}
            require(
                len(patterns) > 1,
                f"eight draws that differ in {what} gave one masking; draw from sample.draw, or set is_random = False",
            )

    def test_something_is_asked(self) -> None:
        masker, whole = self.masker(), self.sample(self.lengths)
        draws = [Draw(seed=0, epoch=0, key=str(number)) for number in range(20)]
        found = [masker(Sample(whole.tokens, draw, whole.modalities, whole.labels)) for draw in draws]
        asked = sum(int(np.count_nonzero(one[name].is_target)) for one in found for name in self.lengths)
        require(asked > 0, "twenty masked samples have no targets: a model would have nothing to learn")

    def test_whole_batch_equals_single_samples(self) -> None:
        """Check ``mask_batch``, if the masker has it, on a batch of samples with any of the modalities, bit for bit."""
        masker, lengths = self.masker(), [self.lengths] if self.needs_all else list(self._partial())
        draws = whole_batch.batch_draws(4 * len(lengths))
        samples = [self.sample(lengths[number % len(lengths)], draw) for number, draw in enumerate(draws)]
        for some in (samples, samples[:1]):
            whole_batch.check_joint_masker(masker, self.specs, some)

    def test_picklable(self) -> None:
        masker, sample = self.masker(), self.sample(self.lengths)
        again = require_picklable(masker, "the joint masker")
        require(same(dict(masker(sample)), dict(again(sample))), "a pickled joint masker differs from the original")

    def test_samples_are_not_changed(self) -> None:
        masker, sample = self.masker(), self.sample(self.lengths)
        before = copy.deepcopy(sample.tokens)
        masker(sample)
        require(same(dict(before), dict(sample.tokens)), "the joint masker changed its input; work on copies")
