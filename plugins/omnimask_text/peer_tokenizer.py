"""A recipe's tokenizer as one of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import transformers
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from omnimask.interfaces import Tokenizer, TokenSpec
from omnimask_text.subwords import Subwords
from omnimask_text.tokenizer import TextTokenizer

MASK = "[MASK]"


def peer_tokenizer(tokenizer: Tokenizer, spec: TokenSpec, inputs: Sequence[str]) -> Any:
    """A ``PreTrainedTokenizerFast`` with the same ids.

    Args:
        tokenizer: of the recipe.
        spec: of its tokens, with the special tokens that components appended.
        inputs: what the model takes of it: ``input_ids``, ``token_type_ids``, ``attention_mask``.

    Raises:
        ValueError: the tokenizer is none of subwords, or special tokens were appended to it that cannot have their ids there.
    """
    if not isinstance(tokenizer, TextTokenizer) or not isinstance(tokenizer.scheme, Subwords):
        raise ValueError(
            f"a {type(tokenizer).__name__} is no tokenizer of subwords, and transformers has no other; write safetensors instead"
        )
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


def _copy(tokenizer: TextTokenizer) -> Backend:
    """The tokenizer of subwords as the recipe uses it: without its frame where the recipe wants none."""
    assert isinstance(tokenizer.scheme, Subwords)
    content = json.loads(tokenizer.scheme.backend.to_str())
    if not len(tokenizer.frame):
        content["post_processor"] = None
    return Backend.from_str(json.dumps(content))


def _append_mask(backend: Backend, spec: TokenSpec) -> int:
    """Adds the mask token that a corruptor appended behind the vocabulary, and returns its id."""
    others = [name for name in spec.specials if name != "mask"]
    if others:
        raise ValueError(
            f"components appended the special tokens {', '.join(others)}, which a masked language model has no use for"
        )
    wanted = spec.id("mask")
    if backend.token_to_id(MASK) is None:
        backend.add_special_tokens([AddedToken(MASK, special=True, normalized=False)])
    found = backend.token_to_id(MASK)
    if found != wanted:
        raise ValueError(
            f"the corruptor appended a mask token with the id {wanted:,}, and in the tokenizer {MASK} has {found:,}; "
            "train with a tokenizer that has a mask token of its own"
        )
    return wanted
