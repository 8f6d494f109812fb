"""Labels and groups: what recipes may say of them, and where mistakes are."""

from __future__ import annotations

import pytest

from omnimask.component import Component
from omnimask.recipe.config import GroupConfig, LabelConfig

LABELS = "labels:\n  year: {classes: 14}\n  side: {names: [left, right], field: half}\n  score: {}\n  bare:\n"


def test_labels_are_classes_names_or_numbers(load, text) -> None:
    assert load(text).labels == {}
    assert load(text + LABELS).labels == {
        "year": LabelConfig("year", "year", 14),
        "side": LabelConfig("side", "half", 2, ("left", "right")),
        "score": LabelConfig("score", "score"),
        "bare": LabelConfig("bare", "bare"),
    }


def test_a_group_has_a_size_and_a_transform(load, text) -> None:
    assert load(text).data.group == GroupConfig()
    assert load(text, ["data.group={size: 4}"]).data.group == GroupConfig(4)
    found = load(text, ["data.group={transform: {name: crop, scale: [0.5, 1]}}"]).data.group
    assert found == GroupConfig(1, Component("transform", "crop", {"scale": (0.5, 1.0)}))


def test_the_resolved_text_is_the_same_recipe(load, text) -> None:
    group = ["data.group={size: 8, transform: {name: swap}}"]
    recipe = load(text + LABELS, group)
    assert load(recipe.to_yaml()) == recipe
    assert "labels" not in load(text).to_yaml() and "group" not in load(text).to_yaml()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("labels: [year]", "recipe.yaml:17: labels: must be a mapping by name"),
        ("labels: {year: 3}", "recipe.yaml:17: labels.year: must be a mapping: {classes: ...}, or {} for a number"),
        ("labels: {year: {classes: 0}}", "recipe.yaml:17: labels.year.classes: must be greater than 0 (got 0)"),
        (
            "labels:\n  year: {class: 3}",
            "recipe.yaml:18: labels.year.class: a label has no option 'class' (did you mean 'classes'?); "
            "options: classes, field, names",
        ),
        ("labels: {side: {classes: 3, names: [a, b]}}", "recipe.yaml:17: labels.side.classes: is 3, but names has 2 entries"),
        ("labels: {side: {names: [a, a]}}", "recipe.yaml:17: labels.side.names: duplicate name"),
        (
            "labels: {image: {}}",
            "recipe.yaml:17: labels.image: 'image' is already the name of a modality; rename the label",
        ),
        ("labels: {a-b: {}}", "recipe.yaml:17: labels.a-b: 'a-b' is not a valid label name: use letters, digits and _"),
    ],
)
def test_mistakes_in_labels_have_their_place(refused, text, label: str, message: str) -> None:
    assert refused(f"{text}{label}\n") == [message]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("4", "recipe.yaml:11: data.group: must be a mapping: {size: 2, transform: {name: ...}}"),
        ("{size: 0}", "recipe.yaml:11: data.group.size: must be greater than 0 (got 0)"),
        ("{sizes: 2}", "recipe.yaml:11: data.group.sizes: a group has no option 'sizes' (did you mean 'size'?)"),
        ("{transform: {name: swop}}", "recipe.yaml:11: data.group.transform.name: unknown transform 'swop' (did you mean 's"),
        ("{transform: {name: crop, scales: 2}}", "recipe.yaml:11: data.group.transform.scales: transform 'crop' has no option"),
        ("{transform: {name: flip}}", "recipe.yaml:11: data.group.transform.name: unknown transform 'flip'"),
    ],
)  # fmt: skip
def test_mistakes_in_groups_have_their_place(refused, text, group: str, message: str) -> None:
    (found,) = refused(text.replace("validation: 0.1}", f"validation: 0.1, group: {group}}}"))
    assert found.startswith(message)


def test_all_mistakes_are_told_at_once(refused, text) -> None:
    found = refused(text + "labels: {year: {classes: none}}\n", ["data.group={size: none, transform: {name: nothing}}"])
    assert len(found) == 3
    assert found[0].startswith("recipe.yaml:17: labels.year.classes:")
    assert all(message.startswith("command line: data.group=") for message in found[1:])
