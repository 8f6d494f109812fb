"""Models of transformers, without what an encoder has no use for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from omnimask.pretrained import quiet, refuse_code


def model_from_config(model_type: str, options: Mapping[str, Any]) -> Any:
    """A model of a kind with options of its configuration, weights drawn from torch's generator.

    Raises:
        ValueError: transformers has no such kind, it has no such option, or the options do not fit each other.
    """
    try:
        plain = AutoConfig.for_model(model_type)
    except ValueError as error:
        raise ValueError(f"transformers has no kind of model {model_type!r}") from error
    known = {*plain.to_dict(), *plain.attribute_map}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"options: models of the kind {model_type} have no option {unknown[0]!r}")
    config = _made(lambda: AutoConfig.for_model(model_type, **options))
    return _encoder(config, lambda: AutoModel.from_config(config, trust_remote_code=False))


def model_from_folder(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The model that a folder holds, with its weights.

    Args:
        folder: of ``save_pretrained``.
        trust_remote_code: whether Python files that the folder's configuration names are run.

    Raises:
        ValueError: it holds no configuration, no safetensors, a model that is no encoder, or code that is not trusted.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json; give the folder that save_pretrained wrote")
    refuse_code(folder, "config.json", is_trusted=trust_remote_code)
    load: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    config = _made(lambda: AutoConfig.from_pretrained(folder, **load))
    with quiet(logging, has_warnings=True):  # weights that the folder lacks are worth a warning
        return _encoder(config, lambda: AutoModel.from_pretrained(folder, **load, use_safetensors=True, config=config))


def _made(make: Any) -> Any:
    try:
        return make()
    except Exception as error:
        raise ValueError(f"transformers refuses this configuration: {error}") from error


def _encoder(config: Any, make: Callable[[], Any]) -> Any:
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"models of the kind {config.model_type} have a decoder too; choose an encoder alone")
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ValueError(f"models of the kind {config.model_type} have no hidden_size; they are no encoders of sequences")
    embedded = getattr(config, "embedding_size", width)
    if embedded != width:
        raise ValueError(f"the model reads embeddings of width {embedded} and works at {width}; set embedding_size: {width}")
    return without_words(_made(make).float())


def without_words(model: Any) -> Any:
    """The model without its table of words and its pooling layer, which nothing here reads."""
    try:
        model.set_input_embeddings(nn.Identity())
    except NotImplementedError as error:
        raise ValueError(f"{type(model).__name__} has no table of words to leave out; it is no encoder of tokens") from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def position_offset(model: nn.Module) -> int:
    """What is added to a token's place: RoBERTa and its kin begin behind the number of their padding id."""
    for module in model.modules():
        if hasattr(module, "create_position_ids_from_inputs_embeds"):
            return int(module.padding_idx) + 1  # pyright: ignore[reportArgumentType, reportCallIssue]
    return 0


def check_reads_both_ways(model: Any, width: int) -> None:
    """Raises ``ValueError`` for a model that cannot be called with embeddings, or whose first token does not see the last."""
    tokens = _tokens(width)
    other = torch.cat([tokens[:, :2], tokens[:, 2:].roll(1, dims=2) * 1.5], dim=1)
    try:
        before, after = (_features(model, each) for each in (tokens, other))
    except Exception as error:
        raise ValueError(f"{type(model).__name__} cannot be called with inputs_embeds: {type(error).__name__}: {error}") from error
    if before.shape != tokens.shape:
        raise ValueError(f"{type(model).__name__} gives features of shape {tuple(before.shape)} for tokens {tuple(tokens.shape)}")
    if bool(torch.equal(before[0, 0], after[0, 0])):
        raise ValueError(f"{type(model).__name__} reads from left to right: its first token sees nothing of the last")


def goes_by_position_ids(model: Any, width: int) -> bool:
    """Whether ``position_ids``, and not the order in which tokens are given, say where they are.

    That is tried, in double precision, where rounding hides nothing: tokens given in another order, with their positions, must have
    the same features, and with other positions other ones. A model with relative positions (DeBERTa) may take ``position_ids`` and
    yet go by the order.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    order, places = torch.tensor([2, 0, 1]), torch.arange(3)[None] + position_offset(model)
    tokens = _tokens(width).double()
    model.double()
    try:
        straight = _features(model, tokens, places)
        turned, moved = _features(model, tokens[:, order], places[:, order]), _features(model, tokens, places.flip(1))
    finally:
        model.float()
    return _distance(straight[:, order], turned) < _ROUNDING < _distance(straight, moved)


_ROUNDING = 1e-9
"""Order moved the features of 13 kinds of models, with random weights, by less than 5e-15 or more than 1e-7."""


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def _tokens(width: int) -> Tensor:
    """(1, 3, D) that look like noise, the same every time; torch's generator is left alone."""
    return torch.sin(torch.arange(3.0 * width).square()).reshape(1, 3, width)


@torch.no_grad()
def _features(model: Any, tokens: Tensor, places: Tensor | None = None) -> Tensor:
    training = model.training
    model.eval()
    try:
        return model(inputs_embeds=tokens, **({} if places is None else {"position_ids": places})).last_hidden_state
    finally:
        model.train(training)
