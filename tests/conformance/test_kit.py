"""The kit finds what it is there to find: one broken component for every promise, and the words that the author reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from omnimask.component import Component, named
from omnimask.corruptors.mask_token import MaskToken
from omnimask.encoders.transformer import TransformerEncoder
from omnimask.interfaces import (
    Context,
    Corruptor,
    Draw,
    Encoded,
    MaskedBatch,
    Masker,
    Masking,
    Packed,
    Run,
    Sample,
    Stream,
    Tokens,
    View,
)
from omnimask.maskers.random import RandomMasker
from omnimask.predictors.in_place import InPlace
from omnimask.streams import sequence
from omnimask.testing import (
    CorruptorContract,
    DatasetContract,
    DecoderContract,
    EncoderContract,
    MaskerContract,
    PluginContract,
    PredictorContract,
    TokenizerContract,
)
from omnimask.testing.synthetic import Letters, Waves


def finds(contract: object, test: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(contract, test)()


# ---- tokenizers and decoders


class Careless(Letters):
    """Breaks one promise, by name."""

    def __init__(self, context: Context, *, fault: str) -> None:
        self.fault = fault
        if fault == "unpicklable":
            self.reader = lambda: None

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        if self.fault == "type error":
            return super().__call__([*raw, None], draw)
        tokens = super().__call__(raw, draw)
        if self.fault == "global randomness":
            return dataclasses.replace(tokens, content=np.random.permutation(tokens.content))  # noqa: NPY002
        if self.fault == "beyond the vocabulary":
            return dataclasses.replace(tokens, content=tokens.content + 7)
        if self.fault == "double positions":
            return dataclasses.replace(tokens, positions=tokens.positions.astype(np.float64))
        return tokens

    def decode(self, tokens: Tokens) -> Any:
        return tokens.content[::-1] if self.fault == "round trip" else tokens.content

    def count(self, raw: Any) -> int | None:
        return 3 if self.fault == "count" else None


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("round trip", "test_round_trip", "make decode the inverse"),
        ("global randomness", "test_deterministic_per_draw", "take every random number from draw"),
        ("beyond the vocabulary", "test_tokens_agree_with_the_spec", "the spec's vocabulary is 7"),
        ("double positions", "test_tokens_agree_with_the_spec", "positions must be float32"),
        ("count", "test_count_agrees", "count.raw. says 3, and there are 40"),
        ("unpicklable", "test_picklable", "loader workers receive it that way"),
        ("type error", "test_bad_values_are_value_errors", "must raise ValueError"),
        ("accepts everything", "test_bad_values_are_value_errors", "accepted without an error"),
    ],
)
def test_tokenizer_contract(fault: str, test: str, message: str) -> None:
    class Contract(TokenizerContract):
        def tokenizer(self) -> Any:
            return Careless(Context(), fault=fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.arange(40) % 7]

        def bad_values(self) -> Mapping[str, Any]:
            return {"too large": np.array([9])}

    finds(Contract(), test, message)


def test_decoder_contract() -> None:
    class Contract(DecoderContract):
        def decoder(self) -> Any:
            return bytes.decode

        def good_files(self) -> Mapping[str, bytes]:
            return {"a": "ä".encode()}

    finds(Contract(), "test_bad_files_are_value_errors", "accepted without an error")


# ---- maskers


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
        ("coverage", "test_coverage", "ratio 0.3 promises 5.100"),
        ("binomial", "test_coverage", "an exact masker gives"),
        ("integers", "test_shapes_and_types", "is_visible must be bool"),
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
        layout = dataclasses.replace(context.layout, attention="causal")
        return View(dataclasses.replace(context, layout=layout))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("shows hidden", "test_visible_and_hidden_tokens", "shows the content of hidden tokens"),
        ("shows hidden", "test_no_slot_sees_its_answer", "sees a slot that shows its content"),
        ("undeclared id", "test_views_are_well_formed", "declare what it inserts in `specials`"),
        ("loses visible", "test_visible_and_hidden_tokens", "do not appear in the context"),
        ("forgets targets", "test_every_target_is_asked", "the masking asks for tokens"),
        ("beyond the slots", "test_views_are_well_formed", "targets.at leaves"),
        ("says causal", "test_views_are_well_formed", "ranks do not count up"),
    ],
)
def test_corruptor_contract(fault: str, test: str, message: str) -> None:
    class Contract(CorruptorContract):
        def corruptor(self, context: Context) -> Corruptor:
            return type("Wrong", (Wrong,), {"fault": fault})(context)

    finds(Contract(), test, message)


# ---- models


class Leaky(TransformerEncoder):
    """Mixes what it must not mix, after the blocks."""

    fault: ClassVar[str]

    def forward(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded:
        encoded = super().forward(embedded, stream, batch, layers=layers)
        x = encoded.features.data
        if self.fault == "mixes samples":
            x = x + 0.01 * x.mean(0)
        if self.fault == "batch norm":
            x = nn.functional.batch_norm(x, None, None, training=True)
        if self.fault == "reads the store":
            x = x + 0.01 * batch.store["letters"].data[stream.source].float()[:, None]
        if self.fault == "reads nothing":
            x = x * 0 + torch.arange(len(x))[:, None]
        if self.fault == "detached":
            x = x.detach()
        if self.fault == "not finite":
            x = x * torch.inf
        return dataclasses.replace(encoded, features=Packed(x, stream.layout))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("mixes samples", "test_packed_equals_one_by_one", "samples influence each other"),
        ("mixes samples", "test_tokens_reach_only_slots_that_may_see_them", "a slot that must not see this token moves"),
        ("batch norm", "test_packed_equals_one_by_one", "samples influence each other"),
        ("batch norm", "test_micro_batches_give_the_same_gradient", "differs by"),
        ("reads the store", "test_hidden_content_is_not_read", "tokens that no slot shows"),
        ("reads nothing", "test_tokens_reach_only_slots_that_may_see_them", "does the model read its input"),
        ("detached", "test_loss_and_gradients_are_finite", "got no gradient"),
        ("not finite", "test_loss_and_gradients_are_finite", "the loss of the first batch is"),
        ("reads nothing", "test_overfits_one_batch", "should fall below"),
    ],
)
def test_encoder_contract(fault: str, test: str, message: str) -> None:
    class Contract(EncoderContract):
        overfit_steps = 5

        def encoder(self) -> Component[Any]:
            options = {"width": 16, "depth": 1, "heads": 2, "position": named("position", "sincos")}
            return Component("encoder", "leaky", options, cls=type("Leaky", (Leaky,), {"fault": fault}))

    finds(Contract(), test, message)


class MeanLoss(InPlace):
    """A mean over the micro-batch, whose divisor a split changes."""

    def losses(self, predictions: Mapping[str, Any], run: Run) -> Any:
        terms = super().losses(predictions, run)
        return [dataclasses.replace(t, total=t.total / len(p.targets)) for t, p in zip(terms, predictions.values(), strict=True)]


def test_predictor_contract() -> None:
    class Contract(PredictorContract):
        def predictor(self) -> Component[Any]:
            return Component("predictor", "mean", {"target": named("target", "ids")}, cls=MeanLoss)

    finds(Contract(), "test_micro_batches_give_the_same_gradient", "the loss differs by")


# ---- data sets and plugins


class Shifting(Waves):
    fault: ClassVar[str] = ""
    made: ClassVar[int] = 0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        type(self).made += 1

    def key(self, index: int) -> str:
        if self.fault == "one key":
            return "same"
        return f"{type(self).made if self.fault == 'other keys' else 0}/{index}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.fault == "random":
            return {"vectors": np.random.random(3)}  # noqa: NPY002
        return {"letters": np.arange(3)}

    def fingerprint(self) -> str:
        return str(type(self).made) if self.fault == "fingerprint" else "1"


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("one key", "test_keys_are_unique_and_stable", "two samples share a key"),
        ("other keys", "test_keys_are_unique_and_stable", "the data set gives other keys"),
        ("random", "test_samples_are_stable_mappings", "differs between two readings"),
        ("fingerprint", "test_fingerprint", "the fingerprint changes although"),
        ("no end", "test_an_index_beyond_the_end_is_an_error", "raise IndexError"),
    ],
)
def test_dataset_contract(fault: str, test: str, message: str) -> None:
    class Contract(DatasetContract):
        def dataset(self) -> Any:
            return type("Shifting", (Shifting,), {"fault": fault, "made": Contract.made()})(Context())

        numbers: ClassVar[list[int]] = []

        @classmethod
        def made(cls) -> int:
            cls.numbers.append(0)
            return len(cls.numbers)

    finds(Contract(), test, message)


def test_plugin_contract_names_what_is_missing() -> None:
    class Contract(PluginContract):
        def plugin(self) -> str:
            return "imagery"

    finds(Contract(), "test_registers_without_failure", "no entry point of the group 'omnimask' is called 'imagery'")
