"""Text files as documents, and real texts cut into parts of which nothing is lost."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from omnimask.cache import code_digest
from omnimask.data.part_index import list_parts
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.sample_parts import SampleParts
from omnimask.data.validation_split import held_out, whole_keys
from omnimask.interfaces import Context, Dataset, Draw
from omnimask.testing import DatasetContract
from omnimask_datasets.csv_files import Csv
from omnimask_text.data import TextFiles, TextZip
from omnimask_text.decode import Utf8Decoder
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(folder: Path) -> Path:
    (folder / "news").mkdir(parents=True, exist_ok=True)
    (folder / "news" / "a.md").write_text("# Title\n\nA text.", encoding="utf-8")
    (folder / "b.TXT").write_text("Größe\nzwei\n", encoding="utf-8-sig")
    (folder / "c.png").write_bytes(b"\x89PNG")
    return folder


class TestTextFiles(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = write(tmp_path)

    def dataset(self) -> Dataset:
        return TextFiles(Context(), path=self.path)


def parts_of(dataset: Dataset, max_length: int = 64) -> SampleParts:
    tokenizer: Any = BytesTokenizer(Context(), max_length=max_length)
    reader = ModalityPipeline("text", tokenizer, Utf8Decoder(Context()))
    return SampleParts(dataset, reader, list_parts(dataset, reader))


def text_of(dataset: Dataset, index: int) -> str:
    found = dataset[index]["text"]
    return Utf8Decoder(Context())(found) if isinstance(found, bytes) else found


def test_texts_are_bytes_that_the_decoder_reads(tmp_path: Path) -> None:
    dataset = TextFiles(Context(), path=write(tmp_path))
    assert [dataset.key(index) for index in range(len(dataset))] == ["b.TXT", "news/a.md"]
    assert [text_of(dataset, index) for index in range(2)] == ["Größe\nzwei\n", "# Title\n\nA text."]
    assert dataset[1]["label"] == "news"
    lines = TextFiles(Context(), path=tmp_path, documents="line")
    assert text_of(lines, 0) == "Größe"


def test_a_zip_file_of_texts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.txt", "A text.")
        archive.writestr("index.csv", "file,title\nx/a.txt,A\n")
    assert TextZip(Context(), path=tmp_path / "a.zip")[0] == {"text": b"A text.", "label": "x"}


def test_another_vocabulary_in_the_same_file_is_noticed(tmp_path: Path) -> None:
    def digest() -> str:
        return code_digest(HuggingFaceTokenizer(Context(), path=str(tmp_path / "tokenizer.json")))

    text = (FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    before = digest()
    assert digest() == before
    (tmp_path / "tokenizer.json").write_text(text.replace('"the"', '"thx"'), encoding="utf-8")
    assert digest() != before


needs_data = pytest.mark.skipif("OMNIMASK_DATA" not in os.environ, reason="needs the texts in $OMNIMASK_DATA/text")


@needs_data
@pytest.mark.parametrize("documents", ["blank_line", "file"])
def test_nothing_of_a_real_text_is_lost_in_parts(documents: str) -> None:
    path = Path(os.environ["OMNIMASK_DATA"]) / "text" / "tinyshakespeare.txt.gz"
    dataset = TextFiles(Context(), path=path, documents=documents)  # pyright: ignore[reportArgumentType]
    parts = parts_of(dataset, 512)
    tokenizer = parts.reader.tokenizer
    joined = "".join(parts[index]["text"] for index in range(len(parts)))
    whole = "".join(text_of(dataset, index) for index in range(len(dataset)))
    assert "".join(joined.split()) == "".join(whole.split())
    assert parts.counts.max() <= 512
    chosen = range(0, len(parts), 101)
    assert [len(tokenizer(parts[index]["text"], Draw(0, 0, "a"))) for index in chosen] == parts.counts[list(chosen)].tolist()
    train, test = held_out(whole_keys(parts), 0.2, 0)
    assert len(train) + len(test) == len(parts) and 0.1 <= len(test) / len(parts) <= 0.4
    several = {parts.whole(index) for index in train.tolist()} & {parts.whole(index) for index in test.tolist()}
    assert bool(several) == (documents == "file")  # one document, so a stretch of its parts is held out


@needs_data
def test_long_reviews_are_parts_with_their_labels() -> None:
    path = Path(os.environ["OMNIMASK_DATA"]) / "text" / "movie_reviews.csv.gz"
    reviews = Csv(Context(), path=path, key="id")
    parts = parts_of(reviews, 512)
    assert len(parts) > 3 * len(reviews) == 4800
    several = next(sample for sample in range(len(reviews)) if not parts.index.is_alone(sample))
    first = int(parts.index.first[several])
    assert parts.key(first) == f"{reviews.key(several)}#0"
    assert parts[first + 1]["label"] == reviews[several]["label"]
