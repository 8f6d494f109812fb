"""Continued pretraining from a folder that `transformers` wrote: the same loss as there, and clear refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.data.pipeline import Pipeline, ViewPlan
from omnimask.errors import UserError
from omnimask.interfaces import Draw, Masking, Sample
from omnimask.recipe import load_recipe
from omnimask.run.prepare import start
from omnimask.run.resume import reopen

transformers = pytest.importorskip("transformers")
LETTERS = {"q": "query", "k": "key", "v": "value"}
SIZES = ["tokenizer.image_size=32", "tokenizer.patch_size=8"]


def peer(**changes: Any) -> Any:
    """A tiny random model with the position tables that a model loaded from a checkpoint has."""
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "image_size": 32,
            "patch_size": 8,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 64,
            "layer_norm_eps": 1e-6,
            "norm_pix_loss": True,
            **changes,
        }
    )
    model = transformers.ViTMAEForPreTraining(config)
    projection = model.vit.embeddings.patch_embeddings.projection
    if hasattr(projection, "_is_hf_initialized"):
        del projection._is_hf_initialized
    model.vit.embeddings.initialize_weights()
    model.decoder.initialize_weights(model.vit.embeddings.patch_embeddings.num_patches)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    peer().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def overrides(folder: Path | None, *more: str) -> list[str]:
    sizes = [
        "data={name: digits}",
        "modalities.image.augment=[]",
        *(f"modalities.image.{size}" for size in SIZES),
        "encoder.width=32",
        "encoder.depth=2",
        "encoder.heads=4",
        "predictors.0.width=16",
        "predictors.0.depth=1",
        "predictors.0.heads=2",
    ]
    return [*sizes, *([f"init={{name: image.vit_mae, path: {folder}}}"] if folder else []), *more]


class ByNoise:
    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise.numpy()

    def __call__(self, sample: Sample) -> dict[str, Masking]:
        is_visible = np.zeros(self.noise.shape[1], bool)
        is_visible[np.argsort(self.noise[int(sample.draw.key)], kind="stable")[: len(is_visible) // 4]] = True
        return {"image": Masking(is_visible, ~is_visible)}


def losses(pipeline: Pipeline, model: Any, reference: Any) -> tuple[float, float]:
    """Ours and the reference's on the same images and masks."""
    rng = np.random.default_rng(0)
    images, noise = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), torch.from_numpy(rng.random((4, 16)))
    modality, spec = pipeline.modalities["image"], pipeline.specs["image"]
    samples = [Sample({"image": modality(x, d)}, d, ("image",)) for i, x in enumerate(images) for d in [Draw(0, 0, str(i))]]
    plan = ViewPlan(ByNoise(noise), pipeline.views["main"].corruptor)
    batch = Pipeline(pipeline.dataset, pipeline.modalities, {"main": plan}, pipeline.specs, 0).pack(samples)
    pixels = (torch.from_numpy(images).float() - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    with torch.no_grad():
        expected = reference(pixels.permute(0, 3, 1, 2).contiguous(), noise=noise).loss
        return model(batch).loss.item(), expected.item()


def test_a_recipe_that_begins_with_a_checkpoint_has_its_loss(folder: Path) -> None:
    built = build(load_recipe("image/mae", overrides(folder)))
    mine, expected = losses(built.pipeline, built.model, peer().eval())
    assert mine == pytest.approx(expected, rel=1e-5)
    fresh, _ = losses(built.pipeline, build(load_recipe("image/mae", overrides(None))).model, peer().eval())
    assert fresh != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("form", ["before transformers 5", "transformers 5.23", "in memory"])
def test_names_of_all_versions_are_read(folder: Path, form: str) -> None:
    """In memory the names are the present ones; files keep the older ones, which 5.23 restores imperfectly."""
    former = {}
    for name, tensor in peer().state_dict().items():
        if form == "in memory":
            former[name] = tensor
            continue
        name = name.replace("vit.layers.", "vit.encoder.layer.")
        if form == "transformers 5.23":
            name = name.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer.")
        name = re.sub(r"\.attention\.([qkv])_proj\.", lambda m: f".attention.attention.{LETTERS[m[1]]}.", name)
        name = name.replace(".attention.o_proj.", ".attention.output.dense.")
        former[name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")] = tensor
    save_file(former, folder / "model.safetensors")
    built = build(load_recipe("image/mae", overrides(folder)))
    mine, expected = losses(built.pipeline, built.model, peer().eval())
    assert mine == pytest.approx(expected, rel=1e-5)


def test_a_resolved_recipe_keeps_it_and_a_smoke_run_leaves_it_out(folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe("image/mae", overrides(folder))
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml())
    again = load_recipe(tmp_path / "resolved.yaml")
    assert again == recipe and again.init is not None and again.init.options["path"] == folder
    assert load_recipe("image/mae", ["init={name: image.vit_mae, path: ???}"], smoke=True).init is None
    with pytest.raises(UserError, match="no option 'pat'"):
        load_recipe("image/mae", ["init={name: image.vit_mae, pat: x}"], smoke=True)
    with pytest.raises(UserError, match=r"init\.path"):
        load_recipe("image/mae", [*overrides(None), "init={name: image.vit_mae}"])


def test_a_resumed_run_does_not_ask_for_the_checkpoint_again(folder: Path, tmp_path: Path) -> None:
    train = ["train.steps=2", "train.batch_tokens=64", "train.checkpoint_every=1", "train.schedule.warmup=0"]
    run = start(load_recipe("image/mae", overrides(folder, *train)), tmp_path / "run", show=False)
    run.trainer.fit()
    (folder / "model.safetensors").unlink()
    continued = reopen(tmp_path / "run", ["train.steps=3"], show=False)
    assert continued.trainer.fit()
    assert continued.trainer.progress.step == 3


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as info:
        build(load_recipe("image/mae", list(arguments)))
    return str(info.value)


def test_refusals_name_the_place_and_the_remedy(folder: Path, tmp_path: Path) -> None:
    message = refusal(*overrides(tmp_path / "nowhere"))
    assert "init" in message and f"folder {tmp_path / 'nowhere'} does not exist" in message
    assert "set heads: 4" in refusal(*overrides(folder, "encoder.heads=2"))
    assert "set heads: 2" in refusal(*overrides(folder, "predictors.0.heads=1"))
    assert ("num_hidden_layers is 2 in the checkpoint, 3 in the recipe (in encoder set depth: 2).") in refusal(
        *overrides(folder, "encoder.depth=3")
    )
    assert ("hidden_size is 32 in the checkpoint, 64 in the recipe (in encoder set width: 32);") in refusal(
        *overrides(folder, "encoder.width=64")
    )
    assert "registers" in refusal(*overrides(folder, "encoder.registers=2"))
    assert "unknown predictor 'decoder'; predictors: pixels" in refusal(*overrides(folder, "predictors.0.label=pixels"))


def test_all_differences_are_named_at_once(folder: Path) -> None:
    message = refusal(
        *overrides(folder, "encoder.width=64", "encoder.heads=8", "encoder.depth=3", "encoder.mlp_ratio=1"),
        *("modalities.image.tokenizer.image_size=64", "predictors.0.depth=2", "predictors.0.position={name: learned}"),
    )
    for part in ("hidden_size is 32 in", "set heads: 4", "set depth: 2", "in encoder set mlp_ratio", "set image_size: 32"):
        assert part in message
    assert "in predictors.decoder set depth: 1" in message
    assert "decoder.decoder_pos_embed contains sines and cosines; set predictors.decoder.position: {name: sincos}." in message
    assert f"`omnimask init {folder}` writes a matching recipe" in message and "Missing key" not in message


def with_positions(kind: str) -> Any:
    """As `transformers` saves a model that it made from a configuration, and one whose positions somebody trained."""
    model = peer()
    with torch.no_grad():
        for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            if kind == "none":
                table.zero_()
            else:
                table[:, 1:] += 0.1 * torch.randn(table[:, 1:].shape)
        if kind == "learned":
            model.vit.embeddings.position_embeddings[:, 0] += 0.3
    return model.eval()


@pytest.mark.parametrize("kind", ["none", "learned"])
def test_other_positions_are_read_where_the_recipe_has_them(folder: Path, kind: str) -> None:
    model = with_positions(kind)
    model.save_pretrained(folder)
    message = refusal(*overrides(folder))
    for key in ("encoder", "predictors.decoder"):
        assert f"set {key}.position: {{name: {kind}}}" in message
    fitting = (f"encoder.position={{name: {kind}}}", f"predictors.0.position={{name: {kind}}}")
    built = build(load_recipe("image/mae", overrides(folder, *fitting)))
    mine, expected = losses(built.pipeline, built.model, model)
    assert mine == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["sincos", "none", "learned"])
def test_init_writes_the_recipe_that_fits_a_model(folder: Path, tmp_path: Path, kind: str) -> None:
    model = peer().eval() if kind == "sincos" else with_positions(kind)
    model.save_pretrained(folder)
    assert main(["init", str(folder), "--output", str(tmp_path / "recipe.yaml")]) == 0
    built = build(load_recipe(tmp_path / "recipe.yaml", ["data={name: digits}", "modalities.image.augment=[]"]))
    mine, expected = losses(built.pipeline, built.model, model)
    assert mine == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wrap", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"])
def test_names_that_a_wrapper_changed_are_read(folder: Path, wrap: str, caplog: pytest.LogCaptureFixture) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({wrap.format(name): tensor for name, tensor in state.items()}, folder / "model.safetensors")
    caplog.set_level("INFO")
    built = build(load_recipe("image/mae", overrides(folder)))
    mine, expected = losses(built.pipeline, built.model, peer().eval())
    assert mine == pytest.approx(expected, rel=1e-5)
    assert "prefixes of torch.compile and data parallelism are removed from" in caplog.text


def test_weights_in_several_files_are_read(folder: Path) -> None:
    peer().save_pretrained(folder, max_shard_size="30KB")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    assert index.is_file() and len(list(folder.glob("*.safetensors"))) > 1
    built = build(load_recipe("image/mae", overrides(folder)))
    mine, expected = losses(built.pipeline, built.model, peer().eval())
    assert mine == pytest.approx(expected, rel=1e-5)
    listed = json.loads(index.read_text())
    index.write_text(json.dumps({**listed, "weight_map": {**listed["weight_map"], "more": "../other.safetensors"}}))
    assert "lists '../other.safetensors', which is not in the same" in refusal(*overrides(folder))
    index.write_text(json.dumps({**listed, "weight_map": {**listed["weight_map"], "more": min(listed["weight_map"].values())}}))
    assert "lists weights that are not in its files: more" in refusal(*overrides(folder))
    index.write_text("[]")
    assert "needs a weight_map" in refusal(*overrides(folder))
    index.write_text(json.dumps(listed))
    next(folder.glob("*-of-*.safetensors")).unlink()
    assert "cannot be read" in refusal(*overrides(folder))


def test_weights_without_a_place_are_named(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "vit.pooler.weight": torch.zeros(1)}, folder / "model.safetensors")
    assert "weights of the checkpoint that the model lacks: ['vit.pooler.weight']" in refusal(*overrides(folder))


def test_pickles_damage_and_other_models_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors cannot be read" in refusal(*overrides(folder))
    weights.rename(folder / "pytorch_model.bin")
    message = refusal(*overrides(folder))
    assert "pytorch_model.bin" in message and "save_pretrained" in message and "are not read" in message
    (folder / "pytorch_model.bin").unlink()
    assert "contains no model.safetensors" in refusal(*overrides(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "describes a model of type 'vit'" in refusal(*overrides(folder))
    (folder / "config.json").unlink()
    assert "config.json cannot be read" in refusal(*overrides(folder))


def test_another_epsilon_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(load_recipe("image/mae", overrides(folder, "encoder.norm_eps=1e-5")))
    assert "set norm_eps: 1e-06" in caplog.text
