"""Contract of maskers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from omnimask.data import border
from omnimask.interfaces import Draw, Masker, Masking, Tokens, TokenSpec
from omnimask.testing import whole_batch
from omnimask.testing.requirements import DRAW, disturb_global_randomness, draws, require, require_picklable, same
from omnimask.testing.samples import LENGTHS, make_tokens

NUM_DRAWS = 400
DEVIATIONS = 5.0


class MaskerContract(ABC):
    """Contract of a masker. Subclasses implement :meth:`masker` and declare its guarantees.

    Attributes:
        ratio: expected share of target tokens; None if the masker declares none.
        is_exact: whether every sample has ``ratio * length`` targets, rounded up or down.
        spec: of the synthetic tokens to mask.
        lengths: numbers of tokens to try.
    """

    ratio: ClassVar[float | None] = None
    is_exact: ClassVar[bool] = False
    spec: ClassVar[TokenSpec] = TokenSpec(width=(4,))
    lengths: ClassVar[Sequence[int]] = LENGTHS

    @abstractmethod
    def masker(self) -> Masker:
        """Return the masker, built as in a recipe."""

    def tokens(self, length: int, draw: Draw) -> Tokens:
        """Return tokens to mask. Override it if the masker reads meaningful fields."""
        return make_tokens(self.spec, length, draw)

    def test_shapes_and_types(self) -> None:
        masker = self.masker()
        for length in self.lengths:
            tokens = self.tokens(length, DRAW)
            check_masking(masker(tokens, DRAW), len(tokens))

    def test_deterministic_per_draw(self) -> None:
        masker = self.masker()
        for length in self.lengths:
            tokens = self.tokens(length, DRAW)
            first = masker(tokens, DRAW)
            disturb_global_randomness(length)
            masker(tokens, Draw(seed=3, epoch=1, key="another"))
            require(
                same(first, masker(tokens, DRAW)),
                f"{length} tokens: one draw gave two maskings; take every random number from the draw, and keep no state",
            )

    def test_another_sample_or_epoch_is_masked_differently(self) -> None:
        if self.ratio is None or self.ratio in (0.0, 1.0):
            return
        masker, tokens = self.masker(), self.tokens(max(self.lengths), DRAW)
        for what in ("key", "epoch", "seed"):
            changed = [Draw(**{"seed": 0, "epoch": 0, "key": "a", what: str(n) if what == "key" else n}) for n in range(8)]
            patterns = {np.asarray(masker(tokens, draw).is_target).tobytes() for draw in changed}
            require(len(patterns) > 1, f"eight draws that differ in {what} gave one masking; use draw.rng or draw.uniform directly")

    def test_coverage(self) -> None:
        """Check the mean share over many draws: within five standard errors of the declared one."""
        if self.ratio is None:
            return
        masker = self.masker()
        for length in self.lengths:
            tokens = self.tokens(length, DRAW)
            if not len(tokens):
                continue
            counts = np.array([np.count_nonzero(masker(tokens, draw).is_target) for draw in draws(NUM_DRAWS)])
            expected = self.ratio * len(tokens)
            rest = expected - np.floor(expected + 1e-9)
            deviation = max(float(counts.std()), float(np.sqrt(max(rest * (1 - rest), 0.0))))
            allowed = DEVIATIONS * deviation / np.sqrt(NUM_DRAWS) + 1e-6
            require(
                abs(counts.mean() - expected) <= allowed,
                f"{len(tokens)} tokens: {counts.mean():.3f} targets on average over {NUM_DRAWS} draws, but ratio "
                f"{self.ratio} implies {expected:.3f} +- {allowed:.3f}; correct the masker or the ratio declared "
                "in the test",
            )
            if self.is_exact:
                low, high = np.floor(expected + 1e-9), np.ceil(expected - 1e-9)
                require(
                    bool(np.all((counts >= low) & (counts <= high))),
                    f"{len(tokens)} tokens: between {counts.min()} and {counts.max()} targets, but an exact "
                    f"masker has {low:.0f} or {high:.0f}; set is_exact = False if the number may vary",
                )

    def test_whole_batch_equals_single_samples(self) -> None:
        """Check ``mask_batch``, if the masker has it, on batches of samples of any length, bit for bit."""
        masker = self.masker()
        for lengths in whole_batch.ragged(self.lengths):
            draws = whole_batch.batch_draws(len(lengths))
            tokens = [self.tokens(length, draw) for length, draw in zip(lengths, draws, strict=True)]
            whole_batch.check_masker(masker, self.spec, tokens, draws)

    def test_picklable(self) -> None:
        masker, tokens = self.masker(), self.tokens(max(self.lengths), DRAW)
        again = require_picklable(masker, "the masker")
        require(same(masker(tokens, DRAW), again(tokens, DRAW)), "a pickled masker differs from the original")

    def test_tokens_are_not_changed(self) -> None:
        masker = self.masker()
        for length in self.lengths:
            tokens = self.tokens(length, DRAW)
            before = copy.deepcopy(tokens)
            masker(tokens, DRAW)
            require(same(before, tokens), "the masker changed its input; work on copies")


def check_masking(masking: Masking, length: int) -> None:
    """Compare a masking of ``length`` tokens with its interface."""
    try:
        border.check_masking(masking, length)
    except border.Breach as breach:
        raise AssertionError(f"the masker: {breach}") from breach
