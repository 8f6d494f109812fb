"""Export of trained text encoders as folders of `transformers` for ``AutoModel``, independent of the predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers

from omnimask.interfaces import Context, Exported, Trained
from omnimask.modules import BertEncoder, MaskedLM
from omnimask.pretrained import quiet, scatter
from omnimask_text.weights.check_written import check_tokenizer, compare_features
from omnimask_text.weights.hf_configs import EncoderParts, bert_encoder_settings, encoder_parts_of
from omnimask_text.weights.hf_names import bert_names
from omnimask_text.weights.hf_tokenizer import peer_tokenizer, special_ids


class BertEncoderOnly:
    """A ``BertModel`` without pooler, with its tokenizer, from a recipe with the encoder ``bert``; predictors are dropped.

    It has the names, shapes and outputs of the encoder in a ``BertForMaskedLM``, so models trained by other predictors than ``mlm``
    (``deep_mlm``, ``unit_mlm``, ``in_place``) are fine-tuned like a plain BERT. A model whose only predictor is ``mlm`` is refused:
    ``text.bert`` exports it with its output layer, or gives the reason.
    """

    format: ClassVar[str] = "transformers"
    tolerance: ClassVar[float] = 1e-4  # as the whole model's

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        parts = encoder_parts_of(trained.model, BertEncoder, "bert")
        predictors = list(trained.model.passes[trained.model.backbone].predictors.values())
        if [type(predictor) for predictor in predictors] == [MaskedLM]:
            raise ValueError("this format drops predictors; text.bert writes mlm with its output layer, see its reason above")
        tokenizer = trained.tokenizers[parts.modality]
        peers = peer_tokenizer(tokenizer, trained.specs[parts.modality], ["input_ids", "token_type_ids", "attention_mask"])
        ids = special_ids(peers)
        with quiet(transformers.utils.logging), torch.random.fork_rng(devices=[]):
            model = transformers.BertModel(_config(parts, ids), add_pooling_layer=False)
            _load(model, trained, parts)
            model.save_pretrained(folder)
            peers.save_pretrained(folder)
            only_files: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            again = transformers.BertModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
            check_tokenizer(tokenizer, transformers.AutoTokenizer.from_pretrained(folder, **only_files), trained, parts)
        return compare_features(trained, parts, again.float().eval())


def _config(parts: EncoderParts, ids: dict[str, Any]) -> transformers.BertConfig:
    settings: dict[str, Any] = dict(bert_encoder_settings(parts))
    return transformers.BertConfig(
        **{**settings, "type_vocab_size": settings["type_vocab_size"] or 2},
        **ids,
        vocab_size=len(parts.table),
        layer_norm_eps=parts.epsilon(),
        hidden_dropout_prob=getattr(parts.encoder.dropout, "p", 0.0),
        attention_probs_dropout_prob=0.0,
    )


def _load(model: transformers.BertModel, trained: Trained, parts: EncoderParts) -> None:
    """Load the weights of embeddings and encoder; missing token types are zero."""
    has_types = parts.encoder.types is not None
    names = [
        (ours, [name.removeprefix("bert.") for name in theirs])
        for ours, theirs in bert_names(parts.encoder.depth, types=has_types, modality=parts.modality, network=parts.network)
        if theirs[0].startswith("bert.")
    ]
    mine = {key: tensor for key, tensor in trained.model.state_dict().items() if key.startswith(f"{parts.network}.")}
    types = {"embeddings.token_type_embeddings.weight": parts.table.new_zeros(2, parts.encoder.width)}
    model.load_state_dict({**types, **scatter(mine, names)}, strict=True)
