"""Further views, passes before the main one, labels and groups, from recipes to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask import builtin
from omnimask.builder import Built, build
from omnimask.component import Component
from omnimask.data.planner import Cursor
from omnimask.errors import UserError
from omnimask.interfaces import Context, Draw, Encoded, Prediction, Run, Target, View
from omnimask.predictors.in_place import InPlace
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar, Registry
from omnimask.testing.synthetic import Letters, Waves

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
        (("views={main: {corruptor: {name: keep}}}",), "is the view that the modalities describe"),
        (("views={again: {maskers: {}}}",), "views have no such key"),
        (("views={again: {masker: {words: {name: none}}}}",), "have no such modality"),
        (("views={again: {}}",), "should say how it differs"),
        ((AGAIN, DECODES.replace("query: again", "query: agian")), "there is no view 'agian'"),
        ((DECODES,), "the recipe has no views"),
        ((AGAIN, DECODES.replace("toy.decoding", "in_place, label: two")), "decodes no query stream"),
        ((AGAIN.replace("mask_token", "drop"), DECODES), "puts the targets of letters into a query stream of its own"),
        (("passes=[{name: probe, view: nowhere}]",), "there is no view 'nowhere'"),
        (("passes=[{name: main, view: main}]",), "is the name of another pass"),
        (("passes=[{name: probe, view: main, predictors: [mlm]}]",), "there is no predictor 'mlm'"),
        ((AGAIN.replace("mask_token", "drop"), "passes=[{name: probe, view: again}]"), "finds no targets in view again"),
        (("labels={letters: {}}",), "is the name of a modality"),
        (("labels={begins: {names: [low, high], classes: 3}}",), "is 3, and there are 2 names"),
        (("data.group={size: 0}",), "data.group.size"),
        (("data.group={size: 2, transform: {name: toy.swop}}",), "toy.swap"),
        (("predictors=[{name: sequence, target: {name: label, field: end}}]",), "which the recipe does not declare"),
        (("predictors=[{name: sequence, target: {name: ids}}]",), "is about tokens"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: tuple[str, ...], message: str) -> None:
    assert message in refused(tmp_path, *changes)
