"""A recipe's model as `transformers` configurations: compared on import, written on export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from omnimask.interfaces import Model
from omnimask.modules import MLP, Learned, MaskedLM, Rotary, TableEmbedding, TiedHead
from omnimask.pretrained import check_class

Settings = Mapping[str, Any]
"""Configuration entries that determine the meaning of weights."""

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class EncoderParts:
    """Parts of a model without its predictors: its only modality, the modules of its backbone, and the prefix of their names."""

    modality: str
    embedding: TableEmbedding
    encoder: Any
    network: str

    @property
    def table(self) -> Tensor:
        """Rows of the ids, followed by special tokens added by components, (rows, D)."""
        return self.embedding.weight

    @property
    def modules(self) -> Iterable[nn.Module]:
        """Modules described by a configuration."""
        return self.encoder.modules()

    @property
    def epsilons(self) -> set[float]:
        """Epsilons of all norms."""
        return {module.eps for module in self.modules if isinstance(module, nn.LayerNorm)}

    def epsilon(self) -> float:
        """Return the epsilon of all norms. Raise ``ValueError`` if they differ."""
        found = sorted(self.epsilons)
        if len(found) != 1:
            raise ValueError(
                f"its norms have the epsilons {', '.join(f'{eps:g}' for eps in found)}, but a configuration has "
                "one; set the same norm_eps in encoder and predictor"
            )
        return found[0]


@dataclass(frozen=True)
class MaskedLMParts(EncoderParts):
    """Parts of a masked language model: also its predictor's label, the predictor and its head."""

    label: str
    predictor: MaskedLM
    head: TiedHead

    @property
    def modules(self) -> Iterable[nn.Module]:
        return (*self.encoder.modules(), *self.predictor.modules())


def encoder_parts_of(model: Model, encoder: type, name: str) -> EncoderParts:
    """Return the parts of a model with one modality of ids and an encoder of a given class, with any predictors.

    ``name`` is the encoder's name in recipes.

    Raises:
        ValueError: it is another model; the message describes the difference.
    """
    part = model.passes[model.backbone]
    if part.reads:
        raise ValueError(f"pass {part.name} reads features of others, {', '.join(part.reads)}; it must read its embeddings")
    if len(part.embeddings) != 1:
        raise ValueError(f"the model must have one modality, but has {', '.join(part.embeddings)}")
    ((modality, embedding),) = part.embeddings.items()
    check_class(part.encoder, encoder, f"encoder: {{name: {name}}}")
    check_class(embedding, TableEmbedding, "embedding: {name: table}")
    assert isinstance(embedding, TableEmbedding)
    (network, *_) = [name for name, one in model.networks.items() if one is part.network]
    return EncoderParts(modality, embedding, part.encoder, f"networks.{network}")


def parts_of(model: Model, encoder: type, name: str, *, beside_others: bool = False) -> MaskedLMParts:
    """Return the parts of a model with one modality of ids, an encoder of a given class, and the predictor ``mlm``.

    Args:
        model: its backbone's pass is read.
        encoder: its class.
        name: the encoder's name in recipes.
        beside_others: whether it may have other predictors too, which are excluded from the result.

    Raises:
        ValueError: it is another model; the message describes the difference.
    """
    parts = encoder_parts_of(model, encoder, name)
    predictors = model.passes[model.backbone].predictors
    if beside_others and len(predictors) > 1:
        predictors = {label: part for label, part in predictors.items() if type(part) is MaskedLM}
    if len(predictors) != 1:
        what = "one predictor {name: mlm}" if beside_others else "one predictor"
        raise ValueError(f"the model must have {what}, but has {', '.join(predictors) or 'none'}")
    ((label, predictor),) = predictors.items()
    if type(predictor) is not MaskedLM:  # its subclasses have other answers
        raise ValueError(f"the model has {type(predictor).__name__} but needs a predictor {{name: mlm}}")
    modality, head = parts.modality, predictor.heads[parts.modality]
    if not isinstance(head, TiedHead):
        raise ValueError("the predictor has a separate output matrix; it must share the embedding's, tied: true")
    if predictor.context.layer is not None:
        raise ValueError(f"the predictor reads layer {predictor.context.layer}; it must read the last one; remove layer:")
    return MaskedLMParts(modality, parts.embedding, parts.encoder, parts.network, label, predictor, head)


def initial_parts_of(model: Model, encoder: type, name: str) -> EncoderParts:
    """Return the parts of a model to initialize: with its predictor ``mlm`` if the backbone's pass has one.

    Raises:
        ValueError: as for :func:`parts_of`.
    """
    predictors = model.passes[model.backbone].predictors.values()
    if predictors and not any(isinstance(predictor, MaskedLM) for predictor in predictors):
        return encoder_parts_of(model, encoder, name)
    return parts_of(model, encoder, name, beside_others=True)


def bert_settings(parts: EncoderParts) -> Settings:
    """Return entries of ``BertConfig`` except the vocabulary and the epsilon.

    Raises:
        ValueError: BERT cannot represent the model.
    """
    settings = bert_encoder_settings(parts)
    if isinstance(parts, MaskedLMParts) and parts.predictor.dense.bias is None:
        raise ValueError("the predictor's head has no biases; BERT's has, bias: true")
    return settings


def bert_encoder_settings(parts: EncoderParts) -> Settings:
    """Return entries as :func:`bert_settings` does, for the encoder alone."""
    encoder = parts.encoder
    if encoder.project is not None:
        raise ValueError(f"the encoder maps embeddings of width {encoder.embedding_width} to {encoder.width}; BERT has one width")
    check_class(encoder.position, Learned, "position: {name: learned} in the encoder")
    blocks: Any = encoder.stack.blocks
    if not isinstance(blocks[0].mlp, MLP):
        raise ValueError("the encoder has gated MLPs; BERT's are plain, mlp: gelu")
    if encoder.types is not None and encoder.types.name != "document":
        raise ValueError(f"the encoder's types come from the field {encoder.types.name!r}, but BERT's from the text number")
    return {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": blocks[0].attention.heads,
        "intermediate_size": blocks[0].mlp[0].out_features,
        "max_position_embeddings": len(encoder.position.tables[parts.modality]),
        "type_vocab_size": 0 if encoder.types is None else len(encoder.types.weight),
    }


def bert_read(config: Mapping[str, Any], first_position: int = 0) -> Settings:
    """Return the entries of :func:`bert_settings` from a BERT or RoBERTa configuration.

    Missing entries default to the published base's.

    Args:
        config: of the checkpoint.
        first_position: rows of its position table before the first one in use.
    """
    return {
        "hidden_size": config.get("hidden_size", 768),
        "num_hidden_layers": config.get("num_hidden_layers", 12),
        "num_attention_heads": config.get("num_attention_heads", 12),
        "intermediate_size": config.get("intermediate_size", 3072),
        "max_position_embeddings": config.get("max_position_embeddings", 512) - first_position,
        "type_vocab_size": config.get("type_vocab_size", 2),
    }


def modernbert_settings(parts: EncoderParts) -> Settings:
    """Return entries of ``ModernBertConfig`` except the vocabulary, the epsilon, and those that never vary.

    Raises:
        ValueError: ModernBERT cannot represent the model.
    """
    encoder = parts.encoder
    check_class(encoder.position, Rotary, "position: {name: rotary} in the encoder")
    if encoder.local_position is not None:
        check_class(encoder.local_position, Rotary, "local_position: {name: rotary} in the encoder")
    if isinstance(parts, MaskedLMParts) and parts.predictor.dense.bias is not None:
        raise ValueError("the predictor's head has biases; ModernBERT's has none, bias: false")
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
    """Return the entries of :func:`modernbert_settings` from a ModernBERT configuration of any version."""
    depth, every = config.get("num_hidden_layers", 22), config.get("global_attn_every_n_layers", 3)
    types = config.get("layer_types") or layer_types(depth, every)
    ropes: Mapping[str, Any] = config.get("rope_parameters") or {}
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


def global_every(types: Sequence[str]) -> int | None:
    """Return the encoder ``modernbert``'s option ``global_every`` for these kinds of blocks; None if there is none."""
    made = (number for number in range(1, len(types) + 1) if list(types) == layer_types(len(types), number))
    return next(made, None)


def layer_types(depth: int, every: int) -> list[str]:
    """Return kinds of blocks: every n-th block, starting with the first, attends to the whole sequence."""
    return [SLIDING if number % every else FULL for number in range(depth)]
