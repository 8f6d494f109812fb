"""The numbers of the shipped text recipes, written down a second time with their sources.

BERT: Devlin et al. 2018, appendix A.2, and run_pretraining.py (Adam's epsilon). RoBERTa: Liu et al. 2019, table 9. ModernBERT:
Warner et al. 2024, tables 3 and 4, and the reference's modernbert-base-pretrain.yaml. MosaicBERT: Portes et al. 2023, and the
reference's mosaic-bert-base-uncased.yaml (its decoupled decay per step is given here as a share of the learning rate). RTS, C-RTS
and SLM: Di Liello et al. 2022, and the scripts for BERT-base in the README of the reference (Adam: defaults of its code).
EntityCS: Whitehouse et al. 2022, section 2.3, and the reference's run_lm.sh. BIOptimus: Pavlova and Makhlouf 2023, table 5.
BiTimeBERT 2.0: Wang et al. 2024, and the code of its predecessor (temporal ratio, AdamW, warmup). Batches and steps of these
three, and all of LEM's training, are chosen here, as the recipes say.
DrBERT and ERNIE-Gram: the encoder and the training of BERT-base. RetroMAE: Xiao et al. 2022, section 4.1, and the README of the
reference (8 epochs of 25,000 steps by BERT's count; Adam: defaults of its trainer). Starbucks: the reference's pretrain_smae.sh.
Span-origin objectives: Di Liello et al. 2022, on RoBERTa-base; training chosen here. PROP: Ma et al. 2021, and the scripts of
the reference (40 documents to a step, each read twice, with room for the sets).
ELECTRA: Clark et al. 2020, tables 6 and 7, and the reference's pretrain_helpers.py. data2vec 2.0: the reference's
base_text_only_task.yaml (16 devices with 4 sequences). Mirror-BERT: Liu et al. 2021, sentence encoders; self-distillation: Lee et
al. 2023; schedules of both, and all of the latter's training, are chosen here, as the recipes say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from omnimask.recipe import Recipe, load_recipe, shipped_recipes

OURS = {"quickstart"}
"""Recipes that reproduce no publication."""


BERT_CORRUPTOR: tuple[str, dict[str, Any]] = ("bert", {"masked": 0.8, "random": 0.1})


@dataclass(frozen=True)
class Published:
    """``context`` in tokens, ``batch`` in sequences; ``warmup`` in steps."""

    context: int
    batch: int
    steps: int
    hidden: float | None
    lr: float
    warmup: int
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    schedule: str
    encoder: dict[str, Any]
    vocabulary: int | None = None
    minimum: float = 0.0
    corruptor: tuple[str, dict[str, Any]] = BERT_CORRUPTOR


BASE = {"width": 768, "depth": 12, "heads": 12}
BERT_BASE = {**BASE, "name": "bert", "types": 2, "dropout": 0.1, "norm_eps": 1e-12, "mlp_width": None, "position": "learned"}
XLMR_BASE = {**BERT_BASE, "types": 0, "norm_eps": 1e-5}


def substituting(batch: int, corruptor: str, **options: Any) -> Published:
    """One of Di Liello et al.: 8 devices with ``batch / 8`` sequences each."""
    numbers = (512, batch, 1_000_000, 0.15, 1e-4, 10_000, (0.9, 0.999), 1e-8, 0.01, "linear", BERT_BASE)
    return Published(*numbers, corruptor=(corruptor, options))


TABLE = {
    "bert": Published(
        512, 256, 1_000_000, 0.15, 1e-4, 10_000, (0.9, 0.999), 1e-6, 0.01, "linear",
        BERT_BASE,
    ),
    "roberta": Published(
        512, 8192, 500_000, 0.15, 6e-4, 24_000, (0.9, 0.98), 1e-6, 0.01, "linear",
        {**BASE, "name": "bert", "types": 0, "dropout": 0.1, "norm_eps": 1e-5, "mlp_width": None, "position": "learned"},
    ),
    "modernbert": Published(
        1024, 4608, round(1.719e12 / (4608 * 1024)), 0.3, 8e-4, round(3e9 / (4608 * 1024)), (0.9, 0.98), 1e-6, 1e-5, "constant",
        {
            "name": "modernbert", "width": 768, "depth": 22, "heads": 12, "mlp_width": 1152, "global_every": 3, "window": 128,
            "norm_eps": 1e-5, "position": "rotary",
        },
        vocabulary=50_368,
    ),
    "mosaicbert": Published(
        128, 4096, 286_720_000 // 4096, 0.3, 5e-4, round(0.06 * 70_000), (0.9, 0.98), 1e-6, 1e-5 / 5e-4, "linear",
        {**BASE, "name": "bert", "types": 2, "mlp": "geglu", "mlp_width": 3072, "dropout": 0.1, "position": "alibi"},
        vocabulary=30_528,
        minimum=0.02,
    ),
    "rts": substituting(8 * 32, "substitute"),
    "c-rts": substituting(8 * 16, "cluster_substitute", num_clusters=100),
    "slm": substituting(8 * 32, "substitute"),
    "retromae": Published(512, 8 * 32, 8 * 25_000, 0.3, 1e-4, 20_000, (0.9, 0.999), 1e-8, 0.01, "linear", BERT_BASE),
    "starbucks": Published(
        512, 8 * 32 * 2, 290_000, 0.2, 1e-4, round(0.05 * 290_000), (0.9, 0.999), 1e-8, 0.001, "cosine", BERT_BASE,
    ),
    "drbert": Published(512, 256, 1_000_000, 0.15, 1e-4, 10_000, (0.9, 0.999), 1e-6, 0.01, "linear", BERT_BASE),
    "ernie-gram": Published(
        512, 256, 1_000_000, 0.15, 1e-4, 10_000, (0.9, 0.999), 1e-6, 0.01, "linear", BERT_BASE, corruptor=("unit_token", {}),
    ),
    "lem": Published(512, 32, 100_000, 0.15, 5e-5, 1000, (0.9, 0.999), 1e-8, 0.01, "linear", XLMR_BASE),
    "entitycs": Published(128, 256, 200_000, 0.5, 5e-5, 0, (0.9, 0.999), 1e-8, 0.0, "linear", XLMR_BASE),
    "bioptimus": Published(
        512, 256, 200_000, None, 1e-4, 10_000, (0.9, 0.999), 1e-6, 0.01, "linear", BERT_BASE, corruptor=("scheduled", {}),
    ),
    "bitimebert": Published(
        512, 32, 200_000, 0.3, 3e-5, 200_000 // 100, (0.9, 0.999), 1e-6, 0.01, "constant", BERT_BASE,
        corruptor=("replace_units", {"ratio": 0.5, "classes": ["person"]}),
    ),
    "span-origin": Published(
        512, 2048, 100_000, 0.15, 5e-5, 10_000, (0.9, 0.98), 1e-6, 0.01, "linear",
        {**BASE, "name": "bert", "types": 0, "dropout": 0.1, "norm_eps": 1e-5, "mlp_width": None, "position": "learned"},
    ),
    "electra": Published(
        512, 256, 766_000, 0.15, 2e-4, 10_000, (0.9, 0.999), 1e-6, 0.01, "linear", BERT_BASE,
        corruptor=("bert", {"masked": 0.85, "random": 0.0}),
    ),
    "data2vec2": Published(
        512, 16 * 4, 1_000_000, 0.48, 2e-4, 4_000, (0.9, 0.98), 1e-6, 0.01, "cosine",
        {**BASE, "name": "bert", "types": 0, "norm_eps": 1e-5, "mlp_width": None, "position": "learned"},
        corruptor=("drop", {}),
    ),
    "mirror-bert": Published(
        64, 200, 50, 0.125, 2e-5, 0, (0.9, 0.999), 1e-8, 0.01, "constant", BERT_BASE, corruptor=("mask_token", {}),
    ),
    "self-distillation": Published(512, 64, 20_000, 0.15, 5e-5, 2_000, (0.9, 0.999), 1e-8, 0.01, "linear", BERT_BASE),
    "prop": Published(
        512, 40 * 5 // 2, 26_000_000 // 80, 0.15, 2e-5, 32_500, (0.9, 0.999), 1e-6, 0.01, "linear", BERT_BASE,
    ),
}  # fmt: skip
OPEN = {
    "lem": ("init.path=.",),
    "entitycs": ("init.path=.", "modalities.text.augment.0.dictionary=entities.json"),
    "bioptimus": ("init.path=.",),
    "bitimebert": ("init.path=.",),
    "span-origin": ("init.path=.",),
    "prop": ("init.path=.",),
}
"""What recipes leave open beside data and tokenizer."""


ASKED = {"rts": ["main"], "c-rts": ["main"], "electra": ["judged"], "self-distillation": ["clean"]}
"""Views of which every token is asked for."""


def recipe_of(name: str) -> Recipe:
    return load_recipe(f"text/{name}", ["data.path=.", "modalities.text.tokenizer.path=.", *OPEN.get(name, ())])


def test_every_published_recipe_has_its_row() -> None:
    assert {name.removeprefix("text/") for name in shipped_recipes() if name.startswith("text/")} - OURS == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_masking_and_sizes(name: str) -> None:
    published, recipe = TABLE[name], recipe_of(name)
    text = recipe.modalities["text"]
    assert text.tokenizer.options["max_length"] == published.context
    assert text.tokenizer.options["vocabulary"] == published.vocabulary
    assert text.masker is not None and text.corruptor is not None
    assert text.masker.options.get("ratio") == published.hidden
    corruptor, options = published.corruptor
    assert (text.corruptor.name, {key: text.corruptor.options[key] for key in options}) == (corruptor, options)
    assert [key for key, view in recipe.views.items() if view.ask == "all"] == ASKED.get(name, [])
    encoder = {**recipe.encoder.options, "name": recipe.encoder.name, "position": recipe.encoder.options["position"].name}
    assert {key: encoder[key] for key in published.encoder} == published.encoder


@pytest.mark.parametrize("name", TABLE)
def test_training(name: str) -> None:
    published, train = TABLE[name], recipe_of(name).train
    assert train.steps == published.steps
    assert train.batch_tokens == published.batch * published.context
    options = train.optimizer.options
    assert options["lr"] == published.lr
    assert tuple(options["betas"]) == published.betas
    assert (options["eps"], options["weight_decay"]) == (published.eps, pytest.approx(published.weight_decay))
    assert train.schedule.name == published.schedule
    assert train.schedule.options["warmup"] == published.warmup
    assert train.schedule.options.get("minimum", 0.0) == published.minimum


def test_electra_has_a_generator_of_a_third() -> None:
    recipe = recipe_of("electra")
    generator = recipe.encoders["generator"]
    expected = {"width": 768 // 3, "depth": 12, "heads": 4, "embedding_width": 768, "mlp_width": None}
    assert {key: generator.component.options[key] for key in expected} == expected
    assert generator.embeddings is not None and (generator.embeddings.of, generator.embeddings.gradient) == ("main", "shared")
    replaced = recipe.every_predictor[-1]
    assert (replaced.label, replaced.weight, replaced.component.options["dense"]) == ("replaced", 50.0, True)


def test_data2vec_on_text() -> None:
    recipe = recipe_of("data2vec2")
    assert recipe.views["main"].repeat == 8
    decay = recipe.encoders["teacher"].component.options["decay"]
    assert (decay.start, decay.end, decay.until * recipe.train.steps) == (0.9999, 0.99999, 100_000)
    decoder = recipe.predictors[0].component.options
    expected = {"width": 768, "depth": 5, "kernel": 9, "groups": 1, "residual": False, "head_layers": 2, "head_ratio": 2.0}
    assert {key: decoder[key] for key in expected} == expected
    target = {"last": 12, "mlp": True, "norm": "instance", "final_norm": "none", "loss": "mse", "reduction": "sum"}
    assert {key: decoder["target"].options[key] for key in target} == target
    assert recipe.train.clip == 1.0
