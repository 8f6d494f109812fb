"""Further views, passes before the main one, labels and groups, from recipes to batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask import plugin as builtin
from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.components.positions.rotary import Rotary
from omnimask.components.predictors.in_place import InPlace
from omnimask.data.chunks import read_chunks
from omnimask.data.planner import Cursor
from omnimask.errors import UserError
from omnimask.evaluation.features import clean_pipeline, encode
from omnimask.interfaces import Context, Draw, Encoded, Packed, Prediction, Run, Target, TokenSpec, View
from omnimask.network.passes import Pass
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar, Registry
from omnimask.report.inspection import step_flops
from omnimask.testing.synthetic import Letters, Waves
from omnimask.training.devices.fsdp import blocks_of
from omnimask.training.devices.precision import Precision

RECIPE = """\
omnimask: 1
labels: {begins: {classes: 2}, mean: {}}
modalities:
  letters: {tokenizer: {name: toy.letters}, masker: {name: random, ratio: 0.3}, corruptor: {name: mask_token}}
encoder: {name: transformer, width: 16, depth: 1, heads: 2, position: {name: sincos}}
predictors:
  - {name: in_place, target: {name: ids}}
data: {name: toy.waves, validation: 0.2}
train: {steps: 4, batch_tokens: 128, optimizer: {name: sgd, lr: 0.1}}
"""


class SwapFirst:
    """Rows of a pair exchange their letters, and one row more says so."""

    growth = 1.5

    def __init__(self, context: Context) -> None:
        self.labels = context.labels

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        assert all(draw.group == draws[0].group for draw in draws)
        swapped = [{**row, "letters": other["letters"]} for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)]
        return [*swapped, {**rows[0], "begins": 1}]


class Decoding(InPlace):
    """Looks at the query stream."""

    reads = "query"

    def __init__(self, context: Context, *, target: Component[Target]) -> None:
        super().__init__(context, target=target)
        self.reads_asked = False

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        stream = self.stream(view)
        (table,) = self.select(view).values()
        owner = np.repeat(stream.layout.parent, stream.layout.lengths)
        first = torch.from_numpy(encoded.stream.layout.offsets[:-1][owner])[table.at[:, 0]]
        return {self.term("letters"): Prediction(encoded.at(None)[first], self.heads["letters"], table, stream, stream, "letters")}


def toys() -> Registry:
    """The framework's components, and those above."""
    mine = Registrar(Plugin("toys", "toys", "1"))
    builtin.omnimask_register(mine)
    mine.add_tokenizer("toy.letters", Letters)
    mine.add_dataset("toy.waves", Waves)
    mine.add_transform("toy.swap", SwapFirst)
    mine.add_predictor("toy.decoding", Decoding)
    return Registry([mine])


def built(tmp_path: Path, *changes: str) -> Built:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return build(load_recipe(path, changes, registry=toys()))


def refused(tmp_path: Path, *changes: str) -> str:
    with pytest.raises(UserError) as error:
        built(tmp_path, *changes)
    return "\n".join(error.value.messages)


AGAIN = "views={again: {masker: {name: random, ratio: 0.5}, corruptor: {name: mask_token}, draw: again}}"
DECODES = "predictors=[{name: in_place, target: {name: ids}}, {name: toy.decoding, query: again, target: {name: ids}}]"


def test_a_view_of_its_own_drawing_is_masked_by_itself(tmp_path: Path) -> None:
    found = built(tmp_path, AGAIN)
    batch = found.pipeline(found.planner().step(0, Cursor()).places).batch
    assert batch is not None
    main, again = batch.views["main"].context, batch.views["again"].context
    assert torch.equal(main.source, again.source)
    assert len(again.targets) > len(main.targets)
    hidden = (main.literal >= 0) & (again.literal >= 0)
    expected = 0.3 * 0.5 * len(main.source)
    assert abs(int(hidden.sum()) - expected) < 0.35 * expected  # independent: the product of the shares


def test_views_without_a_drawing_share_one(tmp_path: Path) -> None:
    found = built(tmp_path, "views={shown: {corruptor: {name: keep}}}")
    batch = found.pipeline(found.planner().step(0, Cursor()).places).batch
    assert batch is not None
    main, shown = batch.views["main"].context, batch.views["shown"].context
    assert torch.equal(main.targets.of, shown.targets.of)
    assert bool((shown.literal == -1).all())
    assert int((main.literal >= 0).sum()) == len(main.targets)


def test_the_resolved_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    changes = (AGAIN, DECODES, "passes=[{name: probe, view: again, predictors: [in_place]}]", "data.group={size: 2}")
    found = built(tmp_path, *changes)
    path = tmp_path / "resolved.yaml"
    path.write_text(found.recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path, registry=toys()) == found.recipe


def test_a_predictor_decodes_another_view(tmp_path: Path) -> None:
    found = built(tmp_path, AGAIN, DECODES)
    batch = found.pipeline(found.planner().step(0, Cursor()).places).batch
    assert batch is not None
    counts = found.model.counts(batch)
    assert counts["toy_decoding"] == len(batch.views["again"].context.targets) != counts["in_place"]
    output = found.model(batch)
    assert set(output.terms) == {"in_place", "toy_decoding"}
    assert bool(torch.isfinite(output.loss))


def test_a_pass_before_the_main_one_answers_and_has_no_loss(tmp_path: Path) -> None:
    shown = "views={shown: {corruptor: {name: keep}}}"
    plain, found = built(tmp_path), built(tmp_path, shown, "passes=[{name: probe, view: shown}]")
    batch = found.pipeline(found.planner().step(0, Cursor()).places).batch
    assert batch is not None
    assert found.model.counts(batch) == plain.model.counts(batch)
    results = found.model.predict(batch)
    assert list(results) == ["probe", "main"]
    assert not results["probe"].predictions["in_place"].features.requires_grad
    assert results["main"].predictions["in_place"].features.requires_grad
    output = found.model(batch)
    assert torch.equal(output.loss, plain.model(batch).loss)
    assert [name for name, _ in found.model.named_parameters()] == [name for name, _ in plain.model.named_parameters()]
    assert found.model.num_parameters == plain.model.num_parameters


def test_labels_travel_with_their_samples(tmp_path: Path) -> None:
    found = built(tmp_path)
    places = found.planner().step(0, Cursor()).places
    batch = found.pipeline(places).batch
    assert batch is not None
    assert batch.labels["begins"].dtype == np.int64
    assert batch.labels["mean"].dtype == np.float32
    for row, place in enumerate(places):
        raw = found.dataset[place.index]
        assert batch.labels["begins"][row] == raw.get("begins", -1)
        assert np.isnan(batch.labels["mean"][row]) if "mean" not in raw else batch.labels["mean"][row] == np.float32(raw["mean"])


def test_a_transform_sees_groups_and_makes_rows(tmp_path: Path) -> None:
    found = built(tmp_path, "data.group={size: 2, transform: {name: toy.swap}}")
    plan = found.planner().step(0, Cursor())
    assert plan.ends is not None and len(plan) % 2 == 0
    batch = found.pipeline(plan.places).batch
    assert batch is not None
    assert batch.num_samples == len(plan) * 3 // 2
    assert batch.group.tolist() == np.repeat(np.arange(len(plan) // 2), 3).tolist()
    assert batch.num_tokens <= found.recipe.train.batch_tokens
    first, second = (found.dataset[place.index]["letters"] for place in plan.places[:2])
    content = np.asarray(batch.store["letters"].data)
    assert content[: len(second)].tolist() == second.tolist()
    assert content[len(second) : len(second) + len(first)].tolist() == first.tolist()
    assert batch.labels["begins"][2] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("views={main: {corruptor: {name: keep}}}",), "the view main is set under modalities"),
        (("views={again: {maskers: {}}}",), "unknown key (did you mean 'masker'?); keys of views"),
        (("views={again: {masker: {words: {name: none}}}}",), "unknown modality"),
        (("views={again: {}}",), "must differ from the main view"),
        ((AGAIN, DECODES.replace("query: again", "query: agian")), "unknown view 'agian'"),
        ((DECODES,), "the recipe has no views"),
        ((AGAIN, DECODES.replace("toy.decoding", "in_place, label: two")), "does not decode a query stream"),
        ((AGAIN.replace("mask_token", "drop"), DECODES), "puts the targets of letters into its query stream"),
        (("passes=[{name: probe, view: nowhere}]",), "unknown view 'nowhere'"),
        (("passes=[{name: a, view: main}, {name: a, view: main}]",), "is already the name of a pass"),
        (("passes=[{name: probe, view: main, predictors: [mlm]}]",), "unknown predictor 'mlm'"),
        ((AGAIN.replace("mask_token", "drop"), "passes=[{name: probe, view: again}]"), "has no targets in view again"),
        (("labels={letters: {}}",), "is already the name of a modality"),
        (("labels={begins: {names: [low, high], classes: 3}}",), "is 3, but names has 2 entries"),
        (("data.group={size: 0}",), "data.group.size"),
        (("data.group={size: 2, transform: {name: toy.swop}}",), "toy.swap"),
        (("predictors=[{name: sequence, target: {name: label, field: end}}]",), "which is not declared"),
        (("predictors=[{name: sequence, target: {name: ids}}]",), "applies to tokens"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: tuple[str, ...], message: str) -> None:
    assert message in refused(tmp_path, *changes)


SPANS = "{name: sentinel_spans, num_sentinels: 20}"
SPAN_MASKER = "modalities.letters.masker={name: span, ratio: 0.3, mean_length: 2.0}"


@pytest.mark.parametrize(
    ("own", "other", "predictor"),
    [
        (SPANS, "{name: mask_token}", "{name: autoregressive, width: 16, depth: 1, heads: 2, target: {name: ids}}"),
        ("{name: mask_token}", SPANS, "{name: in_place, target: {name: ids}}"),
    ],
)
def test_answers_of_every_view_have_an_output(tmp_path: Path, own: str, other: str, predictor: str) -> None:
    """Whichever corruptor comes last: its special tokens alone do not say how many answers there are."""
    changes = (f"modalities.letters.corruptor={own}", f"views={{again: {{corruptor: {other}}}}}", f"predictors=[{predictor}]")
    found = built(tmp_path, SPAN_MASKER, *changes)
    spec = found.specs["letters"]
    answers = {name for name in spec.specials if name.startswith("sentinel") or name == "end"}
    assert len(answers) >= 20 and "mask" in spec.specials
    assert all(spec.id(name) < spec.num_answers for name in answers)
    for batch in found.validation_batches():
        tables = [stream.targets for view in batch.views.values() for stream in (view.context, view.query) if stream is not None]
        assert max(int(np.asarray(table.literal).max(initial=-1)) for table in tables) < spec.num_answers
        assert torch.isfinite(found.model(batch).loss)


def test_a_single_corruptor_keeps_its_ids(tmp_path: Path) -> None:
    predictor = "{name: autoregressive, width: 16, depth: 1, heads: 2, target: {name: ids}}"
    spec = built(tmp_path, SPAN_MASKER, f"modalities.letters.corruptor={SPANS}", f"predictors=[{predictor}]").specs["letters"]
    assert spec.specials == tuple(SentinelSpans(Context(), num_sentinels=20).specials)


def test_positions_without_a_use_are_refused(tmp_path: Path) -> None:
    """Before anything is trained, whatever reads them."""
    message = refused(tmp_path, "encoder={name: transformer, width: 16, depth: 1, heads: 2, summary: 1, position: {name: alibi}}")
    assert "an encoder with summary tokens or registers takes positions that add to embeddings and rotate" in message
    decoder = "{name: %s, width: 16, depth: 1, heads: 2, position: {name: alibi}, target: {name: ids}}"
    for name in ("decoder", "cross_decoder"):
        changes = ("modalities.letters.corruptor={name: drop}", f"predictors=[{decoder % name}]")
        assert "a decoder of masked positions takes positions" in refused(tmp_path, *changes)
    message = refused(
        tmp_path, "encoder={name: modernbert, width: 16, depth: 2, heads: 2, window: 2, local_position: {name: sincos}}"
    )
    assert "local_position takes positions that rotate queries and keys, but sincos would add to embeddings" in message
    built(tmp_path, "encoder={name: transformer, width: 16, depth: 1, heads: 2, position: {name: alibi}}")


def test_rotary_positions_need_a_pair_of_channels_for_every_axis() -> None:
    specs = {"m": TokenSpec(vocabulary=4, axes=3)}
    with pytest.raises(ValueError, match="each of 3 axes, but a head has 4"):
        Rotary(Context(specs=specs, modalities=("m",), num_heads=1, head_width=4))


def test_features_are_what_a_pass_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of pass that changes what its encoder reads is evaluated so, too."""
    found = built(tmp_path)
    (chunk,) = read_chunks(clean_pipeline(found, found.dataset), range(3), 10_000, {})
    before = encode(found.model, chunk.batch, "mean", Precision("fp32", torch.device("cpu")))
    plain = Pass.encode

    def doubled(self: Pass, batch: Any, earlier: Any, **asked: Any) -> Encoded:
        result = plain(self, batch, earlier, **asked)
        return dataclasses.replace(result, features=Packed(2 * result.features.data, result.features.layout))

    monkeypatch.setattr(Pass, "encode", doubled)
    after = encode(found.model, chunk.batch, "mean", Precision("fp32", torch.device("cpu")))
    np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


def test_a_pass_without_gradient_has_a_forward_pass_alone(tmp_path: Path) -> None:
    found = built(tmp_path, "views={shown: {corruptor: {name: mask_token}}}", "passes=[{name: probe, view: shown}]")
    batch = next(iter(found.validation_batches()))
    counted = step_flops(found.model, batch)
    found.model.passes = {name: dataclasses.replace(part, grad=True) for name, part in found.model.passes.items()}
    # two passes of one size: three times one and once the other, instead of three times both
    assert counted == pytest.approx(4 / 6 * step_flops(found.model, batch), rel=0.02)


def test_blocks_that_passes_share_are_sharded_one_by_one(tmp_path: Path) -> None:
    encoder = "encoder={name: transformer, width: 16, depth: 3, heads: 2}"
    found = built(tmp_path, encoder, "views={shown: {corruptor: {name: keep}}}", "passes=[{name: probe, view: shown}]")
    assert len(blocks_of(found.model)) == len(blocks_of(built(tmp_path, encoder).model)) == 3
