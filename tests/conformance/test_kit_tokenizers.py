"""The kit finds what is wrong with tokenizers and decoders: one broken component for every promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.interfaces import Context, Draw, FieldSpec, PartColumns, Tokens, TokenSpec
from omnimask.testing import DecoderContract, TokenizerContract
from omnimask.testing.requirements import same
from omnimask.testing.synthetic import Letters, VectorTokenizer

from .failing import finds


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


# ---- values that are not there


class Gappy(VectorTokenizer):
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


# ---- parts and embedded data


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


class Together(Letters):
    """Tokenizes many values at once, with a fault in the columns."""

    def __init__(self, context: Context, fault: str) -> None:
        self.fault = fault

    def tokenize_many(self, raws: Sequence[Any]) -> list[list[tuple[int, int, Tokens]]]:
        return [[(0, 0, self(raw, Draw(0, 0, "")))] for raw in raws]

    def tokenize_columns(self, raws: Sequence[Any]) -> PartColumns:
        if self.fault == "accepts everything":
            return PartColumns.of([], self.spec)
        columns = PartColumns.of(self.tokenize_many(raws), self.spec)
        if self.fault == "content":
            return dataclasses.replace(columns, content=columns.content[::-1])
        if self.fault == "parts":
            return dataclasses.replace(columns, parts=columns.parts + 1)
        return columns


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", ""),
        ("content", "tokenize_columns of 2 values has content .* but tokenize_many has"),
        ("parts", "tokenize_columns of 2 values has parts .* but tokenize_many has"),
        ("accepts everything", "tokenize_columns of 2 values has parts"),
    ],
)
def test_columns_are_compared_with_tokens(fault: str, message: str) -> None:
    class Contract(TokenizerContract):
        def tokenizer(self) -> Any:
            return Together(Context(), fault)

        def raw_values(self) -> Sequence[Any]:
            return [np.arange(7) % 7]

        def bad_values(self) -> Mapping[str, Any]:
            return {"no letters": "x"}

    if fault:
        finds(Contract(), "test_columns_of_many_values_are_their_tokens", message)
    else:
        Contract().test_columns_of_many_values_are_their_tokens()
