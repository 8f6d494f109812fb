"""CPU time of one worker for a batch of texts: tokenized at every visit, and from stored tokens, in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol import Comparison, Variant, compare

from omnimask.builder.build import Built, build
from omnimask.data.planner import Cursor
from omnimask.recipe import load_recipe

ANEW, STORED = "tokenized at every visit", "stored tokens"
TOKENS = 16_384
LENGTHS = (128, 512, 2048)


def run(length: int, *, batches: int = 4) -> Comparison:
    """Batches of 16,384 tokens with BERT's masks, read, masked and packed in this process. Parts have up to ``length`` tokens."""
    changes = [
        f"modalities.text.tokenizer={{name: text.english, max_length: {length}}}",
        "data={name: english}",
        f"train.batch_tokens={TOKENS}",
        f"train.micro_batch_tokens={TOKENS}",
        f"train.steps={batches}",
        "train.schedule.warmup=0",
    ]

    def read(built: Built) -> Callable[[], None]:
        planner, cursor = built.planner(), Cursor()
        places: list[Any] = []
        for step in range(batches):
            plan = planner.step(step, cursor)
            places += plan.micro_batches
            cursor = plan.after
        return lambda: [built.pipeline(each) for each in places].clear()

    anew, stored = (build(load_recipe("text/bert", [*changes, *more])) for more in (["data.cache_tokens=0"], []))
    sample = stored.pipeline(stored.planner().step(0, Cursor()).micro_batches[0]).batch
    assert sample is not None
    inputs = {
        "recipe": "text/bert with the tokenizer text.english on the embedded texts",
        "batches": f"{batches} a round, the first of {sample.num_tokens} tokens in {sample.num_samples} texts of up to {length}",
    }
    variants = [Variant(ANEW, read(anew)), Variant(STORED, read(stored))]
    return compare(f"Texts of up to {length} tokens", variants, inputs=inputs, baseline=ANEW, rounds=9)


def tables() -> dict[str, Callable[[], Any]]:
    """Every comparison by the name of its result file."""
    return {f"stored_tokens_{length}": lambda length=length: run(length) for length in LENGTHS}
