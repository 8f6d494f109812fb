"""A training step on text of different lengths against `transformers`' BertForMaskedLM and ModernBertForMaskedLM.

Same sizes, same texts, same hidden tokens, the fused AdamW and no dropout on both sides. The peers run as their users run them
(padded to the context) and in their best documented form: padded to the longest text of the batch, and, where it exists, with
scores at the hidden tokens only. Tokens are noise, which costs the same as words; nothing here says what a variant learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from protocol import Comparison, Variant, compare
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
)

from omnimask.builder.build import Built, build
from omnimask.interfaces import Draw, MaskedBatch, Sample, Tokens
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER

TEXTS, CONTEXT, MEAN, SPREAD = 12, 256, 128, 0.6
WIDTH, DEPTH, HEADS, VOCABULARY = 384, 6, 6, 8192
RATE = {"lr": 1e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}


def lengths(count: int = TEXTS, seed: int = 0) -> np.ndarray:
    """(count,) log-normal with mean MEAN, none longer than the context."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEAN) - SPREAD**2 / 2, SPREAD, count)
    return np.clip(np.round(drawn), 8, CONTEXT).astype(int)


def ours(recipe: str, ratio: float, sizes: np.ndarray, overrides: Sequence[str]) -> tuple[Built, list[Sample]]:
    """The recipe at the benchmark's size, and texts of these lengths."""
    changes = [
        f"modalities.text.tokenizer={{name: text.english, max_length: {CONTEXT}}}",
        f"modalities.text.masker.ratio={ratio}",
        "data={name: english}",
        *(f"encoder.{key}={value}" for key, value in (("width", WIDTH), ("depth", DEPTH), ("heads", HEADS))),
        *overrides,
    ]
    built = build(load_recipe(recipe, changes))
    rng = np.random.default_rng(1)
    samples = []
    for number, size in enumerate(sizes):
        fields = {name: np.zeros((size, *field.shape), field.dtype) for name, field in built.specs["text"].fields.items()}
        tokens = Tokens(rng.integers(5, VOCABULARY, size), np.arange(size, dtype=np.float32)[:, None], fields)
        samples.append(Sample({"text": tokens}, Draw(0, 0, str(number)), ("text",)))
    return built, samples


def rows_of(batch: MaskedBatch, width: int) -> dict[str, Tensor]:
    """The same batch as the peers take it, padded to ``width``."""
    stream, content = batch.views["main"].context, batch.store["text"].data
    shown = torch.where(stream.literal >= 0, stream.literal, content)
    labels = torch.full_like(content, -100)
    labels[stream.targets.at[:, 0]] = content[stream.targets.of]
    sizes = stream.layout.lengths.tolist()

    def padded(values: Tensor, fill: int) -> Tensor:
        rows = pad_sequence(values.split(sizes), batch_first=True, padding_value=fill)
        return torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=fill)

    return {"input_ids": padded(shown, 0), "labels": padded(labels, -100), "attention_mask": padded(torch.ones_like(content), 0)}


def step(model: torch.nn.Module, loss: Callable[[], Tensor], *, fused: bool = True) -> Callable[[], None]:
    """Forward, backward and update as one call."""
    options = {**RATE, "fused": True} if fused else RATE
    optimizer = torch.optim.AdamW(model.parameters(), **options)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return call


def bert(
    dropout: float = 0.0, *, width: int = WIDTH, depth: int = DEPTH, heads: int = HEADS, vocabulary: int = VOCABULARY
) -> BertForMaskedLM:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=512,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attn_implementation="sdpa",
        )
    )


def modernbert(*, sparse: bool) -> ModernBertForMaskedLM:
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            intermediate_size=WIDTH * 3 // 2,
            sparse_prediction=sparse,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
            attn_implementation="sdpa",
        )
    )


def operations(call: Callable[[], Any]) -> float:
    """Multiply-adds of one call, counted twice each, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def run(rounds: int = 9) -> Comparison:
    """The table."""
    torch.set_num_threads(1)
    sizes = lengths()
    bert_built, samples = ours("text/bert", 0.15, sizes, ["encoder.dropout=0", "encoder.types=0"])
    modern_built, modern_samples = ours("text/modernbert", 0.15, sizes, [f"encoder.mlp_width={WIDTH * 3 // 2}"])
    ours_bert, batch = bert_built.model, bert_built.pipeline.pack(samples)
    ours_modern, modern_batch = modern_built.model, modern_built.pipeline.pack(modern_samples)
    full, longest = rows_of(batch, CONTEXT), rows_of(batch, int(sizes.max()))
    peers = {"pad": bert(), "short": bert(), "default": bert(0.1)}
    peers |= {"modern": modernbert(sparse=False), "sparse": modernbert(sparse=True)}
    calls = {
        "BertForMaskedLM, padded to 256": step(peers["pad"], lambda: peers["pad"](**full).loss),
        "BertForMaskedLM, as configured by default": step(peers["default"], lambda: peers["default"](**full).loss, fused=False),
        "BertForMaskedLM, padded to the longest": step(peers["short"], lambda: peers["short"](**longest).loss),
        "ModernBertForMaskedLM, to the longest": step(peers["modern"], lambda: peers["modern"](**longest).loss),
        "ModernBertForMaskedLM, sparse, to the longest": step(peers["sparse"], lambda: peers["sparse"](**longest).loss),
        "omnimask text/bert": step(ours_bert, lambda: ours_bert(batch).loss),
        "omnimask text/modernbert": step(ours_modern, lambda: ours_modern(modern_batch).loss),
    }
    variants = [Variant(name, call, operations(call)) for name, call in calls.items()]
    inputs = {
        "model": f"{WIDTH} x {DEPTH}, {HEADS} heads, {VOCABULARY} ids",
        "texts": f"{TEXTS}, log-normal lengths with mean {MEAN}: {', '.join(map(str, sizes))}",
        "tokens": f"{sizes.sum()} of {TEXTS * CONTEXT} places in the context, 15 % hidden",
    }
    return compare("Text training step", variants, inputs=inputs, baseline="BertForMaskedLM, padded to 256", rounds=rounds)


SMALL = {"width": 256, "depth": 12, "heads": 4}
SMALL_VOCABULARY = 30_522


def originality(rounds: int = 9) -> Comparison:
    """A step that judges of every token whether it is the original (RTS, C-RTS) against those that score a vocabulary."""
    torch.set_num_threads(1)
    sizes = lengths()
    tokenizer = f"{{name: text.huggingface, path: {FOLDER}, max_length: {CONTEXT}, vocabulary: {SMALL_VOCABULARY}}}"
    common = [
        f"modalities.text.tokenizer={tokenizer}",
        *(f"encoder.{key}={value}" for key, value in {**SMALL, "dropout": 0, "types": 0}.items()),
    ]
    more = {"text/bert": [], "text/slm": [], "text/rts": [], "text/c-rts": ["modalities.text.corruptor.clusters=random"]}
    calls: dict[str, Callable[[], None]] = {}
    for name, overrides in more.items():
        built, samples = ours(name, 0.15, sizes, [*common, *overrides])
        model, batch = built.model, built.pipeline.pack(samples)
        calls[f"omnimask {name}"] = step(model, lambda model=model, batch=batch: model(batch).loss)
        if name == "text/bert":
            built, samples = ours(name, 1.0, sizes, common)  # the cost, not the task: answers at all places
            model, all_asked = built.model, built.pipeline.pack(samples)
            calls["omnimask text/bert, all tokens scored"] = step(model, lambda model=model, batch=all_asked: model(batch).loss)
            longest, peer = rows_of(batch, int(sizes.max())), bert(**SMALL, vocabulary=SMALL_VOCABULARY)
            calls["BertForMaskedLM, padded to the longest"] = step(peer, lambda peer=peer, rows=longest: peer(**rows).loss)
    variants = [Variant(name, call, operations(call)) for name, call in calls.items()]
    inputs = {
        "model": f"{SMALL['width']} x {SMALL['depth']}, {SMALL['heads']} heads, {SMALL_VOCABULARY} ids",
        "texts": f"{TEXTS}, log-normal lengths with mean {MEAN}: {', '.join(map(str, sizes))}",
        "tokens": f"{sizes.sum()}, 15 % hidden; text/rts and text/c-rts ask of all, the others of the hidden ones",
        "operations": ", ".join(f"{variant.name} {variant.flops:.3g}" for variant in variants if variant.flops),
    }
    return compare("Text training step without a vocabulary", variants, inputs=inputs, baseline="omnimask text/bert", rounds=rounds)
