"""Files of a token store: whatever a specification allows comes back as it was, compactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from omnimask.interfaces import FieldSpec, Tokens, TokenSpec
from omnimask.testing.requirements import same
from omnimask.token_store.range_file import RangeFile, RowList, write_rows

WORDS = TokenSpec(
    vocabulary=300,
    fields={
        "word": FieldSpec("int64"),
        "special": FieldSpec("bool"),
        "score": FieldSpec("float32"),
        "offset": FieldSpec("int64", shape=(2,)),
        "document": FieldSpec("int64"),
    },
)
PATCHES = TokenSpec(width=(2, 3), axes=2, dtype="uint8", fields={"weight": FieldSpec("float64", shape=(2, 2))})
FRAMES = TokenSpec(width=(4,), dtype="float32")


def words(length: int, rng: np.random.Generator) -> Tokens:
    return Tokens(
        rng.integers(0, 300, length),
        np.arange(length, dtype=np.float32)[:, None],
        {
            "word": np.minimum(rng.integers(0, 200, length), np.arange(length) * 200 - 1),
            "special": rng.random(length) < 0.5,
            "score": np.where(rng.random(length) < 0.5, np.nan, rng.random(length)).astype(np.float32),
            "offset": rng.integers(0, 70_000, (length, 2)),
            "document": np.zeros(length, np.int64),
        },
    )


def patches(length: int, rng: np.random.Generator) -> Tokens:
    content = rng.integers(0, 256, (length, 2, 3)).astype(np.uint8)
    return Tokens(content, rng.random((length, 2)).astype(np.float32), {"weight": rng.random((length, 2, 2))})


def frames(length: int, rng: np.random.Generator) -> Tokens:
    return Tokens(rng.standard_normal((length, 4)).astype(np.float32), np.full((length, 1), 3, np.float32))


SPECS = {"words": WORDS, "patches": PATCHES, "frames": FRAMES}
MAKERS = {"words": words, "patches": patches, "frames": frames}


def written(path: Path, rows: RowList, specs: Mapping[str, TokenSpec]) -> RangeFile:
    with path.open("wb") as stream:
        write_rows(stream, rows, specs)
    return RangeFile(path, specs)


def test_tokens_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, samples = RowList(), []
    for number in range(12):
        present = [name for place, name in enumerate(SPECS) if number == 0 or (number >> place) & 1 or place == number % 3]
        samples.append({name: MAKERS[name](int(rng.integers(0, 9)), rng) for name in present})
        rows.add(f"key {number}", samples[-1], {"label": number, "name": "ü"} if number % 2 else {})
    rows.add("torn", None, {}, "broken disk")
    file = written(tmp_path / "rows.arrow", rows, SPECS)
    assert len(file) == 13 and file.keys == [*(f"key {number}" for number in range(12)), "torn"]
    for number, sample in enumerate(samples):
        assert same(file.tokens(number), sample)
        assert file.fields(number) == ({"label": number, "name": "ü"} if number % 2 else {})
        assert file.error(number) is None
    assert file.error(12) == "broken disk" and not file.tokens(12)


@pytest.mark.parametrize("count", [0, 3])
def test_rows_without_tokens(tmp_path: Path, count: int) -> None:
    rows = RowList()
    for number in range(count):
        rows.add(str(number), {"words": words(0, np.random.default_rng(0))}, {})
    file = written(tmp_path / "rows.arrow", rows, SPECS)
    assert len(file) == count
    assert all(same(file.tokens(number), {"words": words(0, np.random.default_rng(0))}) for number in range(count))


def test_integers_have_the_smallest_type_and_equal_values_none(tmp_path: Path) -> None:
    rows = RowList()
    rows.add("a", {"words": words(50, np.random.default_rng(0))}, {})
    written(tmp_path / "rows.arrow", rows, {"words": WORDS})
    with pa.memory_map(str(tmp_path / "rows.arrow")) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    struct = batch.column("modality.words").type.value_type
    assert {field.name: str(field.type) for field in struct} == {
        "content": "uint16",
        "field.word": "int16",
        "field.special": "uint8",
        "field.score": "float",
        "field.offset": "fixed_size_list<item: uint32>[2]",
    }


@pytest.mark.parametrize("damage", ["cut", "rubbish", "empty"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    rows = RowList()
    rows.add("a", {"words": words(50, np.random.default_rng(0))}, {})
    path = tmp_path / "rows.arrow"
    written(path, rows, {"words": WORDS})
    path.write_bytes({"cut": path.read_bytes()[:200], "rubbish": b"rubbish" * 50, "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"rows\.arrow is damaged"):
        RangeFile(path, {"words": WORDS})
