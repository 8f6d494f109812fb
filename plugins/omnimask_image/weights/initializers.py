"""Initialization of image recipes from other programs' checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field
from torch import Tensor

from omnimask.interfaces import Context, Model, Tokenizer, TokenSpec
from omnimask.pretrained import other_model, read_config, read_weights
from omnimask_image.weights.vit_mae import load_vit_mae, position_problems

logger = logging.getLogger(__name__)

_STORED_NAMES = (
    (r"^vit\.encoder\.layer\.", "vit.layers."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
"""Names of blocks in files, and in the models of transformers 5.

Files use the names of older versions. Those written by 5.23 name the decoder's blocks ``decoder_encoder.layer``, because the rule
that restores the encoder's former name also matches them.
"""


class VitMaeInitializer:
    """Initialization of encoder and decoder from a ``ViTMAEForPreTraining`` of `transformers`, for continued pretraining.

    The folder is written by ``save_pretrained`` or downloaded: ``config.json`` and ``model.safetensors``; pickled weights
    (``pytorch_model.bin``) are never read. Weights must match the recipe's model completely: an encoder ``transformer`` of the same
    size with ``summary: 1`` and the checkpoint's positions (``sincos`` in a published one; ``none`` or ``learned`` elsewhere), and
    a ``decoder`` likewise. ``omnimask init FOLDER`` writes the recipe for a folder.

    Args:
        path: the folder.
        modality: the recipe's name of the images.
        predictor: the label of the predictor with the decoder.
    """

    def __init__(
        self,
        context: Context,
        *,
        path: Annotated[Path, Field(description="folder with config.json and model.safetensors")],
        modality: str = "image",
        predictor: str = "decoder",
    ) -> None:
        if context.modalities and modality not in context.modalities:
            raise ValueError(f"unknown modality {modality!r}; modalities: {', '.join(context.modalities)}")
        self.path, self.modality, self.predictor = path, modality, predictor
        self.spec = context.specs.get(modality)

    def __call__(self, model: Model, tokenizers: Mapping[str, Tokenizer]) -> None:
        del tokenizers  # positions of patches need no mapping
        config, state = read_config(self.path, "vit_mae"), read_weights(self.path)
        main: Any = model.passes["main"]
        if self.predictor not in main.predictors:
            raise ValueError(f"unknown predictor {self.predictor!r}; predictors: {', '.join(main.predictors)}")
        encoder, decoder, state = main.encoder, main.predictors[self.predictor], with_present_names(state)
        owners = {"encoder": encoder, f"predictors.{self.predictor}": decoder}
        differences = [*_differences(config, encoder, decoder, self.spec, owners), *position_problems(state, owners)]
        if differences:
            raise other_model(self.path, differences)
        _check_form(config, encoder)
        load_vit_mae(model, state, modality=self.modality, predictor=self.predictor)


def with_present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the names of transformers 5."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, present in _STORED_NAMES:
            name = re.sub(pattern, present, name)
        renamed[name] = tensor
    return renamed


def _differences(
    config: Mapping[str, Any], encoder: Any, decoder: Any, spec: TokenSpec | None, owners: Mapping[str, Any]
) -> list[str]:
    """Return the differences between the checkpoint's configuration and the recipe, each with the option that sets it."""
    first, second = owners
    here = {**_sizes(encoder, first, ""), **_sizes(decoder, second, "decoder_"), **_image(spec)}
    return [
        f"{key} is {config[key]} in the checkpoint, {mine} in the recipe "
        f"({option}{'' if fixed is None else f': {fixed(config[key])}'})"
        for key, (mine, option, fixed) in here.items()
        if key in config and config[key] != mine
    ]


Setting: TypeAlias = tuple[Any, str, Callable[[Any], Any] | None]
"""A setting here, the key that sets it in a recipe, and the function for the required value."""


def _sizes(part: Any, key: str, prefix: str) -> dict[str, Setting]:
    """Return settings of a stack of blocks; other modules are detected by the names of their weights."""
    stack = getattr(part, "stack", None)
    if stack is None or not len(stack.blocks) or getattr(stack.blocks[0], "attention", None) is None:
        return {}
    width, hidden = stack.blocks[0].attention.qkv.in_features, stack.blocks[0].mlp[0].out_features
    return {
        f"{prefix}hidden_size": (width, f"in {key} set width", int),
        f"{prefix}num_hidden_layers": (len(stack.blocks), f"in {key} set depth", int),
        f"{prefix}num_attention_heads": (stack.blocks[0].attention.heads, f"in {key} set heads", int),
        f"{prefix}intermediate_size": (hidden, f"in {key} set mlp_ratio, in units of {width}", None),
    }


def _image(spec: TokenSpec | None) -> dict[str, Setting]:
    """Return settings of square pictures in square patches."""
    if spec is None or spec.width is None or len(spec.width) != 3 or len(spec.extent) != 2 or spec.extent[0] is None:
        return {}
    patch, _, channels = spec.width
    return {
        "image_size": (spec.extent[0] * patch, "in tokenizer set image_size", int),
        "patch_size": (patch, "in tokenizer set patch_size", int),
        "num_channels": (channels, "in tokenizer set channels", int),
    }


def _check_form(config: Mapping[str, Any], encoder: Any) -> None:
    """Check properties of the published form. Another epsilon or target is a choice, and is only logged."""
    if config.get("hidden_act", "gelu") != "gelu" or not config.get("qkv_bias", True):
        raise ValueError(
            "the checkpoint's blocks have an activation other than GELU, or no biases; only the published form is supported"
        )
    eps = config.get("layer_norm_eps")
    if eps is not None and eps != encoder.norm.eps:
        logger.warning(
            "the checkpoint's layer norms have epsilon %g, but the recipe's %g; set norm_eps: %g", eps, encoder.norm.eps, eps
        )
