"""A ragged, discrete toy modality: sentences of a grammar with eight words, 3 to 40 words long."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import omnimask
from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask.registry import Registrar

WORDS = "abcdefgh"
HIDDEN = "_"
"""How a sentence shows the tokenizer's mask id."""


class WordTokenizer:
    """One id per letter of a text over ``a`` to ``h``; its own mask id comes after them, and a text shows it as ``_``."""

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "toy.sentences"
    renderer: ClassVar[str | None] = None

    def __init__(self, context: Context) -> None:
        del context

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=len(WORDS) + 1, special_ids={"mask": len(WORDS)})

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        if not isinstance(raw, str) or not raw or set(raw) - set(WORDS + HIDDEN):
            raise ValueError(f"a sentence is a text over {WORDS!r} that is not empty, not {raw!r}")
        content = np.array([(WORDS + HIDDEN).index(word) for word in raw], np.int64)
        return Tokens(content, np.arange(len(raw), dtype=np.float32)[:, None])

    def decode(self, tokens: Tokens) -> str:
        order = np.argsort(np.asarray(tokens.positions)[:, 0], kind="stable")
        return "".join((WORDS + HIDDEN)[number] for number in np.asarray(tokens.content)[order])

    def count(self, raw: Any) -> int | None:
        return None if raw is None else len(raw)


def sentence_of(key: str) -> str:
    """Each word follows the one before it in the alphabet, going round, nine times in ten."""
    rng = Draw(0, 0, key).rng("sentence")
    length = int(rng.integers(3, 41))
    steps = np.where(rng.uniform(size=length) < 0.9, 1, rng.integers(0, len(WORDS), length))
    words: NDArray[np.int64] = (int(rng.integers(len(WORDS))) + np.cumsum(steps)) % len(WORDS)
    return "".join(WORDS[word] for word in words)


class Sentences:
    """768 sentences."""

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 768

    def key(self, index: int) -> str:
        return f"sentences/{range(len(self))[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"words": sentence_of(self.key(index))}

    def fingerprint(self) -> str:
        return "toy sentences 1"


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    registry.add_tokenizer("toy.words", "toy_grammar:WordTokenizer")
    registry.add_dataset("toy.sentences", "toy_grammar:Sentences")
