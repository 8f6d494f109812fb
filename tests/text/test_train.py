"""Tokenizers that are trained here, and the command that does it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from omnimask.cli import main
from omnimask.interfaces import Context, Draw
from omnimask_text import commands
from omnimask_text.tokenize.corpus import find_corpus
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer
from omnimask_text.tokenize.train import Algorithm, files, train

DRAW = Draw(0, 0, "text")
REAL = (FOLDER / "README.md").read_text(encoding="utf-8")
SIZES: Sequence[tuple[Algorithm, int]] = [("bpe", 320), ("wordpiece", 200), ("unigram", 120)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "more").mkdir(parents=True)
    (folder / "b.txt").write_text(REAL, encoding="utf-8")
    (folder / "more" / "a.md").write_text("\ufeff" + REAL.upper(), encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize(("algorithm", "vocabulary"), SIZES)
def test_the_same_corpus_gives_the_same_tokenizer(algorithm: Algorithm, vocabulary: int) -> None:
    """The library's own trainers do not: their hash tables have another order each time, in one process too."""
    first, *others = (files(train(lambda: REAL.splitlines(), algorithm, vocabulary)) for _ in range(4))
    assert all(other == first for other in others)


@pytest.mark.parametrize(("algorithm", "vocabulary"), SIZES)
def test_the_vocabulary_has_the_size_that_was_asked_for(algorithm: Algorithm, vocabulary: int) -> None:
    tokenizer = train(lambda: [REAL], algorithm, vocabulary)
    assert sorted(tokenizer.get_vocab().values()) == list(range(vocabulary))
    assert [tokenizer.id_to_token(number) for number in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.encode("the", "of").tokens[0] == "[CLS]"
    assert tokenizer.encode(REAL).ids.count(tokenizer.token_to_id("[UNK]")) <= REAL.count("[UNK]")


@pytest.mark.parametrize(("algorithm", "vocabulary"), SIZES)
def test_lowercase(algorithm: Algorithm, vocabulary: int) -> None:
    tokenizer = train(lambda: [REAL], algorithm, vocabulary, lowercase=True)
    assert tokenizer.encode("The TOKENS").ids == tokenizer.encode("the tokens").ids
    assert train(lambda: [REAL], algorithm, vocabulary).encode("The").ids != tokenizer.encode("the").ids


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_vocabularies_that_cannot_be(algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="the corpus contains no text"):
        train(lambda: ["", " \n"], algorithm, 300)
    with pytest.raises(ValueError, match=f"a vocabulary of 9 is too small for {algorithm}: 5 special tokens"):
        train(lambda: [REAL], algorithm, 9)
    with pytest.raises(ValueError, match=r"too small for a vocabulary of 50,000: it yields (\d+|1,\d+); use at most that"):
        train(lambda: [REAL], algorithm, 50_000)


def test_the_shipped_tokenizer_is_made_by_this_code() -> None:
    """Of the same text: the whole corpus is another with every Python."""
    from tokenizers import Tokenizer

    shipped = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    again = train(lambda: [REAL], "wordpiece", 200, lowercase=True)
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        assert str(getattr(again, part)) == str(getattr(shipped, part))
    assert files(shipped)["tokenizer.json"] == (FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    assert files(shipped)["tokenizer_config.json"] == (FOLDER / "tokenizer_config.json").read_text(encoding="utf-8")
    assert len((FOLDER / "tokenizer.json").read_bytes()) < 300_000


@pytest.mark.parametrize(("algorithm", "vocabulary"), SIZES)
def test_command(
    algorithm: str,
    vocabulary: int,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train-tokenizer", "corpus", "mine", "--algorithm", algorithm, "--vocabulary", str(vocabulary)]) == 0
    shown = capsys.readouterr()
    assert f"{vocabulary:,}" in shown.out and "[CLS]" in shown.out
    assert "2 files" in shown.err and "{name: text.huggingface, path: mine}" in shown.err
    tokenizer = HuggingFaceTokenizer(Context(), path="mine")
    assert tokenizer.spec.vocabulary == vocabulary
    assert tokenizer.decode(tokenizer("the vocabulary", DRAW)) == "the vocabulary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "mine"]
    assert main(["train-tokenizer", "corpus", "mine"]) == 2
    assert "mine already exists; choose another folder," in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "out"], "missing does not exist"),
        (["corpus", "corpus"], "corpus already exists"),
        (["corpus", "missing/out"], "of out does not exist"),
        (["corpus", "out", "--vocabulary", "100"], "error: a vocabulary of 100 is too small for bpe"),
        (["corpus", "out", "--vocabulary", "60000"], "error: the corpus is too small for a vocabulary of 60,000"),
        (["corpus", "out", "--algorithm", "morse"], "morse"),
        (
            ["pictures", "out"],
            ".markdown, .rst, .tex, .org, .adoc; found 1 other files: 1 with .png",
        ),
        (["blank.txt", "out"], "error: the corpus contains no text"),
        (["latin.txt", "out"], "latin.txt is not UTF-8: byte 70003 (invalid continuation byte); convert it first"),
    ],
)
def test_what_the_command_refuses(
    arguments: list[str],
    message: str,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (corpus / "picture.png").rename(tmp_path / "pictures" / "picture.png")
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"a " * 35_000 + b"caf\xe9 ol\xe9")
    before = sorted(tmp_path.iterdir())
    assert main(["train-tokenizer", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_absent(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ValueError, match="No space left on device"):
        commands.train_tokenizer(corpus, tmp_path / "out", vocabulary=300)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_chunks_are_whole_lines(tmp_path: Path) -> None:
    lines = [f"line {number} " + "x" * (number % 90) for number in range(9000)]
    (tmp_path / "long.txt").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    chunks = list(find_corpus(tmp_path / "long.txt")())
    assert len(chunks) > 3
    assert "".join(chunks).split("\n") == lines
    assert all(chunk.endswith("\n") for chunk in chunks[:-1])


def test_packed_files(corpus: Path, tmp_path: Path) -> None:
    with gzip.open(corpus / "c.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("packed ä\n" * 20_000)
    assert [path.name for path in find_corpus(corpus).files] == ["b.txt", "c.txt.gz", "a.md"]
    assert "".join(find_corpus(corpus / "c.txt.gz")()) == "packed ä\n" * 20_000
    data = (corpus / "c.txt.gz").read_bytes()
    for name, damaged in {"cut.gz": data[:-20], "none.gz": b"plain", "bits.gz": data[:30] + b"\0" * 9 + data[39:]}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} cannot be read: |{name} is not UTF-8"):
            list(find_corpus(tmp_path / name)())


def test_listing_commands_imports_nothing_heavy() -> None:
    code = "import sys, omnimask_text.commands; print([n for n in ('torch', 'tokenizers', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
