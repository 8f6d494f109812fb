"""Image runs as folders of `transformers`: the same predicted patches and the same loss, and honest refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.export import export_run, load_exported
from omnimask.recipe import load_recipe

transformers = pytest.importorskip("transformers")

SIZES = [
    "data={name: digits}",
    "modalities.image.augment=[]",
    "modalities.image.tokenizer.image_size=32",
    "modalities.image.tokenizer.patch_size=8",
    "encoder.width=32",
    "encoder.depth=2",
    "encoder.heads=4",
    "predictors.0.width=16",
    "predictors.0.depth=1",
    "predictors.0.heads=2",
]
TRAIN = [
    "train.steps=2",
    "train.batch_tokens=128",
    "train.workers=0",
    "train.schedule.warmup=0",
    "train.base_lr=null",
    "train.optimizer.lr=0.05",
]


def trained(folder: Path, *more: str) -> Path:
    """A run of a few steps, with a rate that takes the weights far from where they began."""
    run = folder / "run"
    assert main(["pretrain", "image/mae", *SIZES, *TRAIN, *more, "--run", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs"))


def test_transformers_reads_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measured: at most 7e-7 of the largest prediction apart."""
    out = tmp_path / "out"
    assert main(["export", str(run), str(out), "--to", "transformers"]) == 0
    assert "written by image.vit_mae and read back; the 48 predicted patches of 4 images" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    peer = transformers.AutoModelForPreTraining.from_pretrained(out)
    config = peer.config
    assert isinstance(peer, transformers.ViTMAEForPreTraining)
    assert (config.mask_ratio, config.norm_pix_loss, config.image_size, config.patch_size) == (0.75, True, 32, 8)
    processor = transformers.AutoImageProcessor.from_pretrained(out)
    pixels = processor(images=np.full((32, 32, 3), 128, np.uint8), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(pixels[0, :, 0, 0], expected, atol=1e-5)


def test_names_are_those_of_published_files(run: Path, tmp_path: Path) -> None:
    """So that every version of `transformers` reads them."""
    export_run(run, "transformers", tmp_path / "out")
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert {
        "vit.embeddings.cls_token",
        "vit.embeddings.position_embeddings",
        "vit.embeddings.patch_embeddings.projection.weight",
        "vit.encoder.layer.1.attention.attention.query.weight",
        "vit.encoder.layer.1.attention.output.dense.bias",
        "vit.encoder.layer.1.intermediate.dense.weight",
        "vit.encoder.layer.1.output.dense.weight",
        "decoder.decoder_layers.0.layernorm_before.weight",
        "decoder.decoder_layers.0.attention.attention.value.bias",
        "decoder.mask_token",
        "decoder.decoder_pos_embed",
    } <= names


def test_there_and_back(run: Path, tmp_path: Path) -> None:
    export_run(run, "transformers", tmp_path / "out")
    export_run(run, "safetensors", tmp_path / "weights")
    begun = build(load_recipe(run / "recipe.yaml", [f"init={{name: image.vit_mae, path: {tmp_path / 'out'}}}", "seed=5"]))
    state = begun.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_exported(tmp_path / "weights").model.state_dict().items())


@pytest.mark.parametrize("ratio", [0.6, 0.7])
def test_other_ratios(ratio: float, tmp_path: Path) -> None:
    """Ratios that leave no whole number of 16 patches."""
    run = trained(tmp_path, f"modalities.image.masker.ratio={ratio}")
    export_run(run, "transformers", tmp_path / "out")
    found = transformers.ViTMAEConfig.from_pretrained(tmp_path / "out").mask_ratio
    assert abs(found - ratio) < 1 / 16


IN_PLACE = ["modalities.image.corruptor={name: mask_token}", "predictors=[{name: in_place, target: {name: patch}}]"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["encoder.summary=0"], "summary: 1"),
        (["encoder.registers=2"], "no registers"),
        (["encoder.norm=rms", "encoder.mlp=swiglu", "encoder.qk_norm=true"], "norm: layer; mlp: gelu; qk_norm: false"),
        (["predictors.0.norm_eps=1e-5"], "one norm_eps"),
        (["predictors.0.target.loss=l1"], "loss: mse"),
        (["predictors.0.target={name: image.hog}"], "the target patch"),
        (["encoder.position={name: learned}"], "the position sincos"),
        (["modalities.image.tokenizer.image_size=[32, 16]"], "square images and patches"),
        (IN_PLACE, "the predictor decoder"),
    ],
)
def test_models_that_vit_mae_is_no_name_for(changes: list[str], reason: str, tmp_path: Path) -> None:
    run = trained(tmp_path, *changes)
    with pytest.raises(UserError, match="this model cannot be written for transformers") as info:
        export_run(run, "transformers", tmp_path / "out")
    messages: Any = [message for message in info.value.messages if message.startswith("image.vit_mae")]
    assert reason in messages[0] and not list(tmp_path.glob("out*"))
