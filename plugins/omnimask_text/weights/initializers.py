"""Initialization of text recipes from `transformers`' masked language models."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from omnimask.interfaces import Context, Model, Tokenizer, TokenSpec
from omnimask.modules import BertEncoder, ModernBertEncoder
from omnimask.pretrained import gather, load, other_model, read_config, read_weights
from omnimask_text.suggest.unread import bert_unread, modernbert_unread
from omnimask_text.tokenize.find_tokenizer import load as load_tokenizer
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.weights.hf_configs import (
    EncoderParts,
    MaskedLMParts,
    Settings,
    bert_read,
    bert_settings,
    initial_parts_of,
    modernbert_read,
    modernbert_settings,
)
from omnimask_text.weights.hf_names import (
    BERT_TIED,
    MODERNBERT_TIED,
    ROBERTA_TIED,
    Pair,
    bert_names,
    modernbert_names,
    roberta_names,
)
from omnimask_text.weights.vocabulary import Vocabulary, fill, match

logger = logging.getLogger(__name__)

NewRows = Literal["pieces", "mean", "random"] | Path

_PREDICTORS = "predictors."
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_OPTIONS = {
    "hidden_size": "encoder.width",
    "num_hidden_layers": "encoder.depth",
    "num_attention_heads": "encoder.heads",
    "intermediate_size": "encoder.mlp_width",
    "max_position_embeddings": "encoder.position.max_length",
    "type_vocab_size": "encoder.types",
    "layer_types": "encoder.global_every, which must give",
    "local_attention": "encoder.window",
    "global_rope_theta": "encoder.position.temperature",
    "local_rope_theta": "encoder.local_position.temperature",
}
"""Options of a recipe that set the entries of a configuration."""


class MaskedLMInitializer(ABC):
    """Base class of the initializers: a folder written by ``save_pretrained``, and a possibly different vocabulary."""

    kinds: ClassVar[Collection[str]]
    encoder: ClassVar[type]
    encoder_name: ClassVar[str]
    tied: ClassVar[Mapping[str, str]]
    unused: ClassVar[Collection[str]] = ()
    beside: ClassVar[Collection[str]] = ()
    """Weights used by recipes without a parameter of their own."""
    epsilon: ClassVar[str]

    def __init__(
        self,
        context: Context,
        *,
        path: Annotated[Path, Field(description="folder with config.json and model.safetensors")],
        tokenizer: Path | None = None,
        new_rows: NewRows = "pieces",
    ) -> None:
        """
        Args:
            tokenizer: folder of the checkpoint's tokenizer; defaults to the checkpoint's own folder.
            new_rows: initialization of tokens missing in the checkpoint: ``pieces``, the mean of the rows of their pieces in its
                tokenizer; ``mean``, the mean of all its rows; ``random``, N(0, 0.02); or a file of rows.
        """
        self.specs = context.specs
        self.path, self.tokenizer, self.new_rows = path, tokenizer, new_rows

    def __call__(self, model: Model, tokenizers: Mapping[str, Tokenizer]) -> None:
        config, state = read_config(self.path, *self.kinds), with_present_names(read_weights(self.path))
        parts = self._checked(model, config, state)
        names = list(self._names(parts))
        self._check_tied(state)
        ignored = [*self.tied, *self._left_out(state, parts)]
        if not isinstance(parts, MaskedLMParts):
            ignored += [name for ours, theirs in names if ours.startswith(_PREDICTORS) for name in theirs]
            names = [pair for pair in names if not pair[0].startswith(_PREDICTORS)]
        mapped = gather(state, names, ignored=ignored)
        self._adjust(mapped, parts, config, state)
        self._fit(mapped, parts, tokenizers[parts.modality], self.specs[parts.modality])
        load(model, {**_of_others(model, mapped), **mapped})

    # ---- specific to a family

    @staticmethod
    @abstractmethod
    def unread(config: Mapping[str, Any]) -> list[str]:
        """Return unsupported entries of the checkpoint's configuration."""

    @abstractmethod
    def _settings(self, config: Mapping[str, Any], parts: EncoderParts, state: Mapping[str, Tensor]) -> tuple[Settings, Settings]:
        """Return the checkpoint's settings, and the recipe's."""

    @abstractmethod
    def _names(self, parts: EncoderParts) -> Iterable[Pair]: ...

    def _adjust(
        self, mapped: dict[str, Tensor], parts: EncoderParts, config: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> None:
        """Change weights with other shapes here; by default none."""
        return

    # ---- common to all families

    def _checked(self, model: Model, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> EncoderParts:
        """Return the model's parts. Raise for differences that weight sizes do not reveal, or reveal without a remedy."""
        if strange := self.unread(config):
            raise ValueError(f"{self.path / 'config.json'} has {', '.join(strange)}; only the published form is supported")
        try:
            parts = initial_parts_of(model, self.encoder, self.encoder_name)
            theirs, ours = self._settings(config, parts, state)
        except ValueError as error:
            raise other_model(self.path, [str(error)]) from error
        wrong = [
            f"{key} is {_shown(theirs[key])} in the checkpoint, {_shown(ours[key])} in the recipe; set "
            f"{_OPTIONS[key]}: {_shown(theirs[key])}"
            for key in ours
            if theirs[key] != ours[key]
        ]
        if wrong:
            raise other_model(self.path, wrong)
        eps = config.get(self.epsilon)
        if eps is not None and parts.epsilons != {eps}:
            logger.warning(
                "the checkpoint's layer norms have epsilon %g, but the recipe's %s; set norm_eps: %g in encoder and predictor",
                eps,
                ", ".join(f"{ours:g}" for ours in sorted(parts.epsilons)),
                eps,
            )
        return parts

    def _check_tied(self, state: Mapping[str, Tensor]) -> None:
        for second, first in self.tied.items():
            if second in state and first in state and not torch.equal(state[second], state[first]):
                raise ValueError(f"the checkpoint's {second} differs from its {first}; untied output matrices are not supported")

    def _left_out(self, state: Mapping[str, Tensor], parts: EncoderParts) -> list[str]:
        found = sorted(name for name in self.unused if name in state)
        if found:
            logger.info("%s: skipped, since a masked language model does not need it: %s", self.path, ", ".join(found))
        return found

    def _fit(self, mapped: dict[str, Tensor], parts: EncoderParts, tokenizer: Tokenizer, spec: TokenSpec) -> None:
        """Map the rows of the checkpoint's tokens to the recipe's ids."""
        table = f"{parts.network}.embeddings.{parts.modality}.weight"
        bias = f"{_PREDICTORS}{_label(parts)}.heads.{parts.modality}.bias"
        num_rows = len(mapped[table])
        mine, theirs = _vocabulary(tokenizer), self._vocabulary()
        if mine is None or theirs is None:
            self._check_equal(num_rows, len(parts.table), has_tokenizer=theirs is not None)
            return
        rows = match(mine, theirs, spec, num_rows)
        if torch.equal(rows.source, torch.arange(num_rows)):
            return
        biases = mapped[bias] if bias in mapped else mapped[table].new_zeros(num_rows)
        filled = fill(rows, theirs, self.new_rows, mapped[table], biases, parts.table.detach())
        mapped[table] = filled.table
        if isinstance(parts, MaskedLMParts):
            mapped[bias] = filled.bias[: parts.head.out_features]
        counts = ", ".join(f"{count:,} {name}" for name, count in filled.counts.items())
        logger.info("vocabulary: of %s rows, %s; the checkpoint has %s rows", f"{len(filled.table):,}", counts, f"{num_rows:,}")

    def _vocabulary(self) -> Vocabulary | None:
        """Return the checkpoint's vocabulary, or None if its folder holds no tokenizer."""
        folder = self.tokenizer or self.path
        if self.tokenizer is None and not any(True for pattern in _TOKENIZER_FILES for _ in folder.glob(pattern)):
            return None
        return Vocabulary(Subwords(*load_tokenizer(str(folder))))

    def _check_equal(self, theirs: int, ours: int, *, has_tokenizer: bool) -> None:
        if theirs != ours:
            raise ValueError(
                f"the checkpoint has {theirs:,} rows of ids, the recipe {ours:,}; they cannot be matched: "
                + (
                    "the recipe's tokenizer has no named tokens"
                    if has_tokenizer
                    else "give the checkpoint's with tokenizer: FOLDER"
                )
            )
        if not has_tokenizer:
            logger.warning(
                "%s contains no tokenizer: assuming that its ids equal the recipe's; give its tokenizer with tokenizer: FOLDER",
                self.path,
            )


def _of_others(model: Model, mapped: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights missing in the checkpoint, of other predictors and networks; they keep their initialization."""
    shared = _shared(model, mapped)
    others = {name: value for name, value in model.state_dict().items() if name not in mapped and name not in shared}
    labels = sorted({name.removeprefix(_PREDICTORS).partition(".")[0] for name in others if name.startswith(_PREDICTORS)})
    if labels:
        logger.info("predictors %s start from random weights: the checkpoint has none for them", ", ".join(labels))
    return {**others, **{name: mapped[first] for name, first in shared.items()}}


def _label(parts: EncoderParts) -> str:
    return parts.label if isinstance(parts, MaskedLMParts) else "mlm"


def _shared(model: Model, mapped: Mapping[str, Tensor]) -> dict[str, str]:
    """Return other names of the mapped tensors, in networks that borrow them, by name."""
    state = model.state_dict()
    first = {state[name].data_ptr(): name for name in mapped if name in state and state[name].numel()}
    return {name: first[value.data_ptr()] for name, value in state.items() if name not in mapped and value.data_ptr() in first}


def with_present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the present names of norms; published files use those of the first releases."""
    former = {"gamma": "weight", "beta": "bias"}
    return {re.sub(r"(?<=LayerNorm\.)(gamma|beta)$", lambda m: former[m[1]], name): value for name, value in state.items()}


class BertInitializer(MaskedLMInitializer):
    """Initialization from a ``BertForMaskedLM`` of `transformers`, for continued pretraining.

    The folder is written by ``save_pretrained`` or downloaded (also a ``BertForPreTraining``, whose classifier of sentence pairs is
    dropped): ``config.json`` and ``model.safetensors``; pickled weights are never read. The recipe has one modality, the encoder
    ``bert`` of the same size with learned positions and ``types: 2`` (or none, if the checkpoint's are zero), and the predictor
    ``mlm``. Its tokenizer may differ from the checkpoint's: rows are matched by token, and ``new_rows`` initializes new tokens.
    """

    kinds = ("bert",)
    unread = staticmethod(bert_unread)
    encoder = BertEncoder
    encoder_name = "bert"
    tied = BERT_TIED
    epsilon = "layer_norm_eps"
    unused = (
        "bert.embeddings.position_ids",
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    )

    def _settings(self, config: Mapping[str, Any], parts: EncoderParts, state: Mapping[str, Tensor]) -> tuple[Settings, Settings]:
        theirs = bert_read(config)
        is_nothing = parts.encoder.types is None and _BERT_TYPES in state and not state[_BERT_TYPES].any()
        return {**theirs, "type_vocab_size": 0} if is_nothing else theirs, bert_settings(parts)

    def _left_out(self, state: Mapping[str, Tensor], parts: EncoderParts) -> list[str]:
        return [*super()._left_out(state, parts), *([_BERT_TYPES] if parts.encoder.types is None else [])]

    def _names(self, parts: EncoderParts) -> Iterable[Pair]:
        return bert_names(
            parts.encoder.depth,
            types=parts.encoder.types is not None,
            modality=parts.modality,
            predictor=_label(parts),
            network=parts.network,
        )


_BERT_TYPES = "bert.embeddings.token_type_embeddings.weight"


class RobertaInitializer(MaskedLMInitializer):
    """Initialization from a ``RobertaForMaskedLM`` of `transformers` (XLM-RoBERTa and CamemBERT have the same form).

    Like ``text.bert``, except for two properties of RoBERTa: the rows before its first position are dropped, and its single token
    type is added to the positions if the encoder has ``types: 0``.
    """

    kinds = ("roberta", "xlm-roberta", "camembert")
    unread = staticmethod(bert_unread)
    encoder = BertEncoder
    encoder_name = "bert"
    tied = ROBERTA_TIED
    epsilon = "layer_norm_eps"
    unused = ("roberta.embeddings.position_ids", "roberta.pooler.dense.bias", "roberta.pooler.dense.weight")

    def _settings(self, config: Mapping[str, Any], parts: EncoderParts, state: Mapping[str, Tensor]) -> tuple[Settings, Settings]:
        theirs = bert_read(config, first_position(config))
        is_folded = parts.encoder.types is None
        return {**theirs, "type_vocab_size": 0} if is_folded else theirs, bert_settings(parts)

    beside = ("roberta.embeddings.token_type_embeddings.weight",)

    def _names(self, parts: EncoderParts) -> Iterable[Pair]:
        return roberta_names(
            parts.encoder.depth,
            types=parts.encoder.types is not None,
            modality=parts.modality,
            predictor=_label(parts),
            network=parts.network,
        )

    def _left_out(self, state: Mapping[str, Tensor], parts: EncoderParts) -> list[str]:
        if _ROBERTA_TYPES not in state:
            raise ValueError(f"the checkpoint lacks {_ROBERTA_TYPES}")
        return [*super()._left_out(state, parts), _ROBERTA_TYPES]

    def _adjust(
        self, mapped: dict[str, Tensor], parts: EncoderParts, config: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> None:
        name = f"{parts.network}.encoder.position.tables.{parts.modality}"
        mapped[name] = mapped[name][first_position(config) :]
        if parts.encoder.types is None:
            mapped[name] = mapped[name] + state[_ROBERTA_TYPES][0]


_ROBERTA_TYPES = "roberta.embeddings.token_type_embeddings.weight"


def first_position(config: Mapping[str, Any]) -> int:
    """Return the first position: positions are counted from the padding id on, which is 1 in all published models."""
    number = config.get("pad_token_id", 1)
    return (1 if number is None else int(number)) + 1


class ModernBertInitializer(MaskedLMInitializer):
    """Initialization from a ``ModernBertForMaskedLM`` of `transformers`, for continued pretraining.

    The folder is written by ``save_pretrained`` or downloaded: ``config.json`` and ``model.safetensors``; pickled weights are never
    read. The recipe has one modality, the encoder ``modernbert`` of the same size, and the predictor ``mlm`` with ``bias: false``
    and ``norm_eps: 1e-5``. Its tokenizer may differ from the checkpoint's: rows are matched by token, and ``new_rows`` initializes
    new tokens.
    """

    kinds = ("modernbert",)
    unread = staticmethod(modernbert_unread)
    encoder = ModernBertEncoder
    encoder_name = "modernbert"
    tied = MODERNBERT_TIED
    epsilon = "norm_eps"

    def _settings(self, config: Mapping[str, Any], parts: EncoderParts, state: Mapping[str, Tensor]) -> tuple[Settings, Settings]:
        return modernbert_read(config), modernbert_settings(parts)

    def _names(self, parts: EncoderParts) -> Iterable[Pair]:
        return modernbert_names(parts.encoder.depth, modality=parts.modality, predictor=_label(parts), network=parts.network)


def _vocabulary(tokenizer: Tokenizer) -> Vocabulary | None:
    """Return the vocabulary of the recipe's tokenizer, or None if its ids have no names."""
    scheme = getattr(tokenizer, "scheme", None)
    return Vocabulary(scheme) if isinstance(scheme, Subwords) else None


def _shown(value: Any) -> str:
    """Format a setting for messages; kinds of blocks as the indices of blocks with full attention."""
    if isinstance(value, list):
        return f"full attention in blocks {', '.join(str(n) for n, kind in enumerate(value) if kind == 'full_attention')}"
    return f"{value:g}" if isinstance(value, float) else str(value)
