"""Conversion of a recipe's tokenizer to one of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from omnimask.interfaces import Tokenizer, TokenSpec
from omnimask_text.tokenize.byte import ByteScheme
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.tokenizer import TextTokenizer
from omnimask_text.weights.vocabulary import BYTES

MASK = "[MASK]"


def peer_tokenizer(tokenizer: Tokenizer, spec: TokenSpec, inputs: Sequence[str]) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with the same ids.

    Args:
        tokenizer: of the recipe.
        spec: of its tokens, with the special tokens appended by components.
        inputs: the model's inputs from it: ``input_ids``, ``token_type_ids``, ``attention_mask``.

    Raises:
        ValueError: the tokenizer isn't a text tokenizer, or appended special tokens cannot keep their ids there.
    """
    if not isinstance(tokenizer, TextTokenizer):
        raise ValueError(f"a {type(tokenizer).__name__} is not a tokenizer of subwords or bytes; export to safetensors instead")
    backend = _copy(tokenizer)
    uses = dict(tokenizer.scheme.special_ids)
    if spec.specials:
        uses["mask"] = _append_mask(backend, spec)
    tokens = {f"{use}_token": backend.id_to_token(number) for use, number in uses.items()}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.max_length,
        model_input_names=list(inputs),
        clean_up_tokenization_spaces=False,
        **tokens,
    )


def special_ids(peer: Any) -> dict[str, Any]:
    """Return the options of a configuration of `transformers` for the ids of special tokens; absent tokens are None."""
    return {f"{use}_token_id": getattr(peer, f"{use}_token_id") for use in ("pad", "bos", "eos", "cls", "sep")}


def _copy(tokenizer: TextTokenizer) -> Backend:
    """Copy the tokenizer as used by the recipe: without its frame if the recipe disables it."""
    if isinstance(tokenizer.scheme, Subwords):
        content = json.loads(tokenizer.scheme.backend.to_str())
    elif isinstance(tokenizer.scheme, ByteScheme):
        content = json.loads(_of_bytes(tokenizer.scheme).to_str())
    else:
        raise ValueError(f"pieces by {type(tokenizer.scheme).__name__} are not subwords or bytes; export to safetensors instead")
    if not tokenizer.add_special:
        content["post_processor"] = None
    return Backend.from_str(json.dumps(content))


def _of_bytes(scheme: ByteScheme) -> Backend:
    """Return a byte-level BPE without merges, with the bytes' values as ids."""
    backend = Backend(models.BPE(vocab=dict(BYTES), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    names = {use: f"[{use.upper()}]" for use in sorted(scheme.special_ids, key=scheme.special_ids.__getitem__)}
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names.values()])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return backend


def _append_mask(backend: Backend, spec: TokenSpec) -> int:
    """Add the mask token that a corruptor appended after the vocabulary, and return its id."""
    others = [name for name in spec.specials if name != "mask"]
    if others:
        raise ValueError(f"components appended the special tokens {', '.join(others)}, which a masked language model does not need")
    wanted = spec.id("mask")
    if backend.token_to_id(MASK) is None:
        backend.add_special_tokens([AddedToken(MASK, special=True, normalized=False)])
    found = backend.token_to_id(MASK)
    if found != wanted:
        raise ValueError(
            f"the corruptor added a mask token with the id {wanted:,}, but in the tokenizer {MASK} has {found:,}; "
            "train with a tokenizer that has a mask token"
        )
    return wanted
