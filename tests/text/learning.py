"""Short runs of shipped recipes on the embedded texts: small enough to learn something in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from omnimask.builder.build import Built, build
from omnimask.data.planner import Cursor, Place
from omnimask.interfaces import MaskedBatch
from omnimask.recipe import load_recipe

ENGLISH = "{name: text.english, max_length: 64}"
BYTES = "{name: text.bytes, max_length: 128}"
SMALL = (
    "data={name: english, validation: 0.02, max_validation: 64}",
    "encoder.width=64",
    "encoder.depth=2",
    "encoder.heads=4",
    "encoder.mlp_width=128",
    "encoder.dropout=0",
    "encoder.position.max_length=128",
    "train.batch_tokens=2048",
    "train.workers=0",
)


@dataclass(frozen=True)
class Step:
    """Losses by term, and scores by term and name, of one step."""

    losses: dict[str, float]
    scores: dict[str, dict[str, float]]


def small(recipe: str, *more: str, tokenizer: str = ENGLISH, steps: int = 200) -> Built:
    return build(load_recipe(recipe, [f"modalities.text.tokenizer={tokenizer}", *SMALL, f"train.steps={steps}", *more]))


def batches(built: Built, steps: int) -> Iterator[MaskedBatch]:
    """Of the first steps of training."""
    for _, loaded in zip(range(steps), built.loader(Cursor(), 0), strict=False):
        yield from loaded.batches


def learn(built: Built, given: Iterator[MaskedBatch], lr: float = 3e-3) -> list[Step]:
    """Trains on batches, one by one."""
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=lr, betas=(0.9, 0.98), fused=True)
    steps: list[Step] = []
    built.model.train()
    for batch in given:
        output = built.model(batch, is_scored=True)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        scores = {term: {n: s.total.item() / s.count for n, s in found.items()} for term, found in output.scores.items()}
        steps.append(Step({term: value.item() for term, value in output.terms.items()}, scores))
    return steps


def same_texts(built: Built, count: int, steps: int) -> Iterator[MaskedBatch]:
    """The same few texts in every step, each time masked anew."""
    for epoch in range(steps):
        batch = built.pipeline(
            [Place(epoch, at, index, 0.0) for at, index in enumerate(built.train_indices[:count].tolist())]
        ).batch
        assert batch is not None
        yield batch


@torch.no_grad()
def held_out(built: Built) -> dict[str, dict[str, float]]:
    """Scores of the held-out texts, by term and name."""
    sums: dict[tuple[str, str], list[float]] = {}
    built.model.eval()
    for batch in built.validation_batches():
        for term, scores in built.model(batch, is_scored=True).scores.items():
            for name, score in scores.items():
                total = sums.setdefault((term, name), [0.0, 0.0])
                total[0] += score.total.item()
                total[1] += score.count
    found: dict[str, dict[str, float]] = {}
    for (term, name), (total, count) in sums.items():
        found.setdefault(term, {})[name] = total / count
    return found
