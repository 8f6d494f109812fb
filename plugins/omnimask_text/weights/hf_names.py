"""Parameter names of `transformers`' masked language models (version 5) and of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Pair = tuple[str, tuple[str, ...]]

NETWORK = "networks.main"
"""Prefix of the names of the main network's embeddings and encoder."""


def bert_names(
    depth: int, *, types: bool = True, modality: str = "text", predictor: str = "mlm", network: str = NETWORK
) -> Iterator[Pair]:
    """Yield names of ``BertForMaskedLM`` and a recipe with encoder ``bert`` (positions ``learned``) and predictor ``mlm``.

    Args:
        depth: number of blocks.
        types: whether the recipe's encoder has token types.
        modality, predictor: the recipe's name of the text, and the label of its predictor.
        network: prefix of the names of the network's embeddings and encoder.
    """
    encoder, head = f"{network}.encoder", f"predictors.{predictor}"
    yield f"{network}.embeddings.{modality}.weight", ("bert.embeddings.word_embeddings.weight",)
    yield f"{encoder}.position.tables.{modality}", ("bert.embeddings.position_embeddings.weight",)
    if types:
        yield f"{encoder}.types.weight", ("bert.embeddings.token_type_embeddings.weight",)
    yield f"{head}.heads.{modality}.bias", ("cls.predictions.bias",)
    for part in ("weight", "bias"):
        yield f"{encoder}.norm.{part}", (f"bert.embeddings.LayerNorm.{part}",)
        yield f"{head}.dense.{part}", (f"cls.predictions.transform.dense.{part}",)
        yield f"{head}.norm.{part}", (f"cls.predictions.transform.LayerNorm.{part}",)
        for number in range(depth):
            yield from _bert_block(f"{encoder}.stack.blocks.{number}", f"bert.encoder.layer.{number}", part)


BERT_TIED: Mapping[str, str] = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Second names of tied parameters in the state of ``BertForMaskedLM``, and their first ones."""


def _bert_block(ours: str, theirs: str, part: str) -> Iterator[Pair]:
    yield f"{ours}.attention.qkv.{part}", tuple(f"{theirs}.attention.self.{name}.{part}" for name in ("query", "key", "value"))
    yield f"{ours}.attention.project.{part}", (f"{theirs}.attention.output.dense.{part}",)
    yield f"{ours}.norm_attention.{part}", (f"{theirs}.attention.output.LayerNorm.{part}",)
    yield f"{ours}.mlp.0.{part}", (f"{theirs}.intermediate.dense.{part}",)
    yield f"{ours}.mlp.2.{part}", (f"{theirs}.output.dense.{part}",)
    yield f"{ours}.norm_mlp.{part}", (f"{theirs}.output.LayerNorm.{part}",)


def roberta_names(
    depth: int, *, types: bool = True, modality: str = "text", predictor: str = "mlm", network: str = NETWORK
) -> Iterator[Pair]:
    """Yield names of ``RobertaForMaskedLM`` and a recipe like BERT's; its position table begins with unused rows."""
    for ours, theirs in bert_names(depth, types=types, modality=modality, predictor=predictor, network=network):
        yield ours, tuple(_roberta_name(name) for name in theirs)


def _roberta_name(name: str) -> str:
    for part, other in _OTHER_HEAD:
        name = name.replace(part, other)
    return name.replace("bert.", "roberta.", 1) if name.startswith("bert.") else name


_OTHER_HEAD = (
    ("cls.predictions.transform.dense", "lm_head.dense"),
    ("cls.predictions.transform.LayerNorm", "lm_head.layer_norm"),
    ("cls.predictions", "lm_head"),
)

ROBERTA_TIED: Mapping[str, str] = {_roberta_name(second): _roberta_name(first) for second, first in BERT_TIED.items()}
"""Names as in :data:`BERT_TIED`, for ``RobertaForMaskedLM``."""


def modernbert_names(depth: int, *, modality: str = "text", predictor: str = "mlm", network: str = NETWORK) -> Iterator[Pair]:
    """Yield names of ``ModernBertForMaskedLM`` and a recipe with encoder ``modernbert`` and predictor ``mlm`` (``bias: false``).

    Args:
        depth: number of blocks.
        modality, predictor: the recipe's name of the text, and the label of its predictor.
    """
    encoder, head = f"{network}.encoder", f"predictors.{predictor}"
    yield f"{network}.embeddings.{modality}.weight", ("model.embeddings.tok_embeddings.weight",)
    yield f"{encoder}.norm_embedding.weight", ("model.embeddings.norm.weight",)
    yield f"{encoder}.norm.weight", ("model.final_norm.weight",)
    yield f"{head}.dense.weight", ("head.dense.weight",)
    yield f"{head}.norm.weight", ("head.norm.weight",)
    yield f"{head}.heads.{modality}.bias", ("decoder.bias",)
    for number in range(depth):
        ours, theirs = f"{encoder}.stack.blocks.{number}", f"model.layers.{number}"
        if number:
            yield f"{ours}.norm_attention.weight", (f"{theirs}.attn_norm.weight",)
        yield f"{ours}.attention.qkv.weight", (f"{theirs}.attn.Wqkv.weight",)
        yield f"{ours}.attention.project.weight", (f"{theirs}.attn.Wo.weight",)
        yield f"{ours}.norm_mlp.weight", (f"{theirs}.mlp_norm.weight",)
        yield f"{ours}.mlp.gate_value.weight", (f"{theirs}.mlp.Wi.weight",)
        yield f"{ours}.mlp.out.weight", (f"{theirs}.mlp.Wo.weight",)


MODERNBERT_TIED: Mapping[str, str] = {"decoder.weight": "model.embeddings.tok_embeddings.weight"}
"""Names as in :data:`BERT_TIED`, for ``ModernBertForMaskedLM``."""
