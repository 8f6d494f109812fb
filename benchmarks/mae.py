"""A training step of a masked autoencoder against `transformers`' ViTMAEForPreTraining: same sizes, same batch, same optimizer.

The last row is another method (CrossMAE): its decoder attends to visible features only, and is asked for a third of what is hidden.
Both sides use the fused AdamW and no dropout; the peer's second row has the optimizer that `torch.optim.AdamW` gives by default.
The input is noise, which costs the same as pictures; nothing here says what a variant learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from protocol import Comparison, Variant, compare
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from omnimask.builder.build import build
from omnimask.interfaces import Draw, MaskedBatch, Sample
from omnimask.recipe import load_recipe

IMAGES, SIZE, PATCH = 8, 224, 16
ENCODER = {"width": 384, "depth": 12, "heads": 6}
RATE = {"lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.05}


def step(model: torch.nn.Module, loss: Callable[[], torch.Tensor], *, fused: bool = True) -> Callable[[], None]:
    """Forward, backward and update as one call."""
    options = {**RATE, "fused": True} if fused else RATE
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], **options)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return call


def ours(recipe: str, images: np.ndarray, overrides: Sequence[str]) -> tuple[torch.nn.Module, MaskedBatch]:
    """The recipe's model at the benchmark's encoder size, and the images as its batch."""
    encoder = [f"encoder.{key}={value}" for key, value in ENCODER.items()]
    changes = ["data={name: digits}", "modalities.image.augment=[]", *encoder, *overrides]
    built = build(load_recipe(recipe, changes))
    tokenizer = built.pipeline.modalities["image"]
    samples = []
    for number, image in enumerate(images):
        draw = Draw(0, 0, str(number))
        samples.append(Sample({"image": tokenizer(image, draw)}, draw, ("image",)))
    return built.model, built.pipeline.pack(samples)


def peer(width: int, depth: int, heads: int) -> ViTMAEForPreTraining:
    """The peer at the same sizes."""
    return ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=ENCODER["width"],
            num_hidden_layers=ENCODER["depth"],
            num_attention_heads=ENCODER["heads"],
            intermediate_size=4 * ENCODER["width"],
            image_size=SIZE,
            patch_size=PATCH,
            decoder_hidden_size=width,
            decoder_num_hidden_layers=depth,
            decoder_num_attention_heads=heads,
            decoder_intermediate_size=4 * width,
            layer_norm_eps=1e-6,
            norm_pix_loss=True,
            mask_ratio=0.75,
        )
    )


def operations(call: Callable[[], Any]) -> float:
    """Multiply-adds of one call, counted twice each, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def run(width: int = 512, depth: int = 8, heads: int = 16, rounds: int = 7) -> Comparison:
    """The table for one size of the decoder."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous()
    decoder = [f"predictors.0.{key}={value}" for key, value in (("width", width), ("depth", depth), ("heads", heads))]
    model, batch = ours("image/mae", images, decoder)
    cross, third = ours("image/crossmae", images, [*decoder, f"modalities.image.corruptor.ask={1 / 3}"])
    fused, default = peer(width, depth, heads), peer(width, depth, heads)
    calls = {
        "transformers ViTMAE, fused AdamW": step(fused, lambda: fused(pixels).loss),
        "transformers ViTMAE, default AdamW": step(default, lambda: default(pixels).loss, fused=False),
        "omnimask, the same function": step(model, lambda: model(batch).loss),
        "omnimask, cross-attention, a third asked": step(cross, lambda: cross(third).loss),
    }
    variants = [Variant(name, call, operations(call)) for name, call in calls.items()]
    inputs = {
        "batch": f"{IMAGES} images of {SIZE} x {SIZE}, patches of {PATCH}, 75 % hidden",
        "encoder": f"{ENCODER['width']} x {ENCODER['depth']}, {ENCODER['heads']} heads",
        "decoder": f"{width} x {depth}, {heads} heads",
        "lengths": f"all {(SIZE // PATCH) ** 2} tokens, 49 visible",
    }
    return compare("MAE training step", variants, inputs=inputs, baseline="transformers ViTMAE, fused AdamW", rounds=rounds)
