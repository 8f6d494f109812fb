"""The kit finds what it is there to find: one broken component for every promise, and the words that the author reads."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from omnimask import testing as kit
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.random import RandomMasker
from omnimask.interfaces import (
    Context,
    Corruptor,
    Draw,
    FieldSpec,
    Masker,
    Masking,
    Sample,
    Tokens,
    TokenSpec,
    View,
)
from omnimask.registry import Registry
from omnimask.streams import sequence
from omnimask.testing import (
    AugmentContract,
    CorruptorContract,
    DatasetContract,
    DecoderContract,
    JointMaskerContract,
    MaskerContract,
    PluginContract,
    RendererContract,
    TokenizerContract,
    with_module,
)
from omnimask.testing.requirements import same
from omnimask.testing.synthetic import Letters, Vectors, Waves


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
        ("count", "test_count_agrees", r"count\(raw\) is 3, but there are 40"),
        ("unpicklable", "test_picklable", "loader workers need it pickled: no"),
        ("type error", "test_bad_values_are_value_errors", "raise ValueError for unusable values"),
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


# ---- values that are not there


class Gappy(Vectors):
    """Content in which NaN stands for what was not measured becomes zero, with a field that says where."""

    tolerance = 0.0

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(width=(4,), fields={"missing": FieldSpec("float32", shape=(4,))})

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        content = np.asarray(raw, np.float32)
        positions = np.arange(len(content), dtype=np.float32)[:, None]
        return Tokens(np.nan_to_num(content), positions, {"missing": np.where(np.isnan(content), np.nan, 0).astype(np.float32)})

    def decode(self, tokens: Tokens) -> Any:
        return tokens.content + tokens.fields["missing"]


class TestGappy(TokenizerContract):
    """NaN in raw values and fields accuses nobody."""

    def tokenizer(self) -> Gappy:
        return Gappy(Context())

    def raw_values(self) -> Sequence[Any]:
        return [np.array([[1.0, np.nan, 2.0, 3.0]], np.float32), np.full((3, 4), np.nan, np.float32)]


def test_raw_values_that_change_by_themselves_do_not_accuse_the_tokenizer() -> None:
    class Contract(TestGappy):
        def raw_values(self) -> Sequence[Any]:
            return [np.random.default_rng().normal(size=(2, 4)).astype(np.float32)]

    finds(Contract(), "test_raw_values_are_not_changed", r"two calls of raw_values\(\) differ")


def test_nan_equals_nan_and_nothing_else() -> None:
    nan = float("nan")
    assert same(torch.tensor([1.0, nan]), torch.tensor([1.0, nan])) and same(nan, nan)
    assert not same(torch.tensor([1.0, nan]), torch.tensor([1.0, 0.0]))
    assert same(torch.tensor([1, 2]), torch.tensor([1, 2])) and not same(torch.tensor([1, 2]), torch.tensor([1, 3]))


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
        ("shows hidden", "test_visible_and_hidden_tokens", "contains the content of masked tokens"),
        ("shows hidden", "test_no_slot_sees_its_answer", "sees a slot with its content;"),
        ("undeclared id", "test_views_are_well_formed", "declare inserted ids in `specials`"),
        ("loses visible", "test_visible_and_hidden_tokens", r"\[0\] are missing from the context"),
        ("forgets targets", "test_every_target_is_asked", r"the masking, got \[\]"),
        ("beyond the slots", "test_views_are_well_formed", "targets.at must"),
        ("says causal", "test_views_are_well_formed", "ranks do not increase by"),
    ],
)
def test_corruptor_contract(fault: str, test: str, message: str) -> None:
    class Contract(CorruptorContract):
        def corruptor(self, context: Context) -> Corruptor:
            return type("Wrong", (Wrong,), {"fault": fault})(context)

    finds(Contract(), test, message)


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
        ("one key", "test_keys_are_unique_and_stable", "duplicate key; keys must be unique"),
        ("other keys", "test_keys_are_unique_and_stable", "the same data have different keys; sort"),
        ("random", "test_samples_are_stable_mappings", "differs between two readings"),
        ("fingerprint", "test_fingerprint", "the fingerprint differs for"),
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

    finds(Contract(), "test_registers_without_failure", "entry point 'imagery' of group 'omnimask' does not exist;")


# ---- augmentations, renderers, splitting


class Jitter:
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, raw: Any, draw: Draw) -> Any:
        if self.fault == "global randomness":
            return raw + np.random.random(raw.shape)  # noqa: NPY002
        if self.fault == "in place":
            raw += 1
        return raw + (0 if self.fault == "constant" else draw.rng("jitter").random(raw.shape))


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("global randomness", "test_deterministic_per_draw", "one draw gave two results"),
        ("constant", "test_samples_are_changed_differently", "twenty draws gave one result"),
        ("in place", "test_raw_values_are_not_changed", "work on a copy"),
    ],
)
def test_augment_contract(fault: str, test: str, message: str) -> None:
    class Contract(AugmentContract):
        def augment(self) -> Any:
            return Jitter(fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.zeros(5)]

    finds(Contract(), test, message)


class Writer:
    def __init__(self, fault: str) -> None:
        self.suffix = "txt" if fault == "no dot" else ".txt"
        self.fault = fault

    def __call__(self, reconstructions: Sequence[Any], path: Path, *, title: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{random.random()}" if self.fault == "random" else title)
        return path.parent if self.fault == "folder" else path


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("no dot", "test_draws_a_file_where_it_is_told_to", "with its dot"),
        ("folder", "test_draws_a_file_where_it_is_told_to", "create the folder, write the file, and return its path"),
        ("random", "test_draws_the_same_twice", "not use random numbers"),
    ],
)
def test_renderer_contract(fault: str, test: str, message: str, tmp_path: Path) -> None:
    class Contract(RendererContract):
        def renderer(self) -> Any:
            return Writer(fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.zeros(5)]

    with pytest.raises(AssertionError, match=message):
        getattr(Contract(), test)(tmp_path)


class Cutting(Letters):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def split(self, raw: Any) -> list[tuple[int, int, int]]:
        parts = [(start, min(start + 16, len(raw)), min(16, len(raw) - start)) for start in range(0, len(raw), 16)]
        return parts[::-1] if self.fault == "order" else [(start, stop, 16) for start, stop, _ in parts]

    def part(self, raw: Any, start: int, stop: int) -> Any:
        return raw[start:stop]


@pytest.mark.parametrize(("fault", "message"), [("order", "are not in order"), ("count", "8 tokens, but 16 according to split")])
def test_tokenizer_contract_on_parts(fault: str, message: str) -> None:
    class Contract(TokenizerContract):
        def tokenizer(self) -> Any:
            return Cutting(fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.arange(40) % 7]

    finds(Contract(), "test_parts_are_what_they_say", message)


class Undecided(Letters):
    """A method of an instance, which nobody has when data are chosen."""

    def embedded(self, options: dict[str, Any]) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "letters"


class Decided(Letters):
    @staticmethod
    def embedded(options: dict[str, Any]) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "letters"


def test_tokenizer_contract_on_what_names_embedded_data() -> None:
    class Contract(TokenizerContract):
        def __init__(self, letters: type[Letters]) -> None:
            self.letters = letters

        def tokenizer(self) -> Letters:
            return self.letters(Context())

        def raw_values(self) -> Sequence[Any]:
            return ["abc"]

    finds(Contract(Undecided), "test_declares_what_serves_it", "a static method of the tokenizer's options")
    Contract(Decided).test_declares_what_serves_it()


def test_plugin_contract_finds_heavy_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text(
        "import sklearn\nimport omnimask\n\n@omnimask.hookimpl\ndef omnimask_register(registry): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    class Contract(PluginContract):
        def plugin(self) -> str:
            return "heavy"

        def registry(self) -> Registry:
            return with_module("heavy", "heavy_plugin")

    finds(Contract(), "test_registering_imports_nothing_heavy", "importing heavy_plugin imports .*sklearn; register references")


def test_every_contract_has_a_test_that_shows_it_fail() -> None:
    """And every contract of the kit is in the documentation."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_kit*.py"))
    page = (Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    for name in (name for name in kit.__all__ if name.endswith("Contract")):
        assert f"`{name}`" in page, f"{name} is missing from docs/writing-a-plugin.md"
        assert f"({name})" in source or name == "ModelContract", f"no test shows {name} fail"
