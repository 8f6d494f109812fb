"""Wrapped blocks of timm are the bare model on the same picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnimask.builder.build import build
from omnimask.errors import UserError
from omnimask.interfaces import Context, TokenSpec
from omnimask.recipe import load_recipe

timm = pytest.importorskip("timm")

from omnimask_adapters.timm_encoder import TimmEncoder  # noqa: E402

OPTIONS = {"embed_dim": 48, "depth": 3, "num_heads": 3}
CONTEXT = Context(specs={"a": TokenSpec(vocabulary=5)}, modalities=("a",))
TOLERANCE = 1e-5  # relative; measured 2e-7 for features and gradients: a convolution is summed in another order than a product


def pictures(encoder: str) -> Any:
    """The quick start on whole pictures of 8 x 8 pixels, and a batch of it."""
    keep = ["modalities.image.corruptor={name: keep}", "predictors=[{name: in_place, target: {name: patch}}]"]
    made = build(load_recipe("adapters/timm", [*keep, f"encoder={encoder}"]))
    return made, next(iter(made.validation_batches()))


def test_features_and_gradients_are_those_of_the_bare_model() -> None:
    made, batch = pictures("{name: timm, model: vit_tiny_patch16_224, options: {embed_dim: 48, depth: 3, num_heads: 3}}")
    part, stream = made.model.each()[0], batch.views["main"].context
    options = {**OPTIONS, "img_size": 8, "patch_size": 2, "in_chans": 1, "class_token": False, "global_pool": "", "num_classes": 0}
    peer = timm.create_model("vit_tiny_patch16_224", pretrained=False, **options)
    peer.blocks.load_state_dict(part.encoder.blocks.state_dict())
    peer.norm.load_state_dict(part.encoder.norm.state_dict())
    project = part.embeddings["image"].project
    with torch.no_grad():
        peer.patch_embed.proj.weight.copy_(project.weight.unflatten(1, (2, 2, 1)).permute(0, 3, 1, 2))
        peer.patch_embed.proj.bias.copy_(project.bias)
        peer.pos_embed.copy_(part.encoder.position(stream).added[:16][None])

    spec, store = made.specs["image"], batch.store["image"].data
    pixels = (store.float() - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    whole = pixels.reshape(-1, 4, 4, 2, 2).permute(0, 1, 3, 2, 4).reshape(-1, 1, 8, 8)
    expected = peer.forward_features(whole).flatten(0, 1)
    mine = made.model.predict(batch)["main"].encoded.features.data
    assert (mine - expected).norm() <= TOLERANCE * expected.norm()
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (mine * weight).sum().backward()
    (expected * weight).sum().backward()
    for (name, theirs), ours in zip(peer.blocks.named_parameters(), part.encoder.blocks.parameters(), strict=True):
        assert (ours.grad - theirs.grad).norm() <= TOLERANCE * (theirs.grad.norm() + 1e-3), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vit_tinyy"}, "no model 'vit_tinyy'"),
        ({"model": "resnet18"}, "resnet18 is not a plain vision transformer"),
        ({"model": "eva02_tiny_patch14_224"}, "is not a plain vision transformer"),
        ({"options": {"embed_dims": 4}}, "has no option 'embed_dims' here;"),
        ({"options": {"class_token": True}}, "has no option 'class_token' here;"),
        ({"options": {"embed_dim": 50, "num_heads": 3}}, "timm cannot make vit_tiny_patch16_224"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmEncoder(CONTEXT, **options)


def test_positions_that_do_more_than_add_are_refused() -> None:
    with pytest.raises(UserError, match="takes positions that add to embeddings, but alibi would bias attention;"):
        pictures("{name: timm, options: {embed_dim: 32, depth: 1, num_heads: 2}, position: {name: alibi}}")
