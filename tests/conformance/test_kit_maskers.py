"""The kit finds what is wrong with maskers and corruptors: one broken component for every promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pytest

from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.random import RandomMasker
from omnimask.interfaces import Context, Corruptor, Draw, Masker, Masking, Sample, Tokens, View
from omnimask.streams import sequence
from omnimask.testing import CorruptorContract, JointMaskerContract, MaskerContract

from .failing import finds


class Faulty:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.masker = RandomMasker(Context(), ratio=0.33 if fault == "coverage" else 0.3)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        if self.fault == "global randomness":
            is_target = np.random.random(len(tokens)) < 0.3  # noqa: NPY002
            return Masking(~is_target, is_target)
        if self.fault == "ignores the epoch":
            draw = dataclasses.replace(draw, epoch=0)
        if self.fault == "binomial":
            is_target = draw.uniform(len(tokens)) < 0.3
            return Masking(~is_target, is_target)
        masking = self.masker(tokens, draw)
        if self.fault == "integers":
            return dataclasses.replace(masking, is_visible=masking.is_visible.astype(int))
        if self.fault == "changes positions":
            tokens.positions[:] += 1
        return masking


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("global randomness", "test_deterministic_per_draw", "one draw gave two maskings"),
        ("ignores the epoch", "test_another_sample_or_epoch_is_masked_differently", "differ in epoch gave one masking"),
        ("coverage", "test_coverage", "ratio 0.3 implies 5.100"),
        ("binomial", "test_coverage", "an exact masker has"),
        ("integers", "test_shapes_and_types", "is_visible has dtype int64; expected bool"),
        ("changes positions", "test_tokens_are_not_changed", "work on copies"),
    ],
)
def test_masker_contract(fault: str, test: str, message: str) -> None:
    class Contract(MaskerContract):
        ratio, is_exact = 0.3, True
        lengths: ClassVar[Sequence[int]] = (0, 17, 64) if fault == "coverage" else (0, 1, 64)

        def masker(self) -> Masker:
            return Faulty(fault)

    finds(Contract(), test, message)


# ---- maskers over several modalities


class FaultyTogether:
    """Hides one modality given another, and breaks one promise."""

    def __init__(self, fault: str) -> None:
        self.fault, self.calls = fault, 0

    def __call__(self, sample: Sample) -> dict[str, Masking]:
        self.calls += 1
        names = list(sample.tokens)
        if self.fault == "refuses" and len(names) == 1:
            raise ValueError("nothing is given")
        hidden = names[int(sample.draw.uniform(1, "which")[0] * len(names))]
        if self.fault == "keeps state":
            hidden = names[self.calls // 2 % len(names)]
        if self.fault == "always the first":
            hidden = names[0]
        found = {}
        for name, tokens in sample.tokens.items():
            is_target = np.full(len(tokens) - (self.fault == "one short" and len(names) == 2), name == hidden)
            found[name] = Masking(~is_target, is_target & (self.fault != "asks nothing"))
        if self.fault == "forgets the last":
            del found[names[-1]]
        if self.fault == "changes tokens":
            sample.tokens[hidden].positions[:] += 1
        return found


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("refuses", "test_every_modality_that_is_there_is_masked", r"\{'a': 12\} tokens raised \(nothing is given\);"),
        ("one short", "test_every_modality_that_is_there_is_masked", r"is_visible has shape \(11,\); expected \(12,\)"),
        ("forgets the last", "test_every_modality_that_is_there_is_masked", "a masking for each of the modalities"),
        ("keeps state", "test_deterministic_per_draw", "one draw gave two maskings"),
        ("always the first", "test_another_sample_or_epoch_is_masked_differently", "differ in key gave one masking"),
        ("asks nothing", "test_something_is_asked", "a model would have nothing to learn"),
        ("changes tokens", "test_samples_are_not_changed", "work on copies"),
    ],
)
def test_joint_masker_contract(fault: str, test: str, message: str) -> None:
    class Contract(JointMaskerContract):
        def masker(self) -> FaultyTogether:
            return FaultyTogether(fault)

    finds(Contract(), test, message)


class TestFaultlessTogether(JointMaskerContract):
    def masker(self) -> FaultyTogether:
        return FaultyTogether("")


class TestRefusingTogether(JointMaskerContract):
    needs_all = True

    def masker(self) -> FaultyTogether:
        return FaultyTogether("refuses")


# ---- corruptors


class Wrong(MaskToken):
    fault: ClassVar[str]

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        view = super().__call__(sample, masking)
        context, table = view.context, view.context.targets
        if self.fault == "shows hidden":
            return View(dataclasses.replace(context, literal=np.full_like(context.literal, -1)))
        if self.fault == "undeclared id":
            return View(dataclasses.replace(context, literal=np.where(context.literal >= 0, 12, -1)))
        if self.fault == "loses visible":
            return View(sequence(sample, np.zeros(0, int)))
        if self.fault == "forgets targets":
            return View(sequence(sample, context.source, literal=context.literal))
        if self.fault == "beyond the slots":
            return View(dataclasses.replace(context, targets=dataclasses.replace(table, at=table.at + 1)))
        if self.fault == "says prefix":
            layout = dataclasses.replace(context.layout, attention="ranked", prefix=context.layout.lengths // 2)
            return View(dataclasses.replace(context, layout=layout))
        layout = dataclasses.replace(context.layout, attention="causal")
        return View(dataclasses.replace(context, layout=layout))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("shows hidden", "test_visible_and_hidden_tokens", "contains the content of masked tokens"),
        ("shows hidden", "test_no_slot_sees_its_answer", "sees a slot with its content;"),
        ("undeclared id", "test_views_are_well_formed", "declare inserted ids in `specials`"),
        ("loses visible", "test_visible_and_hidden_tokens", r"\[0\] are missing from the context"),
        ("forgets targets", "test_every_target_is_asked", r"the masking, got \[\]"),
        ("beyond the slots", "test_views_are_well_formed", "targets.at must"),
        ("says causal", "test_views_are_well_formed", "ranks do not increase by"),
        ("says prefix", "test_views_are_well_formed", r"layout.prefix is \[\d+\], but ranks or blocks differ from it"),
    ],
)
def test_corruptor_contract(fault: str, test: str, message: str) -> None:
    class Contract(CorruptorContract):
        def corruptor(self, context: Context) -> Corruptor:
            return type("Wrong", (Wrong,), {"fault": fault})(context)

    finds(Contract(), test, message)
