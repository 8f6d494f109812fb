"""Weights of other programs' checkpoints for image recipes to begin with."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from omnimask.interfaces import Context, Tokenizer
from omnimask.model import MaskedModel
from omnimask.pretrained import read_config, read_weights
from omnimask_image.vit_mae import load_vit_mae

logger = logging.getLogger(__name__)

_STORED_NAMES = (
    (r"^vit\.encoder\.layer\.", "vit.layers."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
"""Names of blocks in files, and in the models of transformers 5: files have the names of older versions, and those that 5.23 writes
call the decoder's blocks ``decoder_encoder.layer`` (the rule that restores the encoder's former name also fits them)."""


class VitMae:
    """Begins with the weights of a ``ViTMAEForPreTraining`` of `transformers`, encoder and decoder, for continued pretraining.

    The folder is one that ``save_pretrained`` wrote, or a download of a published checkpoint: ``config.json`` and
    ``model.safetensors``; pickled weights (``pytorch_model.bin``) are never read. Every weight must have its place in the recipe's
    model and the other way round: an encoder ``transformer`` of the same size with ``summary: 1`` and positions ``sincos``, and a
    ``decoder`` likewise.

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
            raise ValueError(f"the recipe has no modality {modality!r}; its modalities: {', '.join(context.modalities)}")
        self.path, self.modality, self.predictor = path, modality, predictor

    def __call__(self, model: MaskedModel, tokenizers: Mapping[str, Tokenizer]) -> None:
        del tokenizers  # a place of a patch means the same everywhere
        config, state = read_config(self.path, "vit_mae"), read_weights(self.path)
        main: Any = model.passes["main"]
        if self.predictor not in main.predictors:
            raise ValueError(f"no predictor is labelled {self.predictor!r}; labels: {', '.join(main.predictors)}")
        _check_config(config, main.encoder, main.predictors[self.predictor])
        load_vit_mae(model, with_present_names(state), modality=self.modality, predictor=self.predictor)


def with_present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the names that models of transformers 5 have."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, present in _STORED_NAMES:
            name = re.sub(pattern, present, name)
        renamed[name] = tensor
    return renamed


def _check_config(config: Mapping[str, Any], encoder: Any, predictor: Any) -> None:
    """What the sizes of weights do not tell. Another epsilon or target is a choice, and only said."""
    for key, stack in (("num_attention_heads", encoder.stack), ("decoder_num_attention_heads", getattr(predictor, "stack", None))):
        heads = stack.blocks[0].attention.heads if stack is not None and stack.blocks[0].attention is not None else None
        if heads is not None and key in config and config[key] != heads:
            raise ValueError(f"the checkpoint has {config[key]} heads ({key}), and the recipe {heads}; set heads: {config[key]}")
    if config.get("hidden_act", "gelu") != "gelu" or not config.get("qkv_bias", True):
        raise ValueError("the checkpoint's blocks have another activation than GELU, or no biases; only the published form is read")
    eps = config.get("layer_norm_eps")
    if eps is not None and eps != encoder.norm.eps:
        logger.warning(
            "the checkpoint's layer norms have epsilon %g, and the recipe's %g; set norm_eps: %g", eps, encoder.norm.eps, eps
        )
