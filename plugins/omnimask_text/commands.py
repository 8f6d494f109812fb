"""``omnimask train-tokenizer``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from omnimask.commands import say, write_pairs
from omnimask.errors import UserError

_SAMPLE = 60
"""Number of characters of the corpus to show as tokens."""


class Algorithm(StrEnum):
    """Subword algorithm."""

    bpe = "bpe"
    wordpiece = "wordpiece"
    unigram = "unigram"


def train_tokenizer(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="UTF-8 text file, or folder of such files.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder; must not exist.", show_default=False)],
    algorithm: Annotated[Algorithm, typer.Option("--algorithm", help="Subword algorithm.")] = Algorithm.bpe,
    vocabulary: Annotated[int, typer.Option("--vocabulary", metavar="N", help="Vocabulary size, including special tokens.")] = 8192,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Lowercase the text; wordpiece also strips accents.")] = False,
) -> None:
    """Train a tokenizer on your own text.

    OUT becomes a folder that the tokenizer text.huggingface reads, and transformers' AutoTokenizer. The same corpus gives the same
    tokenizer. Of a folder, the files that the data set text.files knows are read (.txt, .md, ..., .gz), those of sub-folders too.
    """
    _check_out(out)
    from omnimask_text.tokenize.corpus import find_corpus
    from omnimask_text.tokenize.train import files, train

    try:
        texts = find_corpus(corpus)
        say(f"training {algorithm.value} on {_described(len(texts.files), sum(file.stat().st_size for file in texts.files))}")
        tokenizer = train(texts, algorithm.value, vocabulary, lowercase=lowercase)
        sample = _sample(texts())
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    _write(out, files(tokenizer))
    tokens: Any = tokenizer.encode(sample).tokens
    write_pairs({"tokens": f"{tokenizer.get_vocab_size():,}", "text": sample, "becomes": " ".join(tokens)}, title=str(out))
    say(f"\nwritten: {out}. In a recipe:\n  tokenizer: {{name: text.huggingface, path: {out}}}")


def _check_out(out: Path) -> None:
    """Raise before training, which may take a while."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists; choose another folder, or remove it first")
    if not out.absolute().parent.is_dir():
        raise UserError(f"folder {out.absolute().parent} of {out.name} does not exist")


def _write(out: Path, contents: Mapping[str, str]) -> None:
    """Write the folder with its files; it is complete or absent."""
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
        try:
            part.chmod(0o755)
            for name, text in contents.items():
                (part / name).write_text(text, encoding="utf-8")
            part.rename(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error


def _sample(chunks: Iterable[str]) -> str:
    """Return the beginning of the first line that is long enough, or of the longest one."""
    lines = (" ".join(line.split()) for chunk in chunks for line in chunk.splitlines())
    found = ""
    for line in lines:
        found = max(found, line, key=len)
        if len(found) >= _SAMPLE:
            break
    return found if len(found) <= _SAMPLE else found[:_SAMPLE].rpartition(" ")[0] or found[:_SAMPLE]


def _described(num_files: int, size: int) -> str:
    unit, scale = ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{num_files} file{'s' if num_files > 1 else ''} with {size / scale:,.1f} {unit}"
