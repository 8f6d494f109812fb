"""CPU time of the main process for a batch from a loader worker: tensors sent one by one, and in one buffer, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any
from unittest.mock import patch

import torch
from protocol import Comparison, Variant, compare

from omnimask.builder.build import build
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch
from omnimask.packed import map_arrays
from omnimask.recipe import load_recipe

TEXTS = {"text/quickstart": "one view", "text/retromae": "two views"}
_CHANGES = ["modalities.text.tokenizer={name: text.english, max_length: 128}", "data={name: english}", "train.workers=1"]
SINGLY, TOGETHER = "tensors one by one", "one buffer"


def run(recipe: str, tokens: int, *, steps: int = 8, rounds: int = 9) -> Comparison:
    """Steps of one micro-batch of ``tokens`` tokens, planned, loaded by one worker and received. The first one is not counted.

    The seconds are those of the main process for one batch, with its planning.
    """
    changes = [*_CHANGES, f"train.batch_tokens={tokens}", f"train.micro_batch_tokens={tokens}", f"train.steps={steps + 1}"]
    built = build(load_recipe(recipe, changes))
    seconds = 0.0
    batches: list[MaskedBatch] = []

    def receive() -> None:
        nonlocal seconds
        with closing(iter(built.loader(Cursor(), 0))) as loaded:
            batches[:] = next(loaded).batches
            begin = time.process_time()
            count = sum(len(step.batches) for step in loaded)
            seconds = (time.process_time() - begin) / count

    def receive_singly() -> None:
        with patch("omnimask.data.loader.parcel", lambda value: value):
            receive()

    receive()
    sizes = _sizes(batches[0])
    inputs = {
        "recipe": f"{recipe}, {TEXTS[recipe]}, one worker, {steps} batches a round",
        "batch": f"{batches[0].num_tokens} tokens, {len(sizes)} tensors, {sum(sizes) / batches[0].num_tokens:.0f} bytes a token",
    }
    variants = [Variant(SINGLY, receive_singly), Variant(TOGETHER, receive)]
    title = "Main process, a batch from a worker"
    return compare(title, variants, inputs=inputs, baseline=SINGLY, rounds=rounds, clock=lambda: seconds)


def _sizes(batch: MaskedBatch) -> list[int]:
    """Bytes of every distinct tensor."""
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found[id(tensor)] = tensor.nbytes
        return tensor

    map_arrays(batch, note, (torch.Tensor,))
    return list(found.values())


def tables() -> dict[str, Callable[[], Any]]:
    """Every comparison by the name of its result file."""
    return {
        f"transport_{views.replace(' ', '_')}_{tokens // 1024}k": lambda recipe=recipe, tokens=tokens: run(recipe, tokens)
        for recipe, views in TEXTS.items()
        for tokens in (16_384, 65_536)
    }
