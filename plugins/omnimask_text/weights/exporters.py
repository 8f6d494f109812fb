"""Export of trained text models as folders of `transformers` for ``AutoModelForMaskedLM`` and ``AutoTokenizer``. V ids, D width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Exported, TokenSpec, Trained
from omnimask.modules import BertEncoder, ModernBertEncoder
from omnimask.pretrained import quiet, scatter
from omnimask_text.weights.check_written import check_tokenizer, compare
from omnimask_text.weights.hf_configs import FULL, SLIDING, MaskedLMParts, bert_settings, modernbert_settings, parts_of
from omnimask_text.weights.hf_names import BERT_TIED, MODERNBERT_TIED, Pair, bert_names, modernbert_names
from omnimask_text.weights.hf_tokenizer import peer_tokenizer, special_ids

UNANSWERED = -1e4
"""Logit of a mask token that was appended and cannot be an answer, for output layers that need one: its probability is 0."""

_DEFAULT_WINDOW = 128


class _MaskedLMExporter(ABC):
    """Base class of the exporters: the model, its tokenizer, and the comparison with the exported copy."""

    format: ClassVar[str] = "transformers"
    tolerance: ClassVar[float] = 1e-4  # measured at the base sizes, weights with noise: 1.0e-6
    encoder: ClassVar[type]
    encoder_name: ClassVar[str]
    tied: ClassVar[Iterable[str]]
    reads_types: ClassVar[bool]

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        parts = parts_of(trained.model, self.encoder, self.encoder_name)
        tokenizer, spec = trained.tokenizers[parts.modality], trained.specs[parts.modality]
        inputs = ["input_ids", "token_type_ids", "attention_mask"] if self.reads_types else ["input_ids", "attention_mask"]
        peers = peer_tokenizer(tokenizer, spec, inputs)
        ids = special_ids(peers)
        model = self._model(parts, {**ids, "vocab_size": len(parts.table)}, peers.model_max_length)
        state = scatter(trained.model.state_dict(), self._names(parts))
        self._load(model, self._completed(state, parts, spec))
        with quiet(transformers.utils.logging), torch.random.fork_rng(devices=[]):
            model.save_pretrained(folder)
            peers.save_pretrained(folder)
            only_files: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            again = transformers.AutoModelForMaskedLM.from_pretrained(folder, **only_files)
            check_tokenizer(tokenizer, transformers.AutoTokenizer.from_pretrained(folder, **only_files), trained, parts)
        return compare(trained, parts, again.float().eval(), reads_types=self.reads_types)

    # ---- specific to a family

    @abstractmethod
    def _model(self, parts: MaskedLMParts, ids: Mapping[str, Any], length: int) -> Any:
        """Return a model of the same sizes."""

    @abstractmethod
    def _names(self, parts: MaskedLMParts) -> Iterable[Pair]: ...

    @abstractmethod
    def _completed(self, state: dict[str, Tensor], parts: MaskedLMParts, spec: TokenSpec) -> dict[str, Tensor]:
        """Return the state with the parts missing in the model here, in a form that changes nothing."""

    # ---- common to all families

    def _load(self, model: Any, state: Mapping[str, Tensor]) -> None:
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= set(self.tied), (missing, unexpected)
        model.tie_weights()


def _with_unanswered(bias: Tensor, num_rows: int) -> Tensor:
    """Pad (V,) to (rows,): tokens appended for masking get a logit, too."""
    return functional.pad(bias, (0, num_rows - len(bias)), value=UNANSWERED)


class BertExporter(_MaskedLMExporter):
    """A ``BertForMaskedLM`` with its tokenizer, from a recipe with the encoder ``bert`` and the predictor ``mlm``.

    Encoders that BERT cannot represent are refused: other positions than learned ones, gated MLPs, different epsilons. A model
    without token types gets two that are zero. If the corruptor appended a mask token because the tokenizer has none, the exported
    tokenizer includes it.
    """

    encoder = BertEncoder
    encoder_name = "bert"
    tied = BERT_TIED
    reads_types = True

    def _model(self, parts: MaskedLMParts, ids: Mapping[str, Any], length: int) -> Any:
        settings = dict(bert_settings(parts))
        dropout = getattr(parts.encoder.dropout, "p", 0.0)
        return transformers.BertForMaskedLM(
            transformers.BertConfig(
                **{**settings, "type_vocab_size": settings["type_vocab_size"] or 2},
                **ids,
                layer_norm_eps=parts.epsilon(),
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=0.0,
            )
        )

    def _names(self, parts: MaskedLMParts) -> Iterable[Pair]:
        has_types = parts.encoder.types is not None
        return bert_names(
            parts.encoder.depth, types=has_types, modality=parts.modality, predictor=parts.label, network=parts.network
        )

    def _completed(self, state: dict[str, Tensor], parts: MaskedLMParts, spec: TokenSpec) -> dict[str, Tensor]:
        types = "bert.embeddings.token_type_embeddings.weight"
        bias = _with_unanswered(state["cls.predictions.bias"], len(parts.table))
        return {types: parts.table.new_zeros(2, parts.encoder.width), **state, "cls.predictions.bias": bias}


class ModernBertExporter(_MaskedLMExporter):
    """A ``ModernBertForMaskedLM`` with its tokenizer, from a recipe with the encoder ``modernbert`` and the predictor ``mlm``.

    Encoders that ModernBERT cannot represent are refused: other positions than rotary ones, a predictor with biases, different
    epsilons. If the corruptor appended a mask token because the tokenizer has none, the exported tokenizer includes it.
    """

    encoder = ModernBertEncoder
    encoder_name = "modernbert"
    tied = MODERNBERT_TIED
    reads_types = False

    def _model(self, parts: MaskedLMParts, ids: Mapping[str, Any], length: int) -> Any:
        settings = dict(modernbert_settings(parts))
        wide, near = settings.pop("global_rope_theta"), settings.pop("local_rope_theta")
        window = settings.pop("local_attention")
        thetas = {FULL: wide, SLIDING: wide if near is None else near}
        ropes: Any = {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()}
        return transformers.ModernBertForMaskedLM(
            transformers.ModernBertConfig(
                **settings,
                **ids,
                local_attention=window or _DEFAULT_WINDOW,
                rope_parameters=ropes,
                norm_eps=parts.epsilon(),
                max_position_embeddings=length,
            )
        )

    def _names(self, parts: MaskedLMParts) -> Iterable[Pair]:
        return modernbert_names(parts.encoder.depth, modality=parts.modality, predictor=parts.label, network=parts.network)

    def _completed(self, state: dict[str, Tensor], parts: MaskedLMParts, spec: TokenSpec) -> dict[str, Tensor]:
        return {**state, "decoder.bias": _with_unanswered(state["decoder.bias"], len(parts.table))}
