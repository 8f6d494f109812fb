"""Made-up annotated tokens for tests of maskers: an alphabet of 20 residues in words, with spans, classes and scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec

SPEC = TokenSpec(
    vocabulary=20,
    fields={
        "word": FieldSpec("int64"),
        "entity": FieldSpec("int64"),
        "entity.class": FieldSpec("int64", classes=3),
        "year": FieldSpec("float32"),
        "score": FieldSpec("float32"),
    },
)
CONTEXT = Context(specs={"chain": SPEC}, modalities=("chain",))


def draw_of(number: int, progress: float = 0.0) -> Draw:
    return Draw(0, 0, str(number), progress=progress)


def numbers(sizes: list[int]) -> NDArray[np.int64]:
    """(L,) stretches of these sizes, numbered from 0; a negative size is a stretch of none."""
    number, out = 0, []
    for size in sizes:
        out += [number if size > 0 else -1] * abs(size)
        number += size > 0
    return np.array(out, np.int64)


def tokens_of(length: int, **fields: NDArray) -> Tokens:
    """Tokens of random ids with these fields; absent ones hold nothing."""
    ids = np.random.default_rng(length).integers(0, 20, length)
    absent = {
        name: np.full(length, np.nan, np.float32) if spec.dtype == "float32" else np.full(length, -1)
        for name, spec in SPEC.fields.items()
    }
    positions = np.arange(length, dtype=np.float32)[:, None]
    return Tokens(ids, positions, {**absent, **{name.replace("__", "."): values for name, values in fields.items()}})


def chain(length: int, draw: Draw) -> Tokens:
    """Words of 1 to 4 tokens; every third token or so in an entity of 1 to 3 tokens; scores, some of them missing."""
    rng = draw.rng("chain")
    word, entity, kind = (np.full(length, -1) for _ in range(3))
    starts = np.cumsum(rng.integers(1, 5, length + 1))
    word = np.searchsorted(starts, np.arange(length), side="right")
    place, number = 0, 0
    while place < length:
        if rng.uniform() < 0.3:
            size = int(rng.integers(1, 4))
            entity[place : place + size], kind[place : place + size] = number, rng.integers(3)
            number, place = number + 1, place + size
        place += 1
    score = np.where(rng.uniform(size=length) < 0.2, np.nan, rng.uniform(size=length)).astype(np.float32)
    return tokens_of(length, word=word, entity=entity, entity__class=kind, score=score)
