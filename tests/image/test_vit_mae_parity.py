"""The image recipe against `transformers`' ViTMAEForPreTraining: same weights, same masks, same loss, same gradients.

Both compute in float32, in another order of operations. Measured worst cases over these configurations: loss 2.3e-7, whole gradient
1.5e-7, single tensors 4.9e-7 of their scale; the tolerance of 1e-5 leaves room for other CPUs' kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import build
from omnimask.data.pipeline import Pipeline, ViewPlan
from omnimask.interfaces import Draw, Masking, Sample
from omnimask.recipe import load_recipe
from omnimask_image.weights.vit_mae import from_vit_mae, load_vit_mae

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
SIZES = {
    "tiny": {"image": 32, "patch": 8, "width": 32, "depth": 2, "heads": 4, "decoder": (16, 1, 2)},
    "small": {"image": 64, "patch": 8, "width": 192, "depth": 4, "heads": 3, "decoder": (128, 2, 4)},
}


class ByNoise:
    """Keeps the quarter of the tokens with the lowest noise, as the reference does."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise.numpy()

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        noise = self.noise[int(sample.draw.key)]
        is_visible = np.zeros(len(noise), bool)
        is_visible[np.argsort(noise, kind="stable")[: int(len(noise) * 0.25)]] = True
        return {"image": Masking(is_visible, ~is_visible)}


def reference(size: Mapping[str, Any], normalize: bool) -> Any:
    """The peer with random weights of a realistic scale (its own initialisation has zero biases and tiny matrices)."""
    width, depth, heads = size["decoder"]
    torch.manual_seed(1)
    config = transformers.ViTMAEConfig(
        hidden_size=size["width"],
        num_hidden_layers=size["depth"],
        num_attention_heads=size["heads"],
        intermediate_size=4 * size["width"],
        image_size=size["image"],
        patch_size=size["patch"],
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        decoder_num_attention_heads=heads,
        decoder_intermediate_size=4 * width,
        layer_norm_eps=1e-6,
        norm_pix_loss=normalize,
        mask_ratio=0.75,
    )
    model = transformers.ViTMAEForPreTraining(config)
    with_tables(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + 0.05 * torch.randn_like(parameter)
    return model


def with_tables(model: Any) -> None:
    """Fills the peer's position tables by its own code, which a model made from a configuration (transformers 5.23) never runs."""
    projection = model.vit.embeddings.patch_embeddings.projection
    if hasattr(projection, "_is_hf_initialized"):
        del projection._is_hf_initialized
    model.vit.embeddings.initialize_weights()
    model.decoder.initialize_weights(model.vit.embeddings.patch_embeddings.num_patches)
    assert model.vit.embeddings.position_embeddings.abs().sum() > 0


def ours(size: Mapping[str, Any], normalize: bool) -> Any:
    """The published recipe, at another size."""
    width, depth, heads = size["decoder"]
    return build(
        load_recipe(
            "image/mae",
            [
                "data={name: digits}",
                "modalities.image.augment=[]",
                f"modalities.image.tokenizer.image_size={size['image']}",
                f"modalities.image.tokenizer.patch_size={size['patch']}",
                *(f"encoder.{key}={size[key]}" for key in ("width", "depth", "heads")),
                f"predictors.0.width={width}",
                f"predictors.0.depth={depth}",
                f"predictors.0.heads={heads}",
                f"predictors.0.target.normalize={str(normalize).lower()}",
            ],
        )
    )


def batch_of(pipeline: Pipeline, images: np.ndarray, noise: Tensor) -> Any:
    """The images as one packed batch, masked by the noise."""
    plan = dataclasses.replace(pipeline, views={"main": ViewPlan(ByNoise(noise), pipeline.views["main"].corruptor)})
    draws = [Draw(0, 0, str(i)) for i in range(len(images))]
    return plan.pack([Sample({"image": plan.modalities["image"](x, d)}, d, ("image",)) for x, d in zip(images, draws, strict=True)])


@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "plain"])
@pytest.mark.parametrize("name", SIZES)
def test_loss_and_gradients_are_those_of_the_reference(name: str, normalize: bool) -> None:
    size, rng = SIZES[name], np.random.default_rng(0)
    images = rng.integers(0, 256, (5, size["image"], size["image"], 3), dtype=np.uint8)
    noise = torch.from_numpy(rng.random((5, (size["image"] // size["patch"]) ** 2)))
    peer, built = reference(size, normalize), ours(size, normalize)
    load_vit_mae(built.model, peer.state_dict())

    spec = built.specs["image"]
    pixels = (torch.from_numpy(images).float() - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    expected = peer(pixels.permute(0, 3, 1, 2).contiguous(), noise=noise).loss
    expected.backward()
    loss = built.model(batch_of(built.pipeline, images, noise)).loss
    loss.backward()

    assert abs(loss.item() - expected.item()) <= TOLERANCE * expected.item()
    theirs = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in peer.named_parameters()}
    mapped = from_vit_mae(theirs)
    mine = {n: p.grad for n, p in built.model.named_parameters() if p.grad is not None}
    assert mapped.keys() == mine.keys()
    whole = torch.cat([g.flatten() for g in mapped.values()]).norm()
    difference = torch.cat([(mine[n] - g).flatten() for n, g in mapped.items()]).norm()
    assert difference <= TOLERANCE * whole
    floor = 1e-3 * whole / len(mapped) ** 0.5  # some true gradients are zero (key biases): a relative error is undefined there
    for parameter, gradient in mapped.items():
        assert (mine[parameter] - gradient).norm() <= TOLERANCE * (gradient.norm() + floor), parameter


def test_a_weight_without_a_place_is_named() -> None:
    state = dict(reference(SIZES["tiny"], True).state_dict())
    with pytest.raises(ValueError, match=r"the model lacks.*extra"):
        from_vit_mae({**state, "extra.weight": torch.zeros(1)})
    del state["decoder.mask_token"]
    with pytest.raises(ValueError, match=r"lacks.*mask_token"):
        from_vit_mae(state)


def test_positions_that_are_no_sines_and_cosines_are_refused() -> None:
    state = dict(reference(SIZES["tiny"], True).state_dict())
    state["decoder.decoder_pos_embed"] = torch.zeros_like(state["decoder.decoder_pos_embed"])
    with pytest.raises(ValueError, match="decoder_pos_embed"):
        load_vit_mae(ours(SIZES["tiny"], True).model, state)


def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="differs from the checkpoint's"):
        load_vit_mae(ours(SIZES["small"], True).model, reference(SIZES["tiny"], True).state_dict())
