"""Mapping between the weights of `transformers`' ``ViTMAEForPreTraining`` and those of an image recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from omnimask.interfaces import Context, Model, TokenSpec
from omnimask.modules import Learned, NoPosition, SinCos
from omnimask.pretrained import gather, load, scatter

POSITIONS = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
"""Sine-cosine tables of the encoder and the decoder, which are computed here."""


def from_vit_mae(state: Mapping[str, Tensor], *, modality: str = "image", predictor: str = "decoder") -> dict[str, Tensor]:
    """Convert a state dict of ``ViTMAEForPreTraining`` (the names of transformers 5) to one for :class:`Model`.

    Works for gradients as well as for weights.

    Args:
        state: of the reference, complete.
        modality, predictor: the recipe's names of the image modality and of the predictor with the decoder.

    Raises:
        ValueError: a key of ``state`` has no place here, or a required one is missing.
    """
    names = _names(_depth(state, "vit.layers"), _depth(state, "decoder.decoder_layers"), modality, predictor)
    return {ours: _shaped(ours, tensor) for ours, tensor in gather(state, names, ignored=POSITIONS).items()}


def to_vit_mae(
    state: Mapping[str, Tensor], depths: tuple[int, int], patch: tuple[int, int, int], *, modality: str, predictor: str
) -> dict[str, Tensor]:
    """Convert back to a state dict for ``ViTMAEForPreTraining``, without its position tables.

    Args:
        state: of a :class:`Model`.
        depths: of its encoder and its decoder.
        patch: height, width and channels.
        modality, predictor: the recipe's names.

    Raises:
        ValueError: a weight has no place there, or a required one is missing.
    """
    theirs = scatter(state, _names(*depths, modality, predictor))
    projection = "vit.embeddings.patch_embeddings.projection.weight"
    height, width, channels = patch
    back = {
        projection: rearrange(theirs[projection], "d (p q c) -> d c p q", p=height, q=width, c=channels).contiguous(),
        "vit.embeddings.cls_token": theirs["vit.embeddings.cls_token"][None],
        "decoder.mask_token": theirs["decoder.mask_token"][None, None],
    }
    return {**theirs, **back}


def load_vit_mae(model: Model, state: Mapping[str, Tensor], *, modality: str = "image", predictor: str = "decoder") -> None:
    """Copy the weights of ``ViTMAEForPreTraining`` into a model. Both sides must match completely.

    Raises:
        ValueError: names, shapes or positions differ; see :func:`position_problems`.
    """
    main: Any = model.passes["main"]
    owners = {"encoder": main.encoder, f"predictors.{predictor}": main.predictors[predictor]}
    if problems := position_problems(state, owners):
        raise ValueError("; ".join(problems))
    mapped = from_vit_mae(state, modality=modality, predictor=predictor)
    encoder, decoder = (state[name][0] for name in POSITIONS)
    for owner, place, table in zip(owners, ("networks.main.encoder", f"predictors.{predictor}"), (encoder, decoder), strict=True):
        if isinstance(owners[owner].position, Learned):
            mapped[f"{place}.position.tables.{modality}"] = table[1:]
    if isinstance(main.encoder.position, Learned):  # summary tokens have no position here, the table's first row there
        mapped["networks.main.encoder.summary"] = mapped["networks.main.encoder.summary"] + encoder[:1]
    load(model, mapped)


def position_problems(state: Mapping[str, Tensor], owners: Mapping[str, Any]) -> list[str]:
    """Return requirements of the checkpoint's position tables that the recipe does not meet, with the remedy.

    A table contains sines and cosines; zeros, in a model created by transformers 5 from a configuration; or other, trained values.

    Args:
        state: of the reference.
        owners: the recipe's encoder and decoder, under their keys in a recipe.
    """
    found: list[str] = []
    for name, (key, owner) in zip(POSITIONS, owners.items(), strict=True):
        if name not in state:
            found.append(f"the checkpoint lacks {name}")
            continue
        table, position = state[name][0], getattr(owner, "position", None)
        wanted = kind_of(table)
        has = next((kind for kind, cls in _KINDS.items() if isinstance(position, cls)), type(position).__name__)
        if wanted != has:
            found.append(f"{name} contains {_HELD[wanted]}; set {key}.position: {{name: {wanted}}}")
        elif wanted == "learned" and key != "encoder" and bool(table[0].any()):
            found.append(f"{name} has a position for the class token, which is not supported in the decoder")
    return found


_KINDS: Mapping[str, type] = {"sincos": SinCos, "none": NoPosition, "learned": Learned}
_HELD = {
    "sincos": "sines and cosines",
    "none": "zeros, as in a model that transformers created from a configuration (positions are not learned)",
    "learned": "values other than sines and cosines",
}


def kind_of(table: Tensor) -> str:
    """Return the recipe's name of the positions in a table (1 + patches, D) of a square grid: ``sincos``, ``none`` or
    ``learned``."""
    if not bool(table.any()):
        return "none"
    side = math.isqrt(len(table) - 1)
    if side * side == len(table) - 1 and table.shape[1] >= 4:
        spec = TokenSpec(width=(1,), axes=2, extent=(side, side))
        made = SinCos(Context(specs={"image": spec}, modalities=("image",), width=table.shape[1])).table
        if made is not None and torch.allclose(table[1:].float(), made[:-1], atol=1e-5):
            return "sincos"
    return "learned"


def _names(depth: int, decoder_depth: int, modality: str, label: str) -> Iterator[tuple[str, list[str]]]:
    encoder, embedding, predictor = "networks.main.encoder", f"networks.main.embeddings.{modality}", f"predictors.{label}"
    for part in ("weight", "bias"):
        yield f"{embedding}.project.{part}", [f"vit.embeddings.patch_embeddings.projection.{part}"]
        yield f"{encoder}.norm.{part}", [f"vit.layernorm.{part}"]
        yield f"{predictor}.project.{part}", [f"decoder.decoder_embed.{part}"]
        yield f"{predictor}.norm.{part}", [f"decoder.decoder_norm.{part}"]
        yield f"{predictor}.heads.{modality}.{part}", [f"decoder.decoder_pred.{part}"]
    yield f"{encoder}.summary", ["vit.embeddings.cls_token"]
    yield f"{predictor}.mask_vector", ["decoder.mask_token"]
    for ours, theirs, count in ((encoder, "vit.layers", depth), (predictor, "decoder.decoder_layers", decoder_depth)):
        for number in range(count):
            yield from _block(f"{ours}.stack.blocks.{number}", f"{theirs}.{number}")


def _block(ours: str, theirs: str) -> Iterator[tuple[str, list[str]]]:
    for part in ("weight", "bias"):
        yield f"{ours}.attention.qkv.{part}", [f"{theirs}.attention.{name}_proj.{part}" for name in "qkv"]
        yield f"{ours}.attention.project.{part}", [f"{theirs}.attention.o_proj.{part}"]
        yield f"{ours}.norm_attention.{part}", [f"{theirs}.layernorm_before.{part}"]
        yield f"{ours}.norm_mlp.{part}", [f"{theirs}.layernorm_after.{part}"]
        yield f"{ours}.mlp.0.{part}", [f"{theirs}.mlp.fc1.{part}"]
        yield f"{ours}.mlp.2.{part}", [f"{theirs}.mlp.fc2.{part}"]


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[1] for name in state if name.startswith(f"{prefix}.")})


def _shaped(ours: str, tensor: Tensor) -> Tensor:
    """Convert shapes: channels of a patch come last here and first there."""
    if tensor.ndim == 4:
        return rearrange(tensor, "d c p q -> d (p q c)")
    if ours.endswith(".summary"):
        return tensor.flatten(0, 1)
    return tensor.flatten() if ours.endswith(".mask_vector") else tensor
