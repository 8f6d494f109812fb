"""Long samples as parts: nothing is lost, keys are unique, unreadable and empty samples, the cache, memory, labels."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pickle
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.data import part_index
from omnimask.data.part_index import PartIndex, list_parts
from omnimask.data.pipeline import ModalityPipeline, Pipeline
from omnimask.data.pipeline import ModalityPipeline as Reader
from omnimask.data.planner import Place
from omnimask.data.sample_parts import SampleParts
from omnimask.data.validation_split import held_out, whole_key, whole_keys
from omnimask.errors import RunStopped
from omnimask.interfaces import Dataset, Draw, Splits, Tokens, TokenSpec
from omnimask.testing import DatasetContract

LONGEST = 5


class Documents:
    """Texts by key; an exception in place of a text is raised."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self.documents = dict(documents)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.documents)

    def key(self, index: int) -> str:
        return list(self.documents)[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads += 1
        found = self.documents[self.key(index)]
        if isinstance(found, Exception):
            raise found
        return {"letters": found, "label": self.key(index)[:1]}

    def fingerprint(self) -> str:
        return repr(self.documents)


class Pages:
    """Characters as ids, five to a part; a text may be in a mapping, beside marks that are cut with it."""

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = None
    renderer: ClassVar[str | None] = None
    spec = TokenSpec(vocabulary=256)

    def __call__(self, raw: str, draw: Draw) -> Tokens:
        return Tokens(np.frombuffer(raw.encode("latin-1"), np.uint8), np.arange(len(raw), dtype=np.float32)[:, None])

    def decode(self, tokens: Tokens) -> str:
        return bytes(np.asarray(tokens.content, np.uint8)).decode("latin-1")

    def count(self, raw: Any) -> int | None:
        return None if raw is None else len(raw)

    def split(self, raw: Any) -> Sequence[tuple[int, int, int]]:
        text = raw["letters"] if isinstance(raw, Mapping) else raw
        return [
            (start, min(start + LONGEST, len(text)), len(text[start : start + LONGEST])) for start in range(0, len(text), LONGEST)
        ]

    def part(self, raw: Any, start: int, stop: int) -> Any:
        return {name: value[start:stop] for name, value in raw.items()} if isinstance(raw, Mapping) else raw[start:stop]


def decode(data: bytes) -> str:
    return data.decode("ascii")


def reader(field: str | tuple[str, ...] = "letters") -> Reader:
    return Reader(field, Pages(), decode)


def parts_of(documents: Mapping[str, Any] | Dataset, cache: Path) -> SampleParts:
    dataset = documents if isinstance(documents, Dataset) else Documents(documents)
    return SampleParts(dataset, reader(), list_parts(dataset, reader(), cache=cache))


TEXTS = {"a": "once upon a time", "b": b"short", "c": "", "d": "there was a model"}


class TestParts(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.cache = tmp_path

    def dataset(self) -> Dataset:
        return parts_of(TEXTS, self.cache)

    def changed(self) -> Dataset:
        return parts_of({**TEXTS, "b": b"shorter"}, self.cache)

    def damaged(self) -> tuple[Dataset, list[int]]:
        return parts_of({"a": "abc", "b": b"\xff", "c": OSError("broken disk")}, self.cache), [1, 2]


def test_the_toy_splits() -> None:
    assert isinstance(Pages(), Splits)


def test_parts_have_the_keys_labels_and_counts(tmp_path: Path) -> None:
    parts = parts_of(TEXTS, tmp_path)
    assert [parts.key(index) for index in range(len(parts))] == ["a#0", "a#5", "a#10", "a#15", "b", "d#0", "d#5", "d#10", "d#15"]
    assert parts[1] == {"letters": "upon ", "label": "a"}
    assert parts[4] == {"letters": "short", "label": "b"}
    assert parts.counts.tolist() == [5, 5, 5, 1, 5, 5, 5, 5, 2]
    assert list(whole_keys(parts)) == ["a"] * 4 + ["b"] + ["d"] * 4
    assert whole_key(parts, 8) == "d"


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.text("xyz ", max_size=40), max_size=8))
def test_parts_cover_their_samples_in_order(tmp_path: Path, documents: dict[str, str]) -> None:
    parts = parts_of(documents, tmp_path)
    samples = [parts[index] for index in range(len(parts))]
    joined = dict.fromkeys(documents, "")
    for index, sample in enumerate(samples):
        joined[parts.whole(index)] += sample["letters"]
    assert joined == documents
    assert [len(sample["letters"]) for sample in samples] == parts.counts.tolist()
    keys = [parts.key(index) for index in range(len(parts))]
    assert len(set(keys)) == len(keys)


@given(
    st.lists(
        st.tuples(st.text("abcdef", min_size=1, max_size=6), st.integers(1, 5)), min_size=1, max_size=30, unique_by=lambda p: p[0]
    ),
    st.floats(0, 0.9),
    st.integers(0, 5),
)
def test_no_part_of_a_held_out_sample_is_trained_on_unless_there_are_few(
    documents: list[tuple[str, int]], fraction: float, seed: int
) -> None:
    keys = [key for key, count in documents for _ in range(count)]
    train, test = held_out(keys, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(keys)))
    assert len(train)
    assert bool(len(test)) == (fraction > 0 and len(keys) > 1)
    both = {keys[index] for index in train} & {keys[index] for index in test}
    if both:  # whole samples of these sizes would have been another share
        sizes = dict(documents)
        assert any(sizes[key] > 1 for key in both)
    elif len(documents) == len(keys) > 1 and fraction:
        assert len(test) >= 1


def test_several_fields_are_cut_together(tmp_path: Path) -> None:
    class Marked(Documents):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"letters": b"abcdefg", "mark": [1, 2, 3, 4, 5, 6, 7], "label": "x"}

    dataset, both = Marked({"a": ""}), reader(("letters", "mark"))
    parts = SampleParts(dataset, both, list_parts(dataset, both, cache=tmp_path))
    assert parts[1] == {"letters": "fg", "mark": [6, 7], "label": "x"}


def test_samples_that_hold_nothing_have_no_parts_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert len(parts_of({"a": "", "b": b""}, tmp_path)) == 0
    assert "2 of 2 samples, which are empty" in caplog.text


def test_an_unreadable_sample_is_one_bad_sample_that_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Documents({"a": b"\xff", "b": "abc", "c": OSError("broken disk"), "d": KeyError("page")})
    parts = parts_of(dataset, tmp_path)
    assert "3 of 4 samples could not be read while parts were listed:\n  a: UnicodeDecodeError" in caplog.text
    assert "\n  c: OSError: broken disk\n  d: KeyError: 'page'" in caplog.text
    assert [parts.key(index) for index in range(len(parts))] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="can't decode byte 0xff"):
        parts[0]
    with pytest.raises(OSError, match="broken disk"):
        parts[2]
    with pytest.raises(KeyError, match="page"):
        parts[3]
    dataset.documents["c"] = "readable again"
    with pytest.raises(ValueError, match="it was unreadable when parts were listed, but is readable now; start"):
        parts[2]


def test_the_reason_of_the_tokenizer_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Pages.split

    def refuse(self: Pages, raw: Any) -> Sequence[tuple[int, int, int]]:
        if "bad" in raw:
            raise ValueError("span [2, 60] leaves the text")
        return split(self, raw)

    monkeypatch.setattr(Pages, "split", refuse)
    parts = parts_of({"a": "good", "b": "bad"}, tmp_path)
    with pytest.raises(ValueError, match=r"span \[2, 60\] leaves the text"):
        parts[1]


def test_null_and_empty_values_are_left_out_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        parts = parts_of({"a": None, "b": "", "c": b"", "d": "text"}, tmp_path)
    assert [parts.key(index) for index in range(len(parts))] == ["d"]
    assert "3 of 4 samples, which are empty" in caplog.text
    assert "could not be read" not in caplog.text


def test_a_sample_without_the_field_is_bad(tmp_path: Path) -> None:
    dataset, other = Documents({"a": "abc"}), reader("signs")
    parts = SampleParts(dataset, other, list_parts(dataset, other, cache=tmp_path))
    with pytest.raises(ValueError, match=r"it has no field 'signs'; it has \['label', 'letters'\]"):
        parts[0]


@pytest.mark.parametrize("error", [MemoryError(), RunStopped("the disk is full")])
def test_what_is_not_the_fault_of_a_sample_ends_the_listing(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        parts_of({"a": "abc", "b": error}, tmp_path)


def test_a_sample_that_changed_since_is_bad(tmp_path: Path) -> None:
    dataset = Documents({"a": "once upon a time"})
    parts = parts_of(dataset, tmp_path)
    dataset.documents["a"] = "ONCE upon a time"
    with pytest.raises(ValueError, match="it has changed since its parts were listed; start a new run"):
        parts[0]


def test_a_part_with_other_tokens_than_were_counted_is_bad(tmp_path: Path) -> None:
    parts = parts_of(TEXTS, tmp_path)
    tokens = parts.index.tokens + np.array([0, 1] + 7 * [0])
    parts = SampleParts(parts.dataset, parts.reader, dataclasses.replace(parts.index, tokens=tokens))
    modality = ModalityPipeline("letters", parts.reader.tokenizer)
    pipeline = Pipeline(parts, {"letters": modality}, {}, {"letters": modality.tokenizer.spec}, seed=0)
    samples, bad = pipeline.samples([Place(0, index, index, 0.0) for index in range(2)])
    assert [sample.draw.key for sample in samples] == [parts.key(0)]
    assert [one.key for one in bad] == [parts.key(1)]
    assert "the part from 5 has 5 tokens, but had 6 when parts were listed;" in bad[0].reason


def test_the_list_is_cached_until_data_or_options_change(tmp_path: Path) -> None:
    def reads(documents: Mapping[str, Any], options: str = "") -> int:
        dataset = Documents(documents)
        list_parts(dataset, reader(), options=options, cache=tmp_path)
        return dataset.reads

    assert reads(TEXTS) == 4
    assert reads(TEXTS) == 0
    assert reads(TEXTS, "longer parts") == 4
    assert reads({**TEXTS, "d": "other"}) == 4
    assert reads({"a": b"\xff", "b": "abc"}) == 2
    assert reads({"a": b"\xff", "b": "abc"}) == 1  # what could not be read is tried again
    assert not list(tmp_path.rglob("*.part"))


def test_the_list_follows_the_state_of_files(tmp_path: Path) -> None:
    class Files(Documents):
        def state(self) -> str:
            return changed

    changed = "monday"
    first = parts_of(Files(TEXTS), tmp_path)
    changed = "tuesday"
    dataset = Files(TEXTS)
    assert parts_of(dataset, tmp_path).fingerprint() == first.fingerprint()
    assert dataset.reads == 4


def test_a_sample_that_is_repaired_gets_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Documents, "fingerprint", lambda _: "names and sizes")
    parts_of({"a": "first part", "b": OSError("no network"), "c": "last part"}, tmp_path)
    for _ in range(2):
        dataset = Documents({"a": "first part", "b": "there again", "c": "last part"})
        parts = parts_of(dataset, tmp_path)
        assert [parts.key(index) for index in range(len(parts))] == ["a#0", "a#5", "b#0", "b#5", "b#10", "c#0", "c#5"]
    assert dataset.reads == 0


@pytest.mark.parametrize("damage", ["cut", "rubbish", "a byte", "missing", "another list", "no list"])
def test_a_damaged_cache_is_listed_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    index = parts_of(TEXTS, tmp_path).index
    before, starts = parts_of(TEXTS, tmp_path).fingerprint(), index.start.tolist()
    (file,) = tmp_path.rglob("start.npy")
    content = file.read_bytes()
    match damage:
        case "cut" | "rubbish" | "a byte":
            changed = {"cut": content[:40], "rubbish": b"rubbish", "a byte": content[:-1] + bytes([content[-1] ^ 1])}
            file.write_bytes(changed[damage])
        case "missing":
            file.unlink()
        case "another list":
            file.with_name("columns.json").write_text("{}")
        case _:
            file.with_name("columns.json").unlink()
    assert parts_of(TEXTS, tmp_path).fingerprint() == before
    assert ("are recomputed" in caplog.text) == (damage not in ("missing", "no list"))
    assert np.load(file).tolist() == starts


def test_other_parts_of_the_same_samples_have_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts_of(TEXTS, tmp_path / "a").fingerprint()
    monkeypatch.setattr(f"{__name__}.LONGEST", 6)
    assert parts_of(TEXTS, tmp_path / "b").fingerprint() != before


def test_a_long_sample_is_read_once_while_it_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Documents({key: key * 50 for key in "abc"})
    parts = parts_of(dataset, tmp_path)
    dataset.reads = 0
    for index in itertools.chain(range(len(parts)), range(len(parts))):
        parts[index]
    assert dataset.reads == 3
    assert pickle.loads(pickle.dumps(parts))._kept == {}  # noqa: S301
    parts = pickle.loads(pickle.dumps(parts))  # noqa: S301
    monkeypatch.setattr("omnimask.data.sample_parts.KEPT_BYTES", 1)
    for index in (0, 1, 10, 11, 0):
        parts[index]
    assert len(parts._kept) == 1


def test_groups_of_samples_are_groups_of_parts(tmp_path: Path) -> None:
    """Groups without parts vanish; a data set without groups has none as parts."""
    documents = Documents({"a": "", "b": "x" * 12, "c": "y", "d": "", "e": "z" * 6, "f": ""})
    parts = SampleParts(documents, reader(), list_parts(documents, reader(), cache=tmp_path))
    assert parts.group_starts is None
    documents.group_starts = np.array([0, 1, 3, 4, 5])  # pyright: ignore[reportAttributeAccessIssue]
    assert parts.group_starts is not None
    assert parts.group_starts.tolist() == [0, 4]


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_the_fingerprint_is_of_the_columns_of_all_parts(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run compares it, so its definition may never change: sample, start, stop and tokens of every part, int64."""
    monkeypatch.setattr(part_index, "_HASHED", block)
    sizes, starts = np.array([2, 0, 0, 3, 1, 4, 0]), np.array([0, 5, 0, 9, 20, 0, 1, 2, 3, 4])
    lengths, tokens, bad = np.arange(1, 11), np.arange(10, 20), np.array([4])
    first = np.cumsum([0, *sizes]).astype(np.uint8)
    index = PartIndex(first, starts, lengths, tokens, np.zeros(7, np.uint32), bad)
    found = blake2b(digest_size=16)
    index.update(found)
    stops = starts + lengths
    starts[5] = stops[5] = part_index.UNREADABLE
    wanted = blake2b(digest_size=16)
    for column in (np.repeat(np.arange(7), sizes), starts, stops, tokens):
        wanted.update(column.astype(np.int64).tobytes())
    assert found.hexdigest() == wanted.hexdigest()
