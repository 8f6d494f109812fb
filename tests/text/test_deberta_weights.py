"""Recipes with the encoder `deberta` that begin with a checkpoint of `transformers`, and their export as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.export import export_run, load_exported
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER

from .pretrained import LENGTH, SIZES, compare
from .test_export import TRAIN, logits, same

transformers = pytest.importorskip("transformers")

FORM = {
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "relative_attention": True, "position_buckets": 8,
    "max_position_embeddings": LENGTH, "position_biased_input": False, "pos_att_type": "p2c|c2p", "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}  # fmt: skip
ENCODER = "encoder={name: deberta, width: 32, depth: 3, heads: 4, mlp_width: 48, buckets: 8, max_distance: 40}"


def checkpoint(folder: Path, **changes: Any) -> Any:
    """A model with weights of a realistic scale, saved with a tokenizer."""
    torch.manual_seed(1)
    model = transformers.DebertaV2ForMaskedLM(transformers.DebertaV2Config(vocab_size=8192, **{**SIZES, **FORM, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    for file in FOLDER.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return model.eval()


def built(corpus: Path, folder: Path, encoder: str = ENCODER) -> Built:
    text = (f"modalities.text.tokenizer.path={FOLDER}", f"modalities.text.tokenizer.max_length={LENGTH}")
    data = (f"data.path={corpus}", "data.validation=0.3", "predictors=[{name: mlm, norm_eps: 1.0e-7}]")
    return build(load_recipe("text/bert", [*text, *data, encoder, f"init={{name: text.deberta, path: {folder}}}"]))


def test_logits_are_the_checkpoints(corpus: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path)
    compare(built(corpus, tmp_path), model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share_att_key": False}, "share_att_key: False"),
        ({"pos_att_type": "c2p"}, "pos_att_type"),
        ({"conv_kernel_size": 3, "conv_act": "gelu"}, "conv_kernel_size: 3"),
        ({"position_biased_input": True}, "position_biased_input: True"),
    ],
)
def test_other_forms_are_refused(corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    checkpoint(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        built(corpus, tmp_path)


def test_other_sizes_are_refused_with_the_remedy(corpus: Path, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"set encoder\.max_distance: 40"):
        built(corpus, tmp_path, ENCODER.replace("max_distance: 40", "max_distance: 32"))


def test_a_run_is_exported_and_begun_from(corpus: Path, tmp_path: Path) -> None:
    """The copy has the logits of the run, and a recipe that begins with it the run's weights, bit for bit."""
    run, out, weights = tmp_path / "run", tmp_path / "out", tmp_path / "weights"
    text = f"modalities.text.tokenizer={{name: text.huggingface, path: {FOLDER}, max_length: {LENGTH}}}"
    more = (f"data.path={corpus}", "data.validation=0.3", "predictors=[{name: mlm, norm_eps: 1.0e-7}]", ENCODER, *TRAIN)
    assert main(["pretrain", "text/bert", text, *more, "--run", str(run)]) == 0
    export_run(run, "transformers", out)
    export_run(run, "safetensors", weights)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    texts = ["The encoder [MASK] the whole sentence.", "Short.", "Nothing is [MASK] on the way, and [MASK] else."]
    peer = transformers.AutoModelForMaskedLM.from_pretrained(out).eval()
    assert type(peer).__name__ == "DebertaV2ForMaskedLM"
    same(logits(weights, texts), peer, tokenizer(texts, padding=True, return_tensors="pt"))
    begun = build(load_recipe(weights / "recipe.yaml", [f"init={{name: text.deberta, path: {out}}}", "seed=5"]))
    state, before = begun.model.state_dict(), load_exported(weights).model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in before.items())
