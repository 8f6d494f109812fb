"""A recipe's model in the terms of `transformers`' configurations: compared when weights come in, written when they leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from omnimask.embeddings.table import TableEmbedding
from omnimask.heads import TiedHead
from omnimask.layers import MLP
from omnimask.model import MaskedModel
from omnimask.positions.learned import Learned
from omnimask.positions.rotary import Rotary
from omnimask.predictors.mlm import MaskedLM

Settings = Mapping[str, Any]
"""Entries of a configuration that decide what weights mean."""

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Parts:
    """A masked language model in parts: its only modality, its predictor's label, and the modules."""

    modality: str
    label: str
    embedding: TableEmbedding
    encoder: Any
    predictor: MaskedLM
    head: TiedHead

    @property
    def table(self) -> Tensor:
        """(rows, D) of the ids, and of the special tokens that components added behind them."""
        return self.embedding.weight

    @property
    def epsilons(self) -> set[float]:
        """Of all norms."""
        modules = (*self.encoder.modules(), *self.predictor.modules())
        return {module.eps for module in modules if isinstance(module, nn.LayerNorm)}

    def epsilon(self) -> float:
        """Of all norms. Raises ``ValueError`` if they differ."""
        found = sorted(self.epsilons)
        if len(found) != 1:
            raise ValueError(
                f"its norms have the epsilons {', '.join(f'{eps:g}' for eps in found)}, and a configuration says one; "
                "give the encoder and the predictor one norm_eps"
            )
        return found[0]


def parts_of(model: MaskedModel, encoder: type, name: str) -> Parts:
    """The parts of a model with one modality of ids, an encoder of a class that recipes call ``name``, and the predictor ``mlm``.

    Raises:
        ValueError: it is another model; the message says what differs.
    """
    if len(model.passes) != 1:
        raise ValueError(f"the model has {len(model.passes)} passes, {', '.join(model.passes)}; it must have one")
    (part,) = model.each()
    for what, held in (("modality", part.embeddings), ("predictor", part.predictors)):
        if len(held) != 1:
            raise ValueError(f"the model must have one {what}, and has {', '.join(held)}")
    ((modality, embedding),) = part.embeddings.items()
    ((label, predictor),) = part.predictors.items()
    _check_class(part.encoder, encoder, f"encoder: {{name: {name}}}")
    _check_class(predictor, MaskedLM, "a predictor {name: mlm}")
    _check_class(embedding, TableEmbedding, "embedding: {name: table}")
    assert isinstance(predictor, MaskedLM) and isinstance(embedding, TableEmbedding)
    head = predictor.heads[modality]
    if not isinstance(head, TiedHead):
        raise ValueError("the predictor scores ids with a matrix of its own; it must use the embedding's rows, tied: true")
    if predictor.context.layer is not None:
        raise ValueError(f"the predictor reads layer {predictor.context.layer}; it must read the last one, without layer:")
    return Parts(modality, label, embedding, part.encoder, predictor, head)


def bert_settings(parts: Parts) -> Settings:
    """Of ``BertConfig``, but for the vocabulary and the epsilon.

    Raises:
        ValueError: BERT has no such model.
    """
    encoder = parts.encoder
    _check_class(encoder.position, Learned, "position: {name: learned} in the encoder")
    blocks: Any = encoder.stack.blocks
    if not isinstance(blocks[0].mlp, MLP):
        raise ValueError("the encoder has gated MLPs; BERT's are plain, mlp: gelu")
    if parts.predictor.dense.bias is None:
        raise ValueError("the predictor has no biases before its scores; BERT's has them, bias: true")
    if encoder.types is not None and encoder.types.name != "document":
        raise ValueError(f"the encoder's types come from the field {encoder.types.name!r}, and BERT's from the number of the text")
    return {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": blocks[0].attention.heads,
        "intermediate_size": blocks[0].mlp[0].out_features,
        "max_position_embeddings": len(encoder.position.tables[parts.modality]),
        "type_vocab_size": 0 if encoder.types is None else len(encoder.types.weight),
    }


def bert_read(config: Mapping[str, Any], first_position: int = 0) -> Settings:
    """A BERT or RoBERTa configuration with the entries that :func:`bert_settings` gives; the published base's where it is silent.

    Args:
        config: of the checkpoint.
        first_position: rows of its table of positions before the first one that is used.
    """
    return {
        "hidden_size": config.get("hidden_size", 768),
        "num_hidden_layers": config.get("num_hidden_layers", 12),
        "num_attention_heads": config.get("num_attention_heads", 12),
        "intermediate_size": config.get("intermediate_size", 3072),
        "max_position_embeddings": config.get("max_position_embeddings", 512) - first_position,
        "type_vocab_size": config.get("type_vocab_size", 2),
    }


def modernbert_settings(parts: Parts) -> Settings:
    """Of ``ModernBertConfig``, but for the vocabulary, the epsilon, and entries that are the same in all that are read and written.

    Raises:
        ValueError: ModernBERT has no such model.
    """
    encoder = parts.encoder
    _check_class(encoder.position, Rotary, "position: {name: rotary} in the encoder")
    if encoder.local_position is not None:
        _check_class(encoder.local_position, Rotary, "local_position: {name: rotary} in the encoder")
    if parts.predictor.dense.bias is not None:
        raise ValueError("the predictor has biases before its scores; ModernBERT's has none, bias: false")
    blocks: Any = encoder.stack.blocks
    reaches = [reach for reach in encoder.reaches if reach is not None]
    return {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": blocks[0].attention.heads,
        "intermediate_size": blocks[0].mlp.out.in_features,
        "layer_types": [FULL if reach is None else SLIDING for reach in encoder.reaches],
        "local_attention": 2 * reaches[0] if reaches else None,
        "global_rope_theta": encoder.position.temperature,
        "local_rope_theta": None if encoder.local_position is None else encoder.local_position.temperature,
    }


def modernbert_read(config: Mapping[str, Any]) -> Settings:
    """A ModernBERT configuration, whichever version wrote it, with the entries that :func:`modernbert_settings` gives.

    Raises:
        ValueError: its positions are not plain rotary ones.
    """
    depth, every = config.get("num_hidden_layers", 22), config.get("global_attn_every_n_layers", 3)
    types = config.get("layer_types") or [SLIDING if number % every else FULL for number in range(depth)]
    ropes: Mapping[str, Any] = config.get("rope_parameters") or {}
    if any((ropes.get(kind) or {}).get("rope_type", "default") != "default" for kind in (FULL, SLIDING)) or config.get(
        "rope_scaling"
    ):
        raise ValueError("the checkpoint's rotary positions are scaled (rope_type, rope_scaling); only plain ones are read")
    wide = (ropes.get(FULL) or {}).get("rope_theta", config.get("global_rope_theta", 160_000.0))
    near = (ropes.get(SLIDING) or {}).get("rope_theta", config.get("local_rope_theta", 10_000.0))
    has_local = SLIDING in types
    return {
        "hidden_size": config.get("hidden_size", 768),
        "num_hidden_layers": depth,
        "num_attention_heads": config.get("num_attention_heads", 12),
        "intermediate_size": config.get("intermediate_size", 1152),
        "layer_types": list(types),
        "local_attention": config.get("local_attention", 128) if has_local else None,
        "global_rope_theta": wide,
        "local_rope_theta": (wide if near is None else near) if has_local else None,
    }


def _check_class(found: Any, wanted: type, remedy: str) -> None:
    if not isinstance(found, wanted):
        raise ValueError(f"the model has {type(found).__name__} where this needs {remedy}")
