"""Token counts: constant where tokenizers know them, else scanned once and cached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from omnimask.cache import cache_folder
from omnimask.data.pipeline import ModalityPipeline as Reader
from omnimask.data.token_counts import token_counts
from omnimask.interfaces import Draw, Tokens, TokenSpec


class Words:
    """A data set of texts as bytes; None stands for a file that cannot be read."""

    def __init__(self, *texts: bytes | None) -> None:
        self.texts = texts
        self.reads = 0

    def __len__(self) -> int:
        return len(self.texts)

    def key(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads += 1
        text = self.texts[index]
        if text is None:
            raise OSError("broken disk")
        return {"text": text, "image": b"pixels"} if len(text) > 1 else {"text": text, "image": None}

    def fingerprint(self) -> str:
        return repr(self.texts)


class Text:
    """Tokenizes characters; ``knows`` says how much it can count without tokenizing."""

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = None
    renderer: ClassVar[str | None] = None
    spec = TokenSpec(vocabulary=256)

    def __init__(self, knows: str) -> None:
        self.knows = knows

    def __call__(self, raw: str, draw: Draw) -> Tokens:
        return Tokens(np.frombuffer(raw.encode(), np.uint8), np.zeros((len(raw), 1), np.float32))

    def decode(self, tokens: Tokens) -> str:
        return bytes(tokens.content).decode()

    def count(self, raw: Any) -> int | None:
        if self.knows == "all":
            return 5
        return len(raw) if self.knows == "raw" and raw is not None else None


def decode(data: bytes) -> str:
    return data.decode("ascii")


def test_constants_add_up_without_reading() -> None:
    dataset = Words(b"abc", b"de")
    assert token_counts(dataset, [Reader("text", Text("all")), Reader("image", Text("all"))]) == 10
    assert dataset.reads == 0


@pytest.mark.parametrize("knows", ["raw", "nothing"])
def test_a_scan_counts_decoded_values_and_gives_unreadable_samples_one(tmp_path: Path, knows: str) -> None:
    dataset = Words(b"abc", None, b"\xff\xff", b"z", b"abcdef")
    readers = [Reader("text", Text(knows), decode), Reader("image", Text("all"))]
    counts = token_counts(dataset, readers, cache=tmp_path)
    assert isinstance(counts, np.ndarray)
    assert counts.tolist() == [3 + 5, 1, 1, 1, 6 + 5]


class Header:
    """Decodes to characters; ``shape`` is in the first byte."""

    def __call__(self, data: bytes) -> str:
        raise AssertionError("nothing is decoded where shapes are enough")

    def shape(self, data: bytes) -> tuple[int, ...]:
        if not data[:1].isdigit():
            raise ValueError("no header")
        return (int(data[:1]),)


class Counter(Text):
    def count_of_shape(self, shape: tuple[int, ...]) -> int:
        return 2 * shape[0]


def test_a_decoder_that_reads_shapes_and_a_tokenizer_that_counts_them_decode_nothing(tmp_path: Path) -> None:
    counts = token_counts(Words(b"3ab", b"x", b"7"), [Reader("text", Counter("raw"), Header())], cache=tmp_path)
    assert isinstance(counts, np.ndarray)
    assert counts.tolist() == [6, 1, 14]


def test_a_cached_scan_is_used_until_data_options_or_samples_change(tmp_path: Path) -> None:
    readers = [Reader("text", Text("raw"), decode)]

    def reads(dataset: Words, options: str = "a") -> int:
        token_counts(dataset, readers, options=options, cache=tmp_path)
        return dataset.reads

    assert reads(Words(b"abc", b"de")) == 2
    assert reads(Words(b"abc", b"de")) == 0
    assert reads(Words(b"abc", b"de"), options="b") == 2
    assert reads(Words(b"abc", b"dx")) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_cache_is_counted_anew(tmp_path: Path) -> None:
    readers = [Reader("text", Text("raw"), decode)]
    token_counts(Words(b"abc"), readers, cache=tmp_path)
    (file,) = tmp_path.rglob("tokens.npy")
    for damage in (b"", b"rubbish", file.read_bytes()[:40]):
        file.write_bytes(damage)
        assert np.array_equal(token_counts(Words(b"abc"), readers, cache=tmp_path), [3])
    np.save(file, np.array([object()]), allow_pickle=True)
    assert np.array_equal(token_counts(Words(b"abc"), readers, cache=tmp_path), [3])


def test_without_a_writable_folder_it_counts_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        counts = token_counts(Words(b"abc"), [Reader("text", Text("raw"), decode)], cache=in_the_way)
    assert np.array_equal(counts, [3])
    assert "token counts are not cached" in caplog.text


def test_the_environment_chooses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("OMNIMASK_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "omnimask"
