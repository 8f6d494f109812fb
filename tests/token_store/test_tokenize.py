"""Ranges tokenized many samples at a time: equal to one by one, also beside bad samples, and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask.data.part_index import chunks_of
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.sample_reads import read_samples
from omnimask.errors import BrokenContract
from omnimask.interfaces import Context, Draw, PartColumns, Tokens
from omnimask.testing.requirements import same
from omnimask.token_store import tokenize
from omnimask.token_store.range_file import RangeFile, file_name
from omnimask.token_store.tokenize import TokenSource, tokenize_range
from omnimask_datasets.jsonl import Jsonl
from omnimask_text.tokenize.english import EnglishTokenizer
from omnimask_text.tokenize.tokenizer import TextTokenizer

TEXTS: list[Any] = [
    "One text. Another sentence of it!", "", "   ", "a longer text " * 9, None, 12, "[SEP]", "  padded \n", "one\udc80", "last"
]  # fmt: skip


class OneByOne:
    """A tokenizer as other plugins write it: without columns of many texts."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self.spec, self.split, self.part = tokenizer.spec, tokenizer.split, tokenizer.part

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        return self._tokenizer(raw, draw)

    def tokenize_many(self, raws: Sequence[Any]) -> list[list[tuple[int, int, Tokens]]]:
        return [
            [(start, stop, self(self.part(raw, start, stop), Draw(0, 0, ""))) for start, stop, _ in self.split(raw)] for raw in raws
        ]


def source_of(folder: Path, tokenizer: Any) -> TokenSource:
    lines = [json.dumps({"text": text, **({"label": number} if number % 2 else {})}) for number, text in enumerate(TEXTS)]
    (folder / "texts.jsonl").write_text("\n".join([*lines, "no JSON", *lines[:3]]) + "\n")
    dataset = Jsonl(Context(), path=folder / "texts.jsonl")
    return TokenSource(dataset, {"text": ModalityPipeline("text", tokenizer)}, ("label",))


def rows_of(folder: Path, source: TokenSource) -> tuple[list[Any], Mapping[str, Any]]:
    columns = tokenize_range(source, folder, range(len(source.dataset)), 4096)
    file = RangeFile(folder / file_name(0), source.specs)
    rows = [(file.keys[row], file.error(row), file.fields(row), file.tokens(row)) for row in range(len(file))]
    return rows, {name: column for name, column in columns.items() if name not in ("bytes", "crc32")}


@pytest.mark.parametrize("most", [1, 3, 1000])
@pytest.mark.parametrize("kept", [[], ["word", "sentence", "offset"]])
def test_many_samples_give_the_rows_of_each_alone(
    tmp_path: Path, most: int, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "chunks_of", partial(chunks_of, most=most))
    tokenizer = EnglishTokenizer(Context(), max_length=12).keeping(kept)
    rows, columns = rows_of(tmp_path, source_of(tmp_path, tokenizer))
    alone, listed = rows_of(tmp_path, source_of(tmp_path, OneByOne(tokenizer)))
    assert same(rows, alone) and same(columns, listed)
    assert [error is None for _, error, *_ in rows].count(False) == 4 and len(rows) > 10


class Wrong(EnglishTokenizer):
    change: Mapping[str, Any]

    def tokenize_columns(self, raws: Sequence[Any]) -> PartColumns:
        columns = super().tokenize_columns(raws)
        return dataclasses.replace(columns, **{name: change(getattr(columns, name)) for name, change in self.change.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": lambda parts: parts[:-1]}, r"parts must be an array of int64 of shape \(3,\), not int64 \(2,\)"),
        ({"parts": lambda parts: parts + 1}, "parts must add up to 3, not 6"),
        ({"lengths": lambda lengths: lengths + 1}, "lengths must add up to"),
        ({"start": lambda start: start.astype(np.float32)}, "start must be an array of int64 .* not float32"),
        ({"content": lambda content: content[1:]}, "content has shape"),
        ({"fields": lambda fields: {}}, "field 'special' is declared in the spec but missing"),
    ],
)
def test_columns_that_break_the_interface_end_the_command(tmp_path: Path, change: Mapping[str, Any], message: str) -> None:
    tokenizer = Wrong(Context(), max_length=64)
    tokenizer.change = change
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", "two", "three")))
    dataset = Jsonl(Context(), path=tmp_path / "texts.jsonl")
    source = TokenSource(dataset, {"text": ModalityPipeline("text", tokenizer, origin="the tokenizer 'x'")})
    with pytest.raises(BrokenContract, match=rf"the tokenizer 'x', tokenize_columns, sample 'texts.jsonl:1 and 2 more': {message}"):
        tokenize_range(source, tmp_path, range(3), 4096)


class Stops:
    """A data set whose reading of many samples ends early or with an exception."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def key(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        if index == 1:
            raise KeyError("torn")
        return {"text": index}

    def read_many(self, indices: Sequence[int]) -> Iterator[Mapping[str, Any] | Exception]:
        yield self[indices[0]]
        if self.error is not None:
            raise self.error

    def fingerprint(self) -> str:
        return ""


@pytest.mark.parametrize("error", [None, OSError("gone"), RuntimeError("of another library")])
def test_samples_are_read_alone_where_reading_many_fails(error: Exception | None) -> None:
    found = dict(read_samples(Stops(error), range(4)))
    assert [found[number] for number in (0, 2, 3)] == [{"text": number} for number in (0, 2, 3)]
    assert isinstance(found[1], ValueError) and "KeyError: 'torn'" in str(found[1])


def test_memory_that_is_exhausted_is_not_the_fault_of_a_sample() -> None:
    with pytest.raises(MemoryError):
        list(read_samples(Stops(MemoryError()), range(4)))
