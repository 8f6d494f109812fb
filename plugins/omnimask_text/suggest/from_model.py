"""A recipe for a folder with a masked language model, initialized from its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from omnimask.interfaces import Suggestion
from omnimask.pretrained import read_config, read_weights, some_names
from omnimask.suggest import printable, yaml_path
from omnimask_text.tokenize.find_tokenizer import load as load_tokenizer
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.weights.hf_configs import Settings, bert_read, global_every, modernbert_read
from omnimask_text.weights.hf_names import Pair, bert_names, modernbert_names, roberta_names
from omnimask_text.weights.initializers import (
    BertInitializer,
    MaskedLMInitializer,
    ModernBertInitializer,
    RobertaInitializer,
    first_position,
    with_present_names,
)

_TEMPLATE = """\
# Continued pretraining of the {model} in {folder}, written by `omnimask init`.
# Sizes are the checkpoint's and stay as they are; data, masks and the training are yours to choose.
omnimask: 1
modalities:
  text:
    tokenizer: {{name: text.huggingface, path: {path}, max_length: {max_length}{vocabulary}}}  # the checkpoint's own
    masker: {{name: random, ratio: {ratio}}}  # {model}'s share as published; a configuration does not say it
    corruptor: {{name: bert}}
encoder:
{encoder}predictors:
  - {{name: mlm, target: {{name: ids}}, bias: {bias}, norm_eps: {eps}}}
init: {{name: {initializer}, path: {path}}}
data: {{name: text.files}}  # data.path=FOLDER says where your texts are; `omnimask components dataset` lists others
train:
  steps: 10000
  batch_tokens: {batch_tokens}  # {batch} full sequences
  optimizer: {{name: adamw, lr: 5.0e-5, betas: [0.9, 0.98], weight_decay: 0.01}}  # low: a trained model goes on
  schedule: {{name: linear, warmup: 5%}}
  clip: 1.0
  validate_every: 1000
  checkpoint_every: 1000
"""

_WHOLE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings", "vocab_size")
_BATCH = 32
_LONGEST = 1024
"""Maximum length of a sequence in tokens, that of ModernBERT's first phase, if the model has more positions."""


@dataclass(frozen=True)
class _PretrainedModel:
    """A folder's model: its configuration, and the corresponding options of a recipe."""

    config: Mapping[str, Any]

    initializer: ClassVar[str]
    reads: ClassVar[type[MaskedLMInitializer]]
    model: ClassVar[str]
    ratio: ClassVar[float]
    bias: ClassVar[bool] = True
    epsilon: ClassVar[tuple[str, float]]
    dropouts: ClassVar[Sequence[str]]
    """Configuration entries for dropouts that encoders here lack."""

    @property
    def settings(self) -> Settings:
        return bert_read(self.config)

    @property
    def names(self) -> list[Pair]:
        return list(bert_names(self.settings["num_hidden_layers"]))

    @property
    def table(self) -> str:
        """Name of the embedding table among the weights."""
        return "bert.embeddings.word_embeddings.weight"

    @property
    def eps(self) -> float:
        return self.config.get(*self.epsilon)

    @property
    def positions(self) -> int:
        """Number of positions of the model, in tokens."""
        return self.settings["max_position_embeddings"]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return shapes of some weights, which detect a configuration of another model."""
        settings = self.settings
        return {
            self.table: (self.config.get("vocab_size", 30_522), settings["hidden_size"]),
            self.table.replace("word_", "position_"): (self.config.get("max_position_embeddings", 512), settings["hidden_size"]),
            f"{self.table.partition('.')[0]}.encoder.layer.0.intermediate.dense.weight": (
                settings["intermediate_size"],
                settings["hidden_size"],
            ),
        }

    def encoder(self) -> dict[str, str]:
        """Return options of the recipe's encoder as YAML."""
        types = self.settings["type_vocab_size"]
        return {
            **self._sizes("bert"),
            **({"types": str(types)} if types else {}),
            "position": f"{{name: learned, max_length: {self.positions}}}",
            "norm_eps": repr(self.eps),
            "dropout": repr(float(self.config.get("hidden_dropout_prob", 0.1))),
        }

    def _sizes(self, name: str) -> dict[str, str]:
        settings = self.settings
        return {
            "name": name,
            "width": str(settings["hidden_size"]),
            "depth": str(settings["num_hidden_layers"]),
            "heads": str(settings["num_attention_heads"]),
            "mlp_width": str(settings["intermediate_size"]),
        }

    def left_out(self) -> list[str]:
        """Return dropouts of the configuration missing in the recipe's training; weights and losses are equal."""
        return [f"{key}: {self.config[key]}" for key in self.dropouts if self.config.get(key)]


class _PretrainedBert(_PretrainedModel):
    initializer, reads, model, ratio, epsilon = "text.bert", BertInitializer, "BertForMaskedLM", 0.15, ("layer_norm_eps", 1e-12)
    dropouts = ("attention_probs_dropout_prob",)


class _PretrainedRoberta(_PretrainedBert):
    initializer, reads, model = "text.roberta", RobertaInitializer, "RobertaForMaskedLM"

    @property
    def settings(self) -> Settings:
        """Settings as for BERT; the single token type is added to the positions."""
        return {**bert_read(self.config, first_position(self.config)), "type_vocab_size": 0}

    @property
    def names(self) -> list[Pair]:
        return list(roberta_names(self.settings["num_hidden_layers"]))

    @property
    def table(self) -> str:
        return "roberta.embeddings.word_embeddings.weight"


class _PretrainedModernBert(_PretrainedModel):
    initializer, reads, model = "text.modernbert", ModernBertInitializer, "ModernBertForMaskedLM"
    ratio, epsilon = 0.3, ("norm_eps", 1e-5)
    dropouts = ("attention_dropout", "embedding_dropout", "mlp_dropout")
    bias = False

    @property
    def settings(self) -> Settings:
        return modernbert_read(self.config)

    @property
    def names(self) -> list[Pair]:
        return list(modernbert_names(self.settings["num_hidden_layers"]))

    @property
    def table(self) -> str:
        return "model.embeddings.tok_embeddings.weight"

    @property
    def positions(self) -> int:
        return self.config.get("max_position_embeddings", 8192)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        settings = self.settings
        return {
            self.table: (self.config.get("vocab_size", 50_368), settings["hidden_size"]),
            "model.layers.0.mlp.Wi.weight": (2 * settings["intermediate_size"], settings["hidden_size"]),
        }

    def encoder(self) -> dict[str, str]:
        settings = self.settings
        local = settings["local_attention"]
        return {
            **self._sizes("modernbert"),
            "global_every": str(global_every(settings["layer_types"])),
            **({} if local is None else {"window": str(local)}),
            "position": f"{{name: rotary, temperature: {float(settings['global_rope_theta'])!r}}}",
            **(
                {}
                if local is None
                else {"local_position": f"{{name: rotary, temperature: {float(settings['local_rope_theta'])!r}}}"}
            ),
            "norm_eps": repr(self.eps),
        }


_MODELS: tuple[type[_PretrainedModel], ...] = (_PretrainedBert, _PretrainedRoberta, _PretrainedModernBert)


def suggest_model(folder: Path, kind: str) -> Suggestion | None:
    """Return a recipe for a masked language model's ``save_pretrained`` folder; None for a model without an initializer.

    Args:
        folder: with ``config.json``.
        kind: its ``model_type``.

    Raises:
        ValueError: weights, sizes or the tokenizer cannot be read, or have no counterpart here; the message names all problems.
    """
    family = next((each for each in _MODELS if kind in each.reads.kinds), None)
    if family is None:
        return None
    found = family(read_config(folder, kind))
    _check_config(found, folder)
    state = with_present_names(read_weights(folder))
    if problems := _weight_problems(found, state):
        raise ValueError(f"the weights in {folder} do not match {found.model} in its config.json: {'; '.join(problems)}")
    size, rows = _vocabulary(folder), len(state[found.table])
    summary = {
        "model": f"{found.model} of transformers",
        "encoder": ", ".join(f"{key} {value}" for key, value in found.encoder().items() if key != "name" and value[0] != "{"),
        "tokenizer": f"the folder's own: {size:,} ids" + (f", of {rows:,} rows" if rows != size else ""),
        **({"left out": ", ".join(found.left_out())} if found.left_out() else {}),
    }
    num_files = sum(1 for file in folder.iterdir() if file.is_file())
    return Suggestion("text", num_files, summary, _recipe(found, folder, size, rows), needs="data.path=FOLDER")


def _recipe(found: _PretrainedModel, folder: Path, size: int, rows: int) -> str:
    lines = [f"  {key}: {value}\n" for key, value in found.encoder().items()]
    if left_out := found.left_out():
        lines.insert(0, f"  # not as there: {', '.join(left_out)} (packed sequences have no such dropout)\n")
    max_length = min(found.positions, _LONGEST)
    return _TEMPLATE.format(
        model=found.model,
        folder=printable(folder.name),
        path=yaml_path(folder),
        max_length=max_length,
        vocabulary=f", vocabulary: {rows}" if rows > size else "",
        ratio=found.ratio,
        encoder="".join(lines),
        bias=str(found.bias).lower(),
        eps=repr(found.eps),
        initializer=found.initializer,
        batch=_BATCH,
        batch_tokens=_BATCH * max_length,
    )


def _check_config(found: _PretrainedModel, folder: Path) -> None:
    """Check before any computation whether a configuration's numbers are valid and recipes can represent it."""
    config, least = found.config, {**dict.fromkeys(_WHOLE, 1), "pad_token_id": 0}
    wrong = [
        f"{key}: {config[key]!r}"
        for key, low in least.items()
        if config.get(key) is not None and not (type(config[key]) is int and config[key] >= low)
    ]
    epsilon, default = found.epsilon
    eps = config.get(epsilon, default)
    wrong += [] if isinstance(eps, (int, float)) and eps > 0 else [f"{epsilon}: {eps!r}"]
    if wrong:
        raise ValueError(f"{folder / 'config.json'} has sizes that are not positive: {', '.join(wrong)}; it is damaged")
    try:
        unread = found.reads.unread(config)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged: an entry has the wrong type ({error})") from error
    if unread:
        raise ValueError(
            f"{folder / 'config.json'} has {', '.join(unread)}, which omnimask's encoders do not support: start "
            f"from another checkpoint, or train its encoder unchanged, with encoder={{name: transformers, folder: "
            f"{folder}}}"
        )


def _weight_problems(found: _PretrainedModel, state: Mapping[str, Tensor]) -> list[str]:
    """Return missing and surplus weights, and those whose shapes differ from the configuration."""
    needed = {theirs for _, names in found.names for theirs in names}
    known = needed | {*found.reads.tied, *found.reads.unused, *found.reads.beside}
    shapes = {name: tuple(state[name].shape) for name in found.shapes() if name in state}
    return [
        *([f"missing: {some_names(missing)}"] if (missing := sorted(needed - state.keys())) else []),
        *([f"unexpected: {some_names(more)}"] if (more := sorted(state.keys() - known)) else []),
        *(
            f"{name} is {list(shapes[name])}, not {list(wanted)}"
            for name, wanted in found.shapes().items()
            if name in shapes
            if shapes[name] != wanted
        ),
    ]


def _vocabulary(folder: Path) -> int:
    """Return the number of ids of the folder's tokenizer."""
    try:
        return Subwords(*load_tokenizer(str(folder))).vocabulary
    except ValueError as error:
        raise ValueError(
            f"{error}; save the model's tokenizer in the same folder, with save_pretrained({str(folder)!r}) of the tokenizer"
        ) from error
