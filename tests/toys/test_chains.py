"""Published variants of masking and corruption, each through a recipe on chains of residues: what is hidden, and a few steps."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_chains

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import CONTENT, Sample, Stream
from omnimask.recipe import load_recipe
from omnimask.registry import Registry
from omnimask.registry.installed import collect
from omnimask.testing import TokenizerContract
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

RECIPE = """\
omnimask: 1
device: cpu
modalities:
  chain:
    tokenizer: {name: toy.residues}
    masker: MASKER
    corruptor: CORRUPTOR
encoder: {name: transformer, width: 32, depth: 1, heads: 2}
predictors: [PREDICTOR]
data: {name: toy.chains, validation: 0.1}
train:
  steps: 4
  batch_tokens: 512
  optimizer: {name: adamw, lr: 1.0e-3}
  log_every: 1
  validate_every: 4
  checkpoint_every: 4
"""
IN_PLACE = "{name: in_place, target: {name: ids}}"
WRITTEN = "{name: autoregressive, width: 16, depth: 1, heads: 2, target: {name: ids}}"
RANDOM = "{name: random, ratio: 0.3}"
SPANS = "{name: span, ratio: 0.3, lengths: geometric, field: word}"

MASKERS = {
    "spans": SPANS,
    "ngrams": "{name: ngram, ratio: 0.15, field: word}",
    "ngrams of residues": "{name: ngram, ratio: 0.15, weights: [4, 3, 2, 1]}",
    "units": "{name: units, ratio: 0.3}",
    "lexicon": "{name: lexicon, ratio: 0.3, sizes: [20, 10, 5], min_count: 3}",
    "one of a site": "{name: annotated, fields: [site], ratio: 1.0, per_span: one}",
    "some classes": "{name: annotated, fields: [site], ratio: 1.0, classes: {site: [0, 2]}, fallback: {name: random, ratio: 0.1}}",
    "sites and the rest": "{name: annotated, fields: [site], ratio: 0.5, rest: {name: random, ratio: 0.1}}",
    "by score": "{name: scored, ratio: 0.2, pick: sampled, weighted: true}",
    "rate over the run": "{name: random, ratio: {schedule: linear, from: 0.1, to: 0.5, until: 0.5}}",
    "strategy over the run": "{name: scheduled, maskers: [{name: random, ratio: 0.15}, {name: units, ratio: 0.15}], until: [0.5]}",
    "mixture": "{name: choose, maskers: [{name: random, ratio: 0.15}, {name: ngram, ratio: 0.5}], weights: [2, 1]}",
}
CORRUPTORS = {
    "substitute": ("{name: substitute}", RANDOM, IN_PLACE),
    "clusters": ("{name: cluster_substitute, clusters: random, num_clusters: 5}", RANDOM, IN_PLACE),
    "swap": ("{name: swap}", RANDOM, IN_PLACE),
    "unit token": ("{name: unit_token}", MASKERS["lexicon"], IN_PLACE),
    "sketch": (
        "{name: sketch}",
        "{name: annotated, fields: [site], inverse: true, ratio: 1.0, fallback: {name: span, ratio: 0.8}}",
        WRITTEN,
    ),
    "replaced words": (
        "{name: replace_units, field: word, rest: {name: bert}}",
        RANDOM,
        IN_PLACE + ", {name: in_place, label: original, units: true, target: {name: was_replaced}}",
    ),
    "scheduled": ("{name: scheduled, corruptors: [{name: bert}, {name: mask_token}], until: [0.5]}", RANDOM, IN_PLACE),
    "by kind": (
        "{name: by_kind, corruptors: [{name: sentinel_spans, num_sentinels: 20}, {name: sketch}]}",
        "{name: choose, maskers: [{name: span, ratio: 0.15}, {name: span, ratio: 0.5, mean_length: 8}]}",
        WRITTEN,
    ),
}


@pytest.fixture(scope="module")
def chains() -> Registry:
    return collect([*entry_points(group="omnimask"), EntryPoint(name="toy_chains", value="toy_chains", group="omnimask")])


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chains: Registry):
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))

    def built(masker: str, corruptor: str = "{name: mask_token}", predictor: str = IN_PLACE) -> Built:
        text = RECIPE.replace("MASKER", masker).replace("CORRUPTOR", corruptor).replace("PREDICTOR", predictor)
        (tmp_path / "chains.yaml").write_text(text, encoding="utf-8")
        recipe = load_recipe(tmp_path / "chains.yaml", registry=chains)
        (tmp_path / "again.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(tmp_path / "again.yaml", registry=chains) == recipe
        return build(recipe)

    return built


def train(built: Built, folder: Path) -> None:
    data = TrainingData(lambda cursor, step: built.loader(cursor, step), built.validation_batches)
    run = RunContext(RunDirectory(folder / "run"), torch.device("cpu"), built.recipe.seed, show=False)
    trainer = Trainer(built.model, data, built.recipe.train, run)
    summary = trainer.fit()
    assert np.isfinite(summary["loss"]) and np.isfinite(summary["validation_loss"]) and not summary["skipped_steps"]


def samples(built: Built, count: int = 60) -> list[tuple[Sample, Stream]]:
    """Training samples, and what the network reads of them, at the beginning of the run."""
    found = []
    for index in range(count):
        sample = built.pipeline.sample(Place(0, index, index, 0.0))
        found.append((sample, built.pipeline.views["main"](sample).context))
    return found


def hidden(sample: Sample, stream: Stream) -> np.ndarray:
    """(L,) tokens that the network reads nowhere."""
    return ~np.isin(np.arange(len(sample)), stream.source[stream.literal == CONTENT])


class TestResidues(TokenizerContract):
    def tokenizer(self):
        return toy_chains.ChainTokenizer(toy_chains.Context())

    def raw_values(self):
        return ["A", "HLHACPPCWKW", toy_chains.chain_of("b")]

    def bad_values(self):
        return {"empty": "", "another letter": "AB", "bytes": b"AC", "number": 3, "nothing": None, "lower case": "ac"}


@pytest.mark.parametrize("name", MASKERS)
def test_maskers_train(name: str, built, tmp_path: Path) -> None:
    run = built(MASKERS[name])
    for sample, stream in samples(run):
        fields = sample.tokens["chain"].fields
        is_hidden = hidden(sample, stream)
        assert not is_hidden[fields["special"]].any()
        assert np.array_equal(is_hidden, np.isin(np.arange(len(sample)), stream.targets.of))
        if name == "one of a site":
            site = fields["site"]
            assert not is_hidden[site < 0].any()
            assert np.bincount(site[is_hidden], minlength=site.max() + 1).tolist() == [1] * (site.max() + 1)
        if name == "some classes" and np.isin(fields["site.class"], [0, 2]).any():
            assert np.array_equal(is_hidden, np.isin(fields["site.class"], [0, 2]))
    train(run, tmp_path)


@pytest.mark.parametrize("name", CORRUPTORS)
def test_corruptors_train(name: str, built, tmp_path: Path) -> None:
    corruptor, masker, predictor = CORRUPTORS[name]
    run = built(masker, corruptor, predictor)
    no_mask = name in ("substitute", "clusters", "swap")
    for sample, stream in samples(run):
        assert not no_mask or not np.isin(stream.literal, [toy_chains.MASK, toy_chains.BEGIN, toy_chains.END]).any()
        assert stream.source.tolist().count(0) == stream.source.tolist().count(len(sample) - 1) == 1
        if name == "sketch":
            kept = np.flatnonzero((sample.tokens["chain"].fields["site"] >= 0) | sample.tokens["chain"].fields["special"])
            if (sample.tokens["chain"].fields["site"] >= 0).any():
                assert stream.source[stream.literal == CONTENT].tolist() == kept.tolist()
    train(run, tmp_path)


def test_replaced_words_are_those_of_other_chains(built) -> None:
    """Words of three residues of which all are visible: half of them show another word of as many residues."""
    run = built(RANDOM, "{name: replace_units, field: word, same_length: true}", CORRUPTORS["replaced words"][2])
    chains = [run.dataset[index]["chain"] for index in range(len(run.dataset))]
    known = {chain[start : start + 3] for chain in chains for start in range(0, len(chain), 3)}
    replaced = []
    for sample, stream in samples(run):
        ids, word = np.asarray(sample.tokens["chain"].content), sample.tokens["chain"].fields["word"]
        shown = np.where(stream.literal == CONTENT, ids, stream.literal)
        is_unit = stream.targets.index < 0
        for at, is_other in zip(stream.targets.at[is_unit, 0].tolist(), stream.targets.literal[is_unit].tolist(), strict=True):
            own, new = ("".join(toy_chains.RESIDUES[one] for one in read[word == word[at]]) for read in (ids, shown))
            assert (own != new) == is_other
            assert new in known
            replaced.append(is_other)
    assert len(replaced) > 100
    assert np.mean(replaced) == pytest.approx(0.5, abs=0.15)


def test_the_lexicon_finds_the_motifs(built, tmp_path: Path) -> None:
    from omnimask.components.units.lexicon import read_lexicon

    built("{name: lexicon, sizes: [8, 8, 1], min_count: 5}")
    (path,) = (tmp_path / "cache" / "lexicons").iterdir()
    found = ["".join(toy_chains.RESIDUES[number] for number in ngram) for ngram in read_lexicon(path).ngrams]
    assert set(toy_chains.MOTIFS) <= set(found)
    assert found[-1] == "CPPC"


def test_rates_follow_the_run(built) -> None:
    """Of 60 chains 10 % at the beginning, 30 % at a quarter, 50 % from the middle on; of the residues, not of what frames them."""
    run = built(MASKERS["rate over the run"])
    for progress, share in ((0.0, 0.1), (0.25, 0.3), (0.5, 0.5), (1.0, 0.5)):
        total = count = 0
        for index in range(60):
            sample = run.pipeline.sample(Place(0, index, index, progress))
            total += len(sample) - 2
            count += len(run.pipeline.views["main"](sample).context.targets)
        assert count / total == pytest.approx(share, abs=0.01)


def test_a_smoke_run_needs_no_files(chains: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    masker = "{name: lexicon, lexicon: phrases.txt, sizes: [100000], min_count: 50}"
    corruptor = "{name: cluster_substitute, embeddings: model.safetensors}"
    text = RECIPE.replace("MASKER", masker).replace("CORRUPTOR", corruptor).replace("PREDICTOR", IN_PLACE)
    (tmp_path / "chains.yaml").write_text(text, encoding="utf-8")
    recipe = load_recipe(tmp_path / "chains.yaml", registry=chains, smoke=True)
    assert samples(build(recipe), 3)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_curriculum_is_visible_in_the_metrics(built, tmp_path: Path) -> None:
    """Four steps: a rate that rises from 10 % to 50 % until the middle; then another strategy from the middle on."""
    train(built(MASKERS["rate over the run"]), tmp_path / "rate")
    shares = [line["mask_ratio"] for line in lines(tmp_path / "rate") if "mask_ratio" in line]
    assert shares == pytest.approx([0.1, 0.3, 0.5, 0.5], abs=0.02)
    train(built(MASKERS["strategy over the run"]), tmp_path / "strategy")
    found = [line for line in lines(tmp_path / "strategy") if "lr" in line]
    assert [line.get("mask_kind.1") for line in found] == [None, None, 1.0, 1.0]
    assert all(line["mask_ratio"] == pytest.approx(0.15, abs=0.03) for line in found)


def test_a_mixture_is_visible_in_the_metrics(built, tmp_path: Path) -> None:
    """Two to one, over some 80 samples in all."""
    train(built(MASKERS["mixture"]), tmp_path)
    found = [line for line in lines(tmp_path) if "lr" in line]
    assert all(line["mask_kind.0"] + line["mask_kind.1"] == pytest.approx(1.0) for line in found)
    assert np.mean([line["mask_kind.0"] for line in found]) == pytest.approx(2 / 3, abs=0.15)
