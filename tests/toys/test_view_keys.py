"""Recipes whose views have several sequences of a sample: the contract of models, the shares of masks, errors before training."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder import micro_batches
from omnimask.builder.build import Built, build
from omnimask.builder.micro_batches import TokenCost
from omnimask.data.planner import Place
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import CONTENT, MaskedBatch, Sample
from omnimask.network.inference import predicted
from omnimask.recipe import load_recipe
from omnimask.registry import Registry
from omnimask.registry.installed import collect
from omnimask.report.reconstruct import masked_only
from omnimask.run.figures import fill_in
from omnimask.testing import RecipeContract
from omnimask.testing.model import step
from omnimask.testing.requirements import distance
from omnimask.training.devices.precision import Precision
from omnimask.training.monitoring.mask_shares import mask_counts, mask_shares

HEAD = """\
omnimask: 1
device: cpu
data: {name: toy.chains, validation: 0.1}
train: {steps: 4, batch_tokens: 512, optimizer: {name: adamw, lr: 1.0e-3}}
encoder: {name: transformer, width: 16, depth: 1, heads: 2, position: {name: rotary}}
"""
CHAIN = "modalities: {chain: {tokenizer: {name: toy.residues}, masker: {name: random, ratio: 0.5}, corruptor: {name: CORRUPTOR}}}\n"
PLAIN = Precision("fp32", torch.device("cpu"))
MLM, DECODER, FOUND = (
    f"predictors: [{{name: {name}, target: {{name: {target}}}{more}}}]\n"
    for name, target, more in (
        ("in_place", "ids", ""),
        ("decoder", "ids", ", width: 16, depth: 1, heads: 2, position: {name: rotary}"),
        ("in_place", "was_replaced", ""),
    )
)
DECODED = """\
predictors:
  - {name: in_place, target: {name: ids}}
  - {name: bottleneck, query: decode, heads: 2, position: {name: rotary}, target: {name: ids}}
"""
READ = "decode: {masker: {name: random, ratio: 0.7}, corruptor: {name: mask_token}, draw: decode"
PAIRS = """\
modalities:
  signal: {tokenizer: {name: toy.window, window: 8}, masker: {name: random, ratio: 0.5}, corruptor: {name: mask_token}}
  words: {tokenizer: {name: toy.words}, masker: {name: random, ratio: 0.3}, corruptor: {name: mask_token}}
predictors:
  - {name: in_place, of: signal, target: {name: patch}, label: signal}
  - {name: in_place, of: words, target: {name: ids}, label: words}
passes: [{name: probe, view: part}]
"""


def chains(views: str, corruptor: str = "mask_token", predictors: str = MLM) -> str:
    return HEAD + CHAIN.replace("CORRUPTOR", corruptor) + predictors + f"views: {{{views}}}\n"


RECIPES = {
    "repeated and dropped": chains("main: {repeat: 3}", "drop", DECODER),
    "repeated and read": chains(f"main: {{repeat: 2}}, {READ}}}", predictors=DECODED),
    "asked everywhere": chains("main: {repeat: 2, ask: all}", "substitute", FOUND),
    "split": chains("main: {split: word}"),
    "split and dropped": chains("main: {split: word, repeat: 2}", "drop", DECODER),
    "part": HEAD.replace("toy.chains", "toy.pairs") + PAIRS + "views: {main: {repeat: 2}, part: {of: words, repeat: 2}}\n",
}


def toys() -> Registry:
    names = ("toy_chains", "toy_signal", "toy_grammar", "toy_pairs")
    return collect([*entry_points(group="omnimask"), *(EntryPoint(name, name, "omnimask") for name in names)])


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., Built]:
    def built(text: str, *changes: str, smoke: bool = False) -> Built:
        path = tmp_path / "views.yaml"
        path.write_text(text, encoding="utf-8")
        return build(load_recipe(path, changes, registry=toys(), smoke=smoke))

    return built


def samples_of(built: Built, count: int = 8) -> list[Sample]:
    return [built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)]


class OfViews(RecipeContract):
    """The contract of models, of a recipe of this page."""

    smoke = False
    key = ""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def recipe(self) -> Path:
        path = self.folder / "contract.yaml"
        path.write_text(RECIPES[self.key], encoding="utf-8")
        return path

    def registry(self) -> Registry:
        return toys()


class TestRepeatedAndDropped(OfViews):
    key = "repeated and dropped"


class TestRepeatedAndRead(OfViews):
    key = "repeated and read"


class TestAskedEverywhere(OfViews):
    key = "asked everywhere"

    def test_hidden_content_is_not_read(self) -> None:
        """Not so: visible tokens are asked for too, and see themselves."""


class TestSplit(OfViews):
    key = "split"


class TestSplitAndDropped(OfViews):
    key = "split and dropped"


class TestPart(OfViews):
    key = "part"


@pytest.mark.parametrize("name", RECIPES)
def test_any_division_of_a_step_gives_the_same_gradient(built: Callable[..., Built], name: str) -> None:
    found = built(RECIPES[name])
    samples = samples_of(found)
    steps = [
        step(found.model, [found.pipeline.pack(samples[i : i + size]) for i in range(0, len(samples), size)]) for size in (8, 4, 1)
    ]
    for loss, gradient in steps[1:]:
        assert distance(steps[0][0], loss) < 1e-6
        assert distance(steps[0][1], gradient) < 1e-6


@pytest.mark.parametrize("name", RECIPES)
def test_smoke_runs(built: Callable[..., Built], name: str) -> None:
    found = built(RECIPES[name].replace("repeat: 3", "repeat: 16"), smoke=True)
    assert {plan.repeat for plan in found.pipeline.views.values()} <= {1, 2}
    assert np.isfinite(found.model(found.pipeline.pack(samples_of(found))).loss.item())
    assert built(RECIPES["repeated and dropped"], "views.main.repeat=5", smoke=True).pipeline.views["main"].repeat == 5


# ---- what depends on repetitions


def test_a_decoded_view_repeats_as_its_reader(built: Callable[..., Built]) -> None:
    found = built(RECIPES["repeated and read"])
    assert {name: plan.repeat for name, plan in found.pipeline.views.items()} == {"main": 2, "decode": 2}
    (_, wired) = found.model.passes["main"].wired(found.pipeline.pack(samples_of(found)))
    assert wired.view.query is not None
    assert wired.view.query.layout.parent.tolist() == list(range(16))


def test_each_repetition_is_decoded_from_its_own_context(built: Callable[..., Built]) -> None:
    """Predictions of a repetition are those of a batch in which it is the only one."""
    found = built(RECIPES["repeated and read"])
    (sample,) = samples_of(found, 1)
    both = found.pipeline.pack([sample])
    once = found.pipeline.without_repetitions.pack([sample])
    rows = len(once.views["decode"].context.targets)
    with predicted(found.model, both, PLAIN) as run:
        together = run.results["main"].predictions["bottleneck"].features[:rows]
    with predicted(found.model, once, PLAIN) as run:
        alone = run.results["main"].predictions["bottleneck"].features
    assert distance(together, alone) < 1e-6


def test_memory_of_a_token_is_measured_where_a_view_with_gradients_repeats(
    built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batches, "AUTO_MICRO_BATCH", {"cpu": 100})
    assert built(chains("main: {repeat: 4}")).token_cost.slots == pytest.approx(4, abs=0.1)
    assert built(chains("main: {repeat: 4}")).micro_batch_tokens("cpu") == 25
    assert built(chains("main: {repeat: 4}")).inference_tokens("cpu") == 25
    without = built(chains("other: {corruptor: {name: keep}, repeat: 4}"))
    monkeypatch.setattr(type(without.pipeline), "samples", lambda *_: pytest.fail("a sample was read"))
    assert without.token_cost == TokenCost(1.0, ("main",))


def test_mask_shares_are_those_of_a_sequence(built: Callable[..., Built]) -> None:
    found = built(chains("main: {repeat: 4}"))
    shares = mask_shares(mask_counts([found.pipeline.pack(samples_of(found, 40))]))
    assert shares["mask_ratio"] == pytest.approx(0.5, abs=0.03)


def test_a_reconstruction_is_of_the_first_masking(built: Callable[..., Built]) -> None:
    found = built(RECIPES["repeated and dropped"])
    samples = samples_of(found, 3)
    once: MaskedBatch = found.validation.without_repetitions.pack(samples)
    shown = np.zeros(once.num_tokens, bool)
    context = once.views["main"].context
    shown[np.asarray(context.source)[np.asarray(context.literal) == CONTENT]] = True
    assert 0 < shown.sum() < 0.7 * len(shown)
    filled = fill_in(found, samples, PLAIN)["chain"]
    masked = masked_only(samples, once, found.tokenizers, found.specs)["chain"]
    for one, other in zip(filled, masked, strict=True):
        assert one.visible == other.visible != one.original
        assert [blank.at for blank in one.blanks] == [blank.at for blank in other.blanks]


# ---- errors

REPEATED, SPLIT, READING = chains("main: {repeat: 2}"), chains("main: {split: word}"), RECIPES["repeated and read"]


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        (REPEATED, "views.main.repeat=0", "views.main.repeat: "),
        (REPEATED, "views.main.masker={name: none}", "the view main is set under modalities; change the masker"),
        (REPEATED, "views.main.of=chain", "the main view has all modalities"),
        (REPEATED, "views.main={}", "must set some of ask, draw, repeat, split: {repeat: 4}"),
        (REPEATED, "views.main.repeats=3", "unknown key (did you mean 'repeat'?); keys of views: ask, draw, repeat, split"),
        (chains("main: {ask: all}"), "views.main.ask=some", "views.main.ask: "),
        (chains("main: {ask: all}"), "modalities.chain.corruptor={name: drop}", "views.main.ask: the corruptor drop removes"),
        (SPLIT, "views.main.split=wrd", "have no integer field 'wrd'; such fields: site, site.class, special, word"),
        (SPLIT, "views.main.split=score", "have no integer field 'score'"),
        (chains("part: {of: chain}"), "views.part.of=[chains]", "unknown modality 'chains' (did you mean 'chain'?)"),
        (chains("part: {of: chain}"), "views.part.of=[]", "views.part.of: empty list; modalities: chain"),
        (chains("part: {of: chain}"), "views.part.of=[chain, chain]", "duplicate modality"),
        (READING, "views.decode.repeat=3", "is 3, but predictors decode this view"),
        (READING, "predictors.1.query=main", "unknown view 'main'"),
        (RECIPES["part"], "views.part.split=word", "views.part.split: the tokens of words have no integer field 'word'"),
    ],
)  # fmt: skip
def test_bad_keys_are_refused(built: Callable[..., Built], text: str, change: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        built(text, change)
    assert message in "\n".join(error.value.messages)


def test_what_shows_only_with_a_sample_is_refused_with_it(built: Callable[..., Built]) -> None:
    written = "predictors: [{name: autoregressive, width: 16, depth: 1, heads: 2, target: {name: ids}}]\n"
    found = built(chains("main: {split: word}", "sentinel_spans, num_sentinels: 60", written))
    with pytest.raises(RunStopped, match=r"sample '.*' with \d+ tokens cannot be masked: split: word needs a token for every slot"):
        found.pipeline.pack(samples_of(found, 2))
    several = built(chains(f"main: {{repeat: 1}}, {READ}, repeat: 2}}", predictors=DECODED))
    with pytest.raises(ValueError, match="bottleneck decodes all sequences of one vector together"):
        several.model(several.pipeline.pack(samples_of(several, 2)))


# ---- the old option of corruptors


OLD = chains("", "OLD", FOUND).replace("views: {}\n", "")


@pytest.mark.parametrize(
    ("corruptor", "views", "asked"),
    [
        ("substitute, ask: all", "", {"main": "all"}),
        ("substitute, ask: targets", "", {}),
        ("swap, ask: all", "shown: {corruptor: {name: keep}}, same: {draw: own}", {"main": "all", "shown": None, "same": "all"}),
        ("swap", "shown: {corruptor: {name: swap, ask: all}}", {"shown": "all"}),
        ("swap, ask: targets", "main: {repeat: 2}", {"main": None}),
        ("swap, ask: targets", "main: {repeat: 2, ask: all}", {"main": None}),
        ("swap, ask: targets", "main: {ask: all}", {}),
        ("by_kind, corruptors: [{name: swap, ask: all}, {name: substitute, ask: all}]", "", {"main": "all"}),
        ("by_kind, corruptors: [{name: swap, ask: targets}, {name: bert}]", "", {}),
        ("replace_units, field: word, rest: {name: swap, ask: all}", "", {"main": "all"}),
    ],
)
def test_the_old_option_of_corruptors_means_the_same(tmp_path: Path, corruptor: str, views: str, asked: dict[str, Any]) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD.replace("OLD", corruptor) + (f"views: {{{views}}}\n" if views else ""), encoding="utf-8")
    recipe = load_recipe(path, registry=toys())
    assert {name: view.ask for name, view in recipe.views.items()} == asked
    assert "ask: targets" not in recipe.to_yaml()


def test_an_old_option_that_no_key_of_a_view_expresses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    corruptor = "by_kind, corruptors: [{name: swap, ask: all}, {name: bert}]"
    path.write_text(OLD.replace("OLD", corruptor), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_recipe(path, registry=toys())
    assert "corruptor.corruptors.0.ask: is now a key of views" in error.value.messages[0]
    assert "views: {main: {ask: all}}" in error.value.messages[0]
