"""A recipe for a user's texts: a masked language model sized for their number, their kind and the device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from omnimask import suggest
from omnimask.interfaces import Context, Suggestion
from omnimask.pretrained import model_type
from omnimask_text.suggest.from_model import suggest_model
from omnimask_text.suggest.survey import Survey, reader_of, survey
from omnimask_text.tokenize.english import EnglishTokenizer

_TEMPLATE = """\
# A masked language model for {about}, written by `omnimask init`.
# {device_line}
omnimask: 1
modalities:
  text:
    # {tokenizer_reason}
    tokenizer: {{name: {tokenizer}, max_length: {max_length}}}  # longer documents are cut into parts, and nothing is lost
{field}    masker: {{name: random, ratio: 0.3}}  # ModernBERT's share; {{name: units, ratio: 0.3}} hides whole words
    corruptor: {{name: mask_token}}
# {model_reason}
encoder: {{name: modernbert, width: {width}, depth: {depth}, heads: {heads}, window: {window}}}
predictors:
  - {{name: mlm, target: {{name: ids}}, bias: false, norm_eps: 1.0e-5}}
data:
  name: {data}
  path: {path}
{options}  validation: {validation}  # share held out, chosen by a hash of each document's name
{max_bad}train:
  steps: {steps}  # {steps_reason}
  batch_tokens: {batch_tokens}
  optimizer: {{name: adamw, lr: {lr}, betas: [0.9, 0.98], weight_decay: 0.01}}
  schedule: {{name: warmup_stable_decay, warmup: {warmup}, decay: {decay}}}
  clip: 1.0
  log_every: 10
  validate_every: {every}
  checkpoint_every: {every}
"""

_UNKNOWN, _SHORT = 0.02, 2.5
"""Limits of the English vocabulary: maximum share of unknown pieces, and minimum number of characters per piece."""
_EPOCHS = 20


class SuggestTexts:
    """A masked language model for text files, or for rows with a column of texts, based on up to 200 documents.

    A folder with a masked language model of `transformers` gets a recipe that starts from its weights.

    The English vocabulary is used if it suits the texts, bytes otherwise. The network and the steps follow the number of characters
    and the device.
    """

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, folder: Path) -> Suggestion | None:
        """Return None for a folder without texts, or with another kind of model. Raise ``ValueError`` if nothing can be read."""
        if (kind := model_type(folder)) is not None:
            return suggest_model(folder, kind)
        seen = survey(folder)
        if seen is None:
            return None
        plan = Plan(seen, has_gpu=suggest.has_gpu())
        return Suggestion("text", seen.num_files, {**seen.summary(), "tokenizer": plan.tokenizer}, plan.recipe(folder))

    def data(self, path: Path) -> tuple[str, Mapping[str, Any]] | None:
        """Return the modality of the files at a path, and the data set that reads them."""
        found = reader_of(path)
        return None if found is None else ("text", {"name": found[0]})


@dataclass(frozen=True)
class Plan:
    """The numbers of a recipe and their reasons.

    Args:
        seen: survey of the texts.
        has_gpu: whether to train on a GPU.
    """

    seen: Survey
    has_gpu: bool

    @cached_property
    def _english(self) -> tuple[float, float]:
        """Characters per piece of the English vocabulary, and the share of unknown pieces, in the texts that were read."""
        scheme = EnglishTokenizer(Context()).scheme
        texts = [text[:2_000] for text in self.seen.texts[:50]]
        ids = np.concatenate([scheme.encode(text).ids for text in texts])
        return sum(map(len, texts)) / max(1, len(ids)), float((ids == scheme.special_ids["unk"]).mean()) if len(ids) else 1.0

    @property
    def tokenizer(self) -> str:
        """``text.english`` if it suits the texts, else ``text.bytes``."""
        length, unknown = self._english
        return "text.english" if unknown <= _UNKNOWN and length >= _SHORT else "text.bytes"

    @property
    def tokens(self) -> float:
        """Approximate number of tokens of all documents."""
        return self.seen.characters / self._english[0] if self.tokenizer == "text.english" else 1.1 * self.seen.characters

    @property
    def max_length(self) -> int:
        longest = 512 if self.has_gpu else 128
        return longest if self.tokenizer == "text.english" else 2 * longest

    @property
    def network(self) -> tuple[int, int, int]:
        """Width, depth and heads of the encoder; the largest is ModernBERT's shape at BERT-base's depth."""
        if not self.has_gpu:
            return 192, 4, 4
        return (256, 6, 4) if self.tokens < 2e7 else (512, 8, 8) if self.tokens < 5e8 else (768, 12, 12)

    @property
    def batch_tokens(self) -> int:
        return 2_048 if not self.has_gpu else 16_384 if self.tokens < 2e7 else 65_536

    @property
    def steps(self) -> int:
        """20 epochs, within bounds that keep the run neither pointless nor endless on its device."""
        low, high = (2_000, 100_000) if self.has_gpu else (300, 1_500)
        return int(min(high, max(low, 100 * round(_EPOCHS * self.tokens / self.batch_tokens / 100))))

    def recipe(self, path: Path) -> str:
        """Return the recipe's text; ``path`` is absolute."""
        seen, (width, depth, heads) = self.seen, self.network
        share = len(seen.unreadable) / seen.num_looked_at
        options = {**seen.data, **({"labels": seen.label} if seen.label and seen.label != "label" else {})}
        return _TEMPLATE.format(
            about=f"{seen.num_documents:,} texts",
            device_line="Sized for a GPU." if self.has_gpu else "Sized for a processor: no GPU was found here.",
            tokenizer=self.tokenizer,
            tokenizer_reason=self._tokenizer_reason(),
            max_length=self.max_length,
            field="" if seen.column == "text" else f"    field: {json.dumps(seen.column, ensure_ascii=False)}  # the column\n",
            model_reason=f"about {self.tokens:,.0f} tokens {'with' if self.has_gpu else 'without'} a GPU: more bear more",
            width=width,
            depth=depth,
            heads=heads,
            window=128 if self.has_gpu else 64,
            data=seen.name,
            path=suggest.yaml_path(path),
            options="".join(f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in options.items()),
            validation=0.1 if seen.num_documents < 1_000 else 0.05,
            max_bad="" if not share else f"  max_bad: {{fraction: {round(min(1.0, 2 * share), 3)}}}  # twice the share seen\n",
            steps=self.steps,
            steps_reason=f"about {self.steps * self.batch_tokens / max(1.0, self.tokens):,.1f} times through the texts",
            batch_tokens=self.batch_tokens,
            lr="1.5e-3" if width <= 256 else "8.0e-4",
            warmup=max(1, self.steps // 20),
            decay=max(1, self.steps // 4),
            every=max(1, self.steps // 5),
        ) + (f"  workers: {suggest.num_workers(has_gpu=True)}\n" if self.has_gpu else "")

    def _tokenizer_reason(self) -> str:
        length, unknown = self._english
        if self.tokenizer == "text.english":
            return f"the English vocabulary knows these texts: {length:.1f} characters in a piece, {unknown:.1%} of them unknown"
        return (
            f"the English vocabulary suits these texts badly ({length:.1f} characters in a piece, {unknown:.1%} of them unknown):\n"
            "    # bytes know every text; `omnimask train-tokenizer` makes a vocabulary of your own, which is four times as short"
        )
