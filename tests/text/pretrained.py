"""Models of `transformers`, small ones, and recipes that begin with them.

Both compute in float32, in another order of operations: the tolerance is that of the parity tests, 1e-5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.train import files, train

from .conftest import TEXTS

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
WIDTHS = ["encoder.width=32", "encoder.depth=3", "encoder.heads=4", "encoder.mlp_width=48"]
LENGTH = 40
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def bert(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": LENGTH, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=vocabulary, **{**settings, **changes}))


def roberta(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": LENGTH + 2, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(vocab_size=vocabulary, **{**settings, **changes}))


def modernbert(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "num_hidden_layers": 4, "local_attention": 8, **IDS}
    return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(vocab_size=vocabulary, **{**settings, **changes}))


FAMILIES: dict[str, Callable[..., Any]] = {"bert": bert, "roberta": roberta, "modernbert": modernbert}


def peer(family: str, **changes: Any) -> Any:
    """The same weights every time, of a realistic scale: the peers' own initialisation has zero biases."""
    torch.manual_seed(1)
    model = FAMILIES[family](**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def saved(family: str, folder: Path, tokenizer: Path | None = FOLDER, **changes: Any) -> Path:
    """A checkpoint with a tokenizer."""
    peer(family, **changes).save_pretrained(folder)
    for file in tokenizer.iterdir() if tokenizer else ():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def tokenizer_folder(folder: Path, algorithm: Any, size: int, texts: Iterable[str] = TEXTS) -> Path:
    folder.mkdir()
    for name, text in files(train(lambda: list(texts), algorithm, size, lowercase=True)).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def overrides(family: str, corpus: Path, init: str, tokenizer: str | Path = FOLDER) -> list[str]:
    mine = {
        "bert": [*WIDTHS, f"encoder.position.max_length={LENGTH}"],
        "roberta": [*WIDTHS, f"encoder.position.max_length={LENGTH}"],
        "modernbert": [*WIDTHS[:1], "encoder.depth=4", *WIDTHS[2:], "encoder.window=8", "encoder.position.temperature=160000.0"],
    }
    text = [f"modalities.text.tokenizer.path={tokenizer}", f"modalities.text.tokenizer.max_length={LENGTH}"]
    vocabulary = ["modalities.text.tokenizer.vocabulary=null"] if family == "modernbert" else []
    data = [f"data.path={corpus}", "data.validation=0.3"]
    return [*text, *vocabulary, *data, *mine[family], f"init={{name: text.{family}, {init}}}"]


def built(family: str, corpus: Path, folder: Path, *more: str, init: str = "", tokenizer: str | Path = FOLDER) -> Built:
    given = f"path: {folder}" + (f", {init}" if init else "")
    return build(load_recipe(f"text/{family}", [*overrides(family, corpus, given, tokenizer), *more]))


def table_and_bias(found: Built) -> tuple[torch.Tensor, torch.Tensor]:
    state = found.model.state_dict()
    return state["networks.main.embeddings.text.weight"], state["predictors.mlm.heads.text.bias"]


def compare(found: Built, reference: Any) -> None:
    """Logits at the hidden tokens of all held-out texts, each alone in the peer."""
    samples = 0
    for batch in found.validation_batches():
        with torch.no_grad():
            (prediction,) = found.model.eval().predict(batch)["main"].predictions.values()
            mine = prediction.head(prediction.features)
            stream = batch.views["main"].context
            shown = torch.where(stream.literal >= 0, stream.literal, batch.store["text"].data)
            theirs = [reference(input_ids=ids[None]).logits[0] for ids in shown.split(stream.layout.lengths.tolist())]
        expected = torch.cat(theirs)[prediction.targets.at[:, 0]]
        assert mine.shape == expected.shape and (mine - expected).abs().max() <= TOLERANCE * expected.abs().max()
        samples += batch.num_samples
    assert samples > 1


def refusal(family: str, corpus: Path, folder: Path, *more: str, init: str = "", tokenizer: str | Path = FOLDER) -> str:
    with pytest.raises(UserError) as info:
        built(family, corpus, folder, *more, init=init, tokenizer=tokenizer)
    return str(info.value)
