"""The texts that small models of other programs are compared on."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite(f"{__package__}.pretrained")

TEXTS = [
    "The encoder reads the whole sentence, and the head answers for what it did not see.",
    "A mask token stands where a word was hidden.",
    "Weights begin as those of another program, and training continues from there; nothing of them is lost on the way.",
    "Short.",
    "A vocabulary may grow: new words take the mean of their pieces.",
] * 2


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder
