"""Masking and packing a batch, as loader workers do it, against the peers' collators.

Samples are tokenized beforehand on both sides. The peer of text is `transformers`' DataCollatorForLanguageModeling. Images have no
collator in the library: its example for masked images (run_mim.py) draws a random permutation of cells for every image and stacks
pixels and masks; this is written here in its shortest form. Models receive float32 there and bytes here, so the peer with
bytes is a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from protocol import Comparison, Variant, compare
from texts import MEAN, lengths, ours
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from omnimask.builder.build import build
from omnimask.data.pipeline import Pipeline
from omnimask.data.sample_columns import columns_of
from omnimask.interfaces import Draw, Draws, Sample, SampleColumns, TokenColumns, Tokens
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER

SIDE, PATCH, RATIO = 224, 16, 0.75


def own_variants(pipeline: Pipeline, samples: Sequence[Sample], repeat: int) -> list[Variant]:
    """The rows of omnimask: sample by sample, all samples at once, and all at once from columns as a token store holds them."""
    (name,) = pipeline.specs
    stored = columns_of(samples, pipeline.specs).tokens[name]
    rows, draws = np.arange(len(samples)), [sample.draw for sample in samples]

    def from_columns() -> Any:
        # New objects in each call: nothing computed from them before is reused.
        own = Draws(draws)
        tokens = TokenColumns(stored.content, stored.positions, stored.lengths, own, stored.fields)
        return pipeline.pack_columns(SampleColumns({name: tokens}, {name: rows}, own, (name,)))

    return [
        Variant("omnimask, sample by sample", lambda: [pipeline.pack_each(samples) for _ in range(repeat)]),
        Variant("omnimask, the whole batch", lambda: [pipeline.pack(samples) for _ in range(repeat)]),
        Variant("omnimask, the whole batch, from columns", lambda: [from_columns() for _ in range(repeat)]),
    ]


def text(texts: int = 64, rounds: int = 9, repeat: int = 5) -> Comparison:
    """Texts of different lengths."""
    sizes = lengths(texts)
    built, samples = ours("text/bert", 0.15, sizes, [])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"), mask_token="[MASK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    rows = [{"input_ids": sample.tokens["text"].content.tolist()} for sample in samples]
    peer = Variant("DataCollatorForLanguageModeling", lambda: [collator(rows) for _ in range(repeat)])
    inputs = {
        "texts": f"{texts}, log-normal lengths with mean {MEAN}",
        "tokens": f"{sizes.sum()}, {repeat} times over; 15 % hidden, 80-10-10",
    }
    variants = [peer, *own_variants(built.pipeline, samples, repeat)]
    return compare("Masking a batch of text", variants, inputs=inputs, baseline=peer.name, rounds=rounds)


def images(count: int = 64, rounds: int = 9) -> Comparison:
    """Images of one size, hidden patch by patch."""
    changes = ["data={name: digits}", "modalities.image.augment=[]", "encoder.depth=1", "predictors.0.depth=1"]
    built = build(load_recipe("image/mae", changes))
    cells = SIDE // PATCH
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    samples = []
    for number in range(count):
        content = rng.integers(0, 255, (cells**2, *(built.specs["image"].width or ()))).astype(np.uint8)
        samples.append(Sample({"image": Tokens(content, grid)}, Draw(0, 0, str(number)), ("image",)))
    pixels = [torch.randn(3, SIDE, SIDE) for _ in range(count)]
    stored = [torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8) for _ in range(count)]
    peers = [
        Variant("run_mim.py: permutations, stacked pixels", lambda: stacked(pixels, cells)),
        Variant("run_mim.py, with bytes", lambda: stacked(stored, cells)),
    ]
    inputs = {"images": f"{count} of {SIDE} x {SIDE} pixels, {cells**2} patches", "hidden": f"{RATIO:.0%}"}
    variants = [*peers, *own_variants(built.pipeline, samples, 1)]
    return compare("Masking a batch of images", variants, inputs=inputs, baseline=peers[0].name, rounds=rounds)


def stacked(pixels: Sequence[torch.Tensor], cells: int) -> dict[str, torch.Tensor]:
    """Pixels, and for each image the hidden ones of its cells, drawn by a permutation."""
    hidden = []
    for _ in pixels:
        is_hidden = np.zeros(cells**2, int)
        is_hidden[np.random.permutation(cells**2)[: int(np.ceil(cells**2 * RATIO))]] = 1  # noqa: NPY002
        hidden.append(torch.tensor(is_hidden.reshape(cells, cells).flatten()))
    return {"pixel_values": torch.stack(list(pixels)), "bool_masked_pos": torch.stack(hidden)}
