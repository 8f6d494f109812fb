"""Entries of `transformers` configurations without a counterpart in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnimask_text.weights.hf_configs import FULL, SLIDING, global_every, modernbert_read

_BERT = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_MODERNBERT = {
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "tie_word_embeddings": True,
}

_DEBERTA = {
    "hidden_act": ("gelu", "gelu"),
    "relative_attention": (True, False),
    "position_biased_input": (False, True),
    "share_att_key": (True, False),
    "norm_rel_ebd": ("layer_norm", "none"),
    "type_vocab_size": (0, 0),
    "conv_kernel_size": (0, 0),
    "legacy": (True, True),
    "tie_word_embeddings": (True, True),
}
"""The supported value of an entry, and that of a configuration without it."""


def bert_unread(config: Mapping[str, Any]) -> list[str]:
    """Return entries of a BERT or RoBERTa configuration unsupported by recipes, as ``key: value``."""
    return _other_than(_BERT, config)


def modernbert_unread(config: Mapping[str, Any]) -> list[str]:
    """Return unsupported entries of a ModernBERT configuration of any version, like :func:`bert_unread`."""
    found, settings = _other_than(_MODERNBERT, config), modernbert_read(config)
    if config.get("rope_scaling"):
        found.append(f"rope_scaling: {config['rope_scaling']!r} (rotary positions are scaled)")
    ropes: Mapping[str, Any] = config.get("rope_parameters") or {}
    for kind in (FULL, SLIDING):
        if (rope := (ropes.get(kind) or {}).get("rope_type", "default")) != "default":
            found.append(f"rope_parameters.{kind}.rope_type: {rope!r} (rotary positions are scaled)")
    if global_every(settings["layer_types"]) is None:
        full = ", ".join(str(number) for number, kind in enumerate(settings["layer_types"]) if kind == FULL) or "none"
        found.append(f"layer_types: full attention in blocks {full} (not in the first and every so-manieth after it)")
    if (window := settings["local_attention"]) is not None and (window < 2 or window % 2):
        found.append(f"local_attention: {window!r} (a window is even)")
    return found


def deberta_unread(config: Mapping[str, Any]) -> list[str]:
    """Return unsupported entries of a DeBERTa-v2 configuration, like :func:`bert_unread`."""
    found = [
        f"{key}: {config.get(key, default)!r}" for key, (wanted, default) in _DEBERTA.items() if config.get(key, default) != wanted
    ]
    terms = config.get("pos_att_type") or []
    if {*(terms.split("|") if isinstance(terms, str) else terms)} != {"c2p", "p2c"}:
        found.append(f"pos_att_type: {terms!r}")
    if (buckets := config.get("position_buckets", -1)) < 4:
        found.append(f"position_buckets: {buckets!r}")
    if (width := config.get("embedding_size")) not in (None, config.get("hidden_size", 1536)):
        found.append(f"embedding_size: {width!r}")
    return found


def _other_than(wanted: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {config[key]!r}" for key, value in wanted.items() if config.get(key, value) != value]
