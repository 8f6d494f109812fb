"""Runs of text recipes as folders of `transformers`: the same logits, the same ids, and honest refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.data.collation import collate
from omnimask.errors import UserError
from omnimask.export import export_run, load_exported
from omnimask.interfaces import Draw, Sample, View
from omnimask.recipe import load_recipe
from omnimask.streams import sequence, targets
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.train import files, train
from omnimask_text.weights.exporters import UNANSWERED

transformers = pytest.importorskip("transformers")

TEXTS = [
    "The encoder reads the whole sentence, and the head answers for what it did not see.",
    "A mask token stands where a word was hidden, and nowhere else.",
    "Weights begin as those of another program, and training continues from there; nothing of them is lost on the way.",
    "Short.",
    "What was written is read back, and compared.",
] * 3
FAMILIES = {
    "bert": ["encoder.position.max_length=40"],
    "roberta": ["encoder.position.max_length=40"],
    "modernbert": ["encoder.window=8", "encoder.depth=4", "encoder.position.temperature=160000.0"],
}
SIZES = ["encoder.width=32", "encoder.depth=3", "encoder.heads=4", "encoder.mlp_width=48"]
TRAIN = ["train.steps=2", "train.batch_tokens=128", "train.workers=0", "train.schedule.warmup=0", "train.optimizer.lr=0.05"]


def corpus(folder: Path) -> Path:
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def changes(family: str, data: Path, tokenizer: str) -> list[str]:
    text = [f"modalities.text.tokenizer={tokenizer}", f"data.path={data}", "data.validation=0.4"]
    return [*text, *SIZES, *FAMILIES[family], *TRAIN]


def trained(folder: Path, family: str, *more: str, tokenizer: str = "") -> Path:
    """A run of a few steps, with a rate that takes the weights far from where they began."""
    given = tokenizer or f"{{name: text.huggingface, path: {FOLDER}, max_length: 40}}"
    run = folder / "run"
    arguments = ["pretrain", f"text/{family}", *changes(family, corpus(folder / "corpus"), given), *more, "--run", str(run)]
    assert main(arguments) == 0
    return run


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Family, folder of weights, and folder of `transformers`."""
    folder = tmp_path_factory.mktemp(request.param)
    run = trained(folder, request.param)
    assert main(["export", str(run), str(folder / "out"), "--to", "transformers"]) == 0
    export_run(run, "safetensors", folder / "weights")
    return request.param, folder / "weights", folder / "out"


def logits(weights: Path, texts: Sequence[str | list[str]]) -> list[torch.Tensor]:
    """Of the run's model for whole texts, one by one."""
    loaded = load_exported(weights)
    found = []
    for text in texts:
        tokens = loaded.tokenizers["text"](text, Draw(0, 0, "text"))
        sample, every = Sample({"text": tokens}, Draw(0, 0, "text"), ("text",)), np.arange(len(tokens))
        batch = collate([sample], [{"main": View(sequence(sample, every, targets=targets(every, every)))}], loaded.specs)
        with torch.no_grad():
            (prediction,) = loaded.model.predict(batch)["main"].predictions.values()
            found.append(prediction.head(prediction.features))
    return found


def same(mine: Sequence[torch.Tensor], peer: Any, rows: Any) -> None:
    """Measured worst case 1.9e-7 of the scale; 1e-5, as in the parity tests, leaves room for other CPUs' kernels."""
    with torch.no_grad():
        theirs = peer(**rows).logits
    for expected, found, shown in zip(mine, theirs, rows["attention_mask"], strict=True):
        assert len(expected) == int(shown.sum())
        found = found[: len(expected), : expected.shape[1]]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_transformers_reads_it(exported: tuple[str, Path, Path]) -> None:
    """From texts of different lengths, padded by the exported tokenizer, to the same logits."""
    _, weights, out = exported
    peer = transformers.AutoModelForMaskedLM.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    texts = ["The encoder [MASK] the whole sentence.", "Short.", "Nothing is [MASK] on the way, and [MASK] else."]
    assert tokenizer.mask_token == "[MASK]" and tokenizer.model_max_length == 40
    same(logits(weights, texts), peer, tokenizer(texts, padding=True, return_tensors="pt"))


def test_pairs_have_their_types(exported: tuple[str, Path, Path]) -> None:
    family, weights, out = exported
    peer = transformers.AutoModelForMaskedLM.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    rows = tokenizer(["A word was hidden."], ["Nowhere else."], return_tensors="pt")
    assert ("token_type_ids" in rows) == (family != "modernbert")
    same(logits(weights, [["A word was hidden.", "Nowhere else."]]), peer, rows)


def test_a_fill_mask_pipeline_answers(exported: tuple[str, Path, Path]) -> None:
    answers = transformers.pipeline("fill-mask", model=str(exported[2]))("The encoder [MASK] the sentence.")
    assert len(answers) == 5 and all(0 < answer["score"] <= 1 for answer in answers)


def test_there_and_back(exported: tuple[str, Path, Path]) -> None:
    """A recipe that begins with the export has the run's weights, bit for bit."""
    family, weights, out = exported
    name = "modernbert" if family == "modernbert" else "bert"
    begun = build(load_recipe(weights / "recipe.yaml", [f"init={{name: text.{name}, path: {out}}}", "seed=5"]))
    state, before = begun.model.state_dict(), load_exported(weights).model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in before.items())


def test_a_smoke_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["pretrain", "text/bert", "--smoke", "--run", str(run)]) == 0
    assert main(["export", str(run), str(out), "--to", "transformers"]) == 0
    captured = capsys.readouterr()
    assert "written by text.bert and read back; the " in captured.err and captured.out.endswith(f"{out}\n")
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {p.name for p in out.iterdir()}
    assert all(path.stat().st_mode & 0o444 == out.stat().st_mode & 0o444 for path in out.iterdir())


# ---- tokenizers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "size"), [("bpe", 290), ("unigram", 70), ("wordpiece", 150)])
def test_tokenizers_of_all_kinds(algorithm: Any, size: int, tmp_path: Path) -> None:
    """Also without the frame of special tokens, which the exported tokenizer then does not have either."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name, text in files(train(lambda: TEXTS, algorithm, size)).items():
        (folder / name).write_text(text, encoding="utf-8")
    given = f"{{name: text.huggingface, path: {folder}, max_length: 120, add_special: false}}"
    run = trained(tmp_path, "bert", *LONG, tokenizer=given)
    export_run(run, "transformers", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    former = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer(TEXTS)["input_ids"] == former(TEXTS, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokenizer(TEXTS[3])["input_ids"]) == former.decode(former.encode(TEXTS[3], add_special_tokens=False))


LONG = ("encoder.position.max_length=120",)


def test_the_english_tokenizer(tmp_path: Path) -> None:
    run = trained(tmp_path, "bert", tokenizer="{name: text.english, max_length: 40}")
    export_run(run, "transformers", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("The encoder.")["input_ids"] == transformers.AutoTokenizer.from_pretrained(FOLDER)("The encoder.")["input_ids"]


def test_bytes(tmp_path: Path) -> None:
    """A byte-level tokenizer without merges has the bytes' values as ids, and special tokens behind them."""
    run = trained(tmp_path, "bert", *LONG, tokenizer="{name: text.bytes, max_length: 120}")
    export_run(run, "transformers", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("Ä  b\n")["input_ids"] == [257, *"Ä  b\n".encode(), 258]
    assert tokenizer("a", "b")["input_ids"] == [257, 97, 258, 98, 258] and tokenizer("[MASK]")["input_ids"][1] == 259
    assert tokenizer.decode([*"Ä  b\n".encode()]) == "Ä  b\n"


def without_mask(folder: Path) -> Path:
    """A tokenizer that has no mask token; its last id is its largest."""
    folder.mkdir()
    written = files(train(lambda: TEXTS, "wordpiece", 150))
    content, config = json.loads(written["tokenizer.json"]), json.loads(written["tokenizer_config.json"])
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[MASK]"]
    vocabulary = {token: number - (number > 4) for token, number in content["model"]["vocab"].items() if token != "[MASK]"}
    content["model"]["vocab"] = vocabulary
    del config["mask_token"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_an_appended_mask_token(tmp_path: Path) -> None:
    """The corruptor's token has its id in the exported tokenizer, its row in the model, and no probability as an answer."""
    folder = without_mask(tmp_path / "tokenizer")
    run = trained(tmp_path, "bert", tokenizer=f"{{name: text.huggingface, path: {folder}, max_length: 40}}")
    export_run(run, "transformers", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.mask_token_id == 149 and tokenizer("a [MASK]")["input_ids"][-2] == 149
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert state["cls.predictions.bias"][149] == UNANSWERED and len(state["bert.embeddings.word_embeddings.weight"]) == 150
    peer = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    assert peer(**tokenizer("a [MASK]", return_tensors="pt")).logits.softmax(-1)[..., 149].max() == 0


def test_a_mask_token_that_cannot_have_its_id(tmp_path: Path) -> None:
    folder = without_mask(tmp_path / "tokenizer")
    run = trained(tmp_path, "bert", tokenizer=f"{{name: text.huggingface, path: {folder}, max_length: 40, vocabulary: 160}}")
    message = refusal(run, tmp_path)
    assert "the id 160, but in the tokenizer [MASK] has 149" in message and "a tokenizer that has a mask token" in message


# ---- refusals -------------------------------------------------------------------------------------------------------------------


def refusal(run: Path, folder: Path) -> str:
    """Every exporter's reason; nothing is left behind."""
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match="this model cannot be written for transformers") as info:
        export_run(run, "transformers", folder / "out")
    assert sorted(folder.iterdir()) == before
    reasons = info.value.messages[1:]
    assert {reason.partition(":")[0] for reason in reasons} >= {"text.bert", "text.bert_encoder", "text.modernbert"}
    return "\n".join(reasons)


@pytest.mark.parametrize(
    ("family", "change", "reason"),
    [
        ("bert", "encoder.mlp=geglu", "BERT's are plain, mlp: gelu"),
        ("bert", "encoder.position={name: alibi}", "the model has Alibi but needs position: {name: learned}"),
        ("bert", "predictors.0.norm_eps=1e-5", "epsilons 1e-12, 1e-05, but a configuration has one;"),
        ("bert", "predictors.0.tied=false", "tied: true"),
        ("bert", "predictors.0.bias=false", "bias: true"),
        ("bert", "predictors.0.layer=2", "it must read the last one"),
        ("bert", "encoder.type_field=sentence", "the encoder's types come from the field 'sentence'"),
        ("modernbert", "predictors=[{name: in_place, target: {name: ids}}]", "but needs a predictor {name: mlm}"),
        ("modernbert", "predictors.0.bias=true", "bias: false"),
        ("modernbert", "encoder.local_position={name: none}", "local_position: {name: rotary}"),
    ],
)
def test_models_that_the_format_has_no_name_for(family: str, change: str, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(trained(tmp_path, family, change, *MANY_TYPES.get(change, ())), tmp_path)


MANY_TYPES = {"encoder.type_field=sentence": ("encoder.types=9",)}


def test_the_page_shows_the_real_messages(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    shown = page.split("```text\n")[1].split("```")[0].splitlines()
    run = trained(tmp_path, "bert", "encoder.mlp=geglu", tokenizer="{name: text.english, max_length: 40}")
    with pytest.raises(UserError) as info:
        export_run(run, "transformers", tmp_path / "out")
    assert [f"error: {message}" for message in info.value.messages] == shown
