"""A recipe for a folder with a model, initialized from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnimask.interfaces import Suggestion
from omnimask.pretrained import model_type, read_config, read_weights
from omnimask.suggest import printable, yaml_path
from omnimask_image.weights.initializers import with_present_names
from omnimask_image.weights.vit_mae import POSITIONS, kind_of

_TEMPLATE = """\
# Continued pretraining of the ViTMAEForPreTraining in {folder}, written by `omnimask init`.
# Sizes are the checkpoint's and stay as they are; data, masks and the training are yours to choose.
omnimask: 1
modalities:
  image:
    tokenizer: {{name: image.patch, image_size: {image_size}, patch_size: {patch_size}, channels: {num_channels}}}
    augment:
      - {{name: image.random_resized_crop, size: {image_size}, scale: [0.2, 1.0]}}
      - {{name: image.flip}}
    masker: {{name: random, ratio: {mask_ratio}}}
    corruptor: {{name: drop}}
encoder:
  name: transformer
  width: {hidden_size}
  depth: {num_hidden_layers}
  heads: {num_attention_heads}
  mlp_ratio: {mlp_ratio}
  summary: 1
  position: {{name: {position}}}
  norm_eps: {layer_norm_eps}
predictors:
  - name: decoder
    width: {decoder_hidden_size}
    depth: {decoder_num_hidden_layers}
    heads: {decoder_num_attention_heads}
    mlp_ratio: {decoder_mlp_ratio}
    position: {{name: {decoder_position}}}
    norm_eps: {layer_norm_eps}
    target: {{name: patch, normalize: {norm_pix_loss}}}
init: {{name: image.vit_mae, path: {path}}}
data: {{name: image.folder}}  # data.path=FOLDER says where your pictures are
train:
  steps: 10000
  batch_tokens: {batch_tokens}  # 64 images
  optimizer: {{name: adamw, lr: 3.75e-5, betas: [0.9, 0.95], weight_decay: 0.05}}  # 1.5e-4 x 64 / 256, the rule of the MAE paper
  schedule: {{name: cosine, warmup: 500}}
  validate_every: 1000
  checkpoint_every: 1000
"""

_DEFAULTS: Mapping[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "mask_ratio": 0.75,
    "norm_pix_loss": False,
    "layer_norm_eps": 1e-12,
}
"""Defaults of `transformers` for keys that a configuration omits."""


def suggest_model(folder: Path) -> Suggestion | None:
    """Return a recipe for a folder written by ``ViTMAEForPreTraining.save_pretrained``; None for another model or none.

    Raises:
        ValueError: the configuration names such a model, but its weights or sizes cannot be read.
    """
    if model_type(folder) != "vit_mae":
        return None
    config = {**_DEFAULTS, **read_config(folder, "vit_mae")}
    state = with_present_names(read_weights(folder))
    try:
        positions = [kind_of(state[name][0]) for name in POSITIONS]
        sizes = {
            **config,
            "mlp_ratio": config["intermediate_size"] / config["hidden_size"],
            "decoder_mlp_ratio": config["decoder_intermediate_size"] / config["decoder_hidden_size"],
            "batch_tokens": 64 * (config["image_size"] // config["patch_size"]) ** 2,
            "norm_pix_loss": str(bool(config["norm_pix_loss"])).lower(),
            "layer_norm_eps": format(config["layer_norm_eps"], ".1e"),
        }
        recipe = _TEMPLATE.format(
            **sizes,
            position=positions[0],
            decoder_position=positions[1],
            folder=printable(folder.name),
            path=yaml_path(folder),
        )
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{folder / 'config.json'} or the weights beside it lack {error}") from error
    summary = {
        "model": "ViTMAEForPreTraining of transformers",
        "encoder": f"width {config['hidden_size']}, depth {config['num_hidden_layers']}, positions {positions[0]}",
        "decoder": f"width {config['decoder_hidden_size']}, depth {config['decoder_num_hidden_layers']}, positions {positions[1]}",
        "images": f"{config['image_size']} x {config['image_size']} in patches of {config['patch_size']}",
    }
    return Suggestion("image", sum(1 for file in folder.iterdir() if file.is_file()), summary, recipe, needs="data.path=FOLDER")
