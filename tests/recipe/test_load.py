"""What a recipe says reaches the components; what is wrong with it is reported all at once, with its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omnimask.component import Component
from omnimask.data.config import BadSamples
from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar, Registry


def test_values_defaults_and_types(load, text) -> None:
    recipe = load(text)
    image = recipe.modalities["image"]
    assert image.tokenizer.options == {"image_size": 224, "patch_size": 16}
    assert image.augment[0].options == {"scale": (0.2, 1.0)}
    assert image.decoder == Component("decoder", "reader")
    assert image.field == "image"
    assert recipe.encoder.options["position"] == Component("position", "sincos", {"temperature": 1e4, "levels": [1, 2]})
    assert recipe.data.dataset.options == {"path": Path("images").absolute(), "suffixes": (".png",), "cache": None}
    assert recipe.data.options.validation == 0.1
    assert recipe.data.options.max_bad == BadSamples()
    assert recipe.train.optimizer.options == {"lr": 2.4e-3, "betas": (0.9, 0.95)}
    assert recipe.train.schedule.name == "cosine"
    predictor = recipe.predictors[0]
    assert (predictor.of, predictor.layer, predictor.weight, predictor.label) == (("image",), None, 1.0, "decoder")
    assert (recipe.seed, recipe.device, recipe.name, str(recipe.path)) == (0, "auto", "recipe", "recipe.yaml")


def test_components_build_and_refusals_name_the_place(load, text) -> None:
    recipe = load(text, ["modalities.image.tokenizer.patch_size=10"])
    place = "recipe.yaml:4: modalities.image.tokenizer: patch_size 10 does not divide image_size 224"
    with pytest.raises(UserError, match=f"^{place}$"):
        recipe.modalities["image"].tokenizer(SimpleNamespace())
    position = recipe.encoder.options["position"](SimpleNamespace(width=3))
    assert (position.temperature, position.context.width) == (1e4, 3)


def test_schedule_is_constant_unless_given(load, text) -> None:
    recipe = load(text.replace("  schedule: {name: cosine, warmup: 500}\n", ""))
    assert recipe.train.schedule == Component("schedule", "constant")


def test_a_modality_reads_one_field_or_several(load, refused, text) -> None:
    assert load(text, ["modalities.image.field=[pixels, box]"]).modalities["image"].field == ("pixels", "box")
    assert load(text, ["modalities.image.field=pixels"]).modalities["image"].field == "pixels"
    assert "empty list; omit it to read the field named like the modality" in refused(text, ["modalities.image.field=[]"])[0]
    assert "duplicate field" in refused(text, ["modalities.image.field=[a, a]"])[0]
    assert "must be" in refused(text, ["modalities.image.field=7"])[0]


def test_nested_components_in_mappings_lists_and_optionals(load, text) -> None:
    overrides = [
        "encoder.extra={a: {name: sincos, levels: [7]}}",
        "encoder.chain=[{name: sincos}]",
        "encoder.second={name: sincos}",
    ]
    options = load(text, overrides).encoder.options
    assert options["extra"]["a"].options["levels"] == [7]
    assert options["chain"][0].cls is options["second"].cls is not None


def test_all_problems_at_once_in_line_order(refused, text) -> None:
    bad = text.replace("ratio: 0.75", "ratio: 2, rato: 1").replace("path: images, ", "").replace("of: image", "of: imge")
    messages = refused(bad.replace("steps: 1000", 'steps: "10"'), ["seed=-1", "train.stepz=1"])
    assert messages == [
        "recipe.yaml:6: modalities.image.masker.ratio: must be less than 1 (got 2)",
        "recipe.yaml:6: modalities.image.masker.rato: masker 'random' has no option 'rato' (did you mean 'ratio'?); options: ratio",
        "recipe.yaml:10: predictors.0.of: unknown modality 'imge' (did you mean 'image'?); modalities: image",
        "recipe.yaml:11: data.path is required: folder that holds the images; for example: omnimask pretrain recipe.yaml "
        "data.path=FOLDER",
        'recipe.yaml:13: train.steps: must be a valid integer (got "10")',
        "command line: seed=-1: seed: must be greater than or equal to 0 (got -1)",
        messages[-1],
    ]
    assert messages[-1].startswith("command line: train.stepz=1: train.stepz: train has no option 'stepz' (did you mean 'steps'?)")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encoder.width=1.0", "valid integer"),
        ("encoder.width=true", "valid integer"),
        ("encoder.bias=1", "valid boolean"),
        ("encoder.bias=yes", "valid boolean"),
        ("encoder.mode=flt", "'flat' or 'deep'"),
        ("train.optimizer.betas=[0.9]", "train.optimizer.betas"),
        ("train.optimizer.betas.1=x", "train.optimizer.betas.1: must be a valid number"),
        ("train.schedule.warmup=soon", "must be a valid integer"),
        ("data.path=3", "data.path"),
        ("data.max_bad={fractoin: 1}", "did you mean 'fraction'?"),
        ("data.validaton=0", "did you mean 'validation'?"),
        ("predictors.0.wieght=0", "did you mean 'weight'?"),
        ("predictors.0.weight=0", "greater than 0"),
        ("predictors.0.of=[]", "empty list; modalities"),
        ("predictors.0.of=[image, image]", "duplicate modality 'image'"),
        ("predictors.0.layer=13", "the encoder has 12 layers; layer 13 does not exist"),
        ("predictors.0.target=patch", 'like {"name": "patch"}'),
        ("predictors.0.target.normalise=true", "predictors.0.target.normalise: target 'patch' has no option 'normalise'"),
        ("encoder.chain=[{name: sincso}]", "encoder.chain.0.name: unknown position 'sincso' (did you mean 'sincos'?)"),
        ("encoder.second={levels: [1]}", "encoder.second.name is required: a position"),
        ("modalities.image.masker=random", 'must be a masker like {name: "random"}'),
        ("modalities.image.maskr={name: random}", "did you mean 'masker'?"),
        ("modalities.image.masker=", "modalities.image.masker is required"),
        ("modalities.image.corruptor=", "modalities.image.corruptor is required"),
        ("modalities.image.augment={name: flip}", "must be a list"),
        ("masker={name: together}", "remove one of the two"),
        ("masker={name: random}", "a masker has this name"),
        ("corruptor={name: drop}", "remove one of the two"),
        ("optimizer={name: adamw}", "unknown key"),
        ("device=gpu", "'auto', 'cpu', 'cuda' or 'mps'"),
        ("data=", "data.name is required: a data set; installed: corpus, digits, folder"),
        ("predictors=", "predictors is required"),
        ("modalities=", "modalities is required"),
        ("train=5", "train: must be a mapping"),
        ("omnimask=7", "supports formats up to 1; upgrade: pip install -U omnimask"),
    ],
)
def test_what_is_refused(refused, text, override: str, words: str) -> None:
    messages = refused(text, [override])
    assert any(words in message for message in messages), messages


def test_integers_are_numbers_and_null_is_an_absent_option(load, text) -> None:
    recipe = load(text, ["modalities.image.augment.0.scale=[0, 1]", "data.cache=", "predictors.0.layer=12"])
    assert recipe.modalities["image"].augment[0].options["scale"] == (0.0, 1.0)
    assert recipe.predictors[0].layer == 12


def test_labels_must_differ(load, refused, text) -> None:
    two = text.replace("data: {", "  - {name: decoder, target: {name: patch}}\ndata: {")
    messages = refused(two)
    assert len(messages) == 1
    assert messages[0].startswith("recipe.yaml:11: predictors.1.label: 'decoder' is also the label of predictors.0")
    recipe = load(two, ["predictors.1.label=second"])
    assert [predictor.label for predictor in recipe.predictors] == ["decoder", "second"]


def test_unset_values_must_be_given(load, refused, text) -> None:
    unset = text.replace("path: images", "path: ???").replace("steps: 1000", "steps: ???").replace("ratio: 0.75", "ratio: ???")
    assert refused(unset) == [
        "recipe.yaml:6: modalities.image.masker.ratio is required: share of masked tokens",
        "recipe.yaml:11: data.path is required: folder that holds the images",
        "recipe.yaml:13: train.steps is required: optimizer steps of the run; for example: omnimask pretrain recipe.yaml "
        "modalities.image.masker.ratio=VALUE data.path=FOLDER train.steps=VALUE",
    ]
    assert load(unset, ["data.path=x", "train.steps=1", "modalities.image.masker.ratio=0.5"]).train.steps == 1


def test_options_of_a_replaced_component_are_named_as_leftovers(load, refused, text) -> None:
    messages = refused(text, ["modalities.image.masker.name=span"])
    assert messages == [
        "recipe.yaml:6: modalities.image.masker.ratio: is an option of 'random', which was replaced by masker 'span'; "
        "replace the whole component: modalities.image.masker='{name: ...}'"
    ]
    assert load(text, ["modalities.image.masker={name: span}"]).modalities["image"].masker.name == "span"
    own = refused(text, ["modalities.image.masker={name: span}", "modalities.image.masker.meen_length=2"])
    assert "did you mean 'mean_length'?" in own[0]


def test_a_joint_masker_and_a_shared_corruptor_serve_all_modalities(load, text) -> None:
    overrides = ["masker={name: together}", "corruptor={name: drop}"]
    shared = text.replace("    masker: {name: random, ratio: 0.75}\n    corruptor: {name: drop}\n", "")
    recipe = load(shared, overrides)
    assert recipe.masker == Component("joint_masker", "together")
    assert recipe.modalities["image"].masker is recipe.modalities["image"].corruptor is None
    assert load(recipe.to_yaml()) == recipe


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "recipe.yaml:1: omnimask is required: the recipe format; write omnimask: 1"),
        ("- a\n", "recipe.yaml:1: omnimask is required"),
        ("omnimask: one\n", "must be the recipe format"),
        ("omnimask: true\n", "must be the recipe format"),
        ("omnimask: 2\n", "the recipe has format 2, but omnimask 0.1.0 supports formats up to 1; upgrade: pip install -U omnimask"),
    ],
)
def test_the_format_comes_first(refused, content: str, words: str) -> None:
    messages = refused(content)
    assert len(messages) == 1
    assert words in messages[0]


def test_a_file_that_is_no_text_is_refused(registry, tmp_path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path / "a.yaml", registry=registry)


def test_extends_merges_one_level_and_each_problem_names_its_own_file(load, refused, write, text) -> None:
    write(text, "base.yaml")
    recipe = load("omnimask: 1\nextends: base.yaml\nmodalities: {image: {masker: {name: span}}}\ntrain: {steps: 7}\n")
    assert recipe.train.steps == 7
    assert recipe.train.batch_tokens == 802816
    assert recipe.modalities["image"].masker.options == {"mean_length": 3.0}
    write(text.replace("ratio: 0.75", "ratio: 7"), "base.yaml")
    messages = refused("omnimask: 1\nextends: base.yaml\ntrain: {stepz: 7}\n")
    assert [message.partition(": ")[0] for message in messages] == ["recipe.yaml:3", "base.yaml:6"]
    write("omnimask: 1\nextends: other.yaml\n", "base.yaml")
    messages = refused("omnimask: 1\nextends: base.yaml\n")
    assert messages[0].startswith("recipe.yaml:2: extends: base.yaml extends another recipe (base.yaml:2: extends)")
    assert "nowhere.yaml does not exist" in refused("omnimask: 1\nextends: nowhere.yaml\n")[0]
    assert "recipe.yaml:2: extends: must be" in refused("omnimask: 1\nextends: [a]\n")[0]


class _UnwritableDefault:
    def __init__(self, context: Any, *, size: Any = object()) -> None: ...  # noqa: B008


class _WrongDefault:
    def __init__(self, context: Any, *, size: int = None) -> None: ...  # noqa: RUF013  # pyright: ignore[reportArgumentType]


def test_labels_and_modalities_have_no_dots(refused, text) -> None:
    """They are names of modules and parts of the names of terms."""
    assert "predictors.0.label: 'a.b' contains a dot" in refused(text, ["predictors.0.label=a.b"])[0]
    messages = refused(text.replace("  image:", "  an.image:", 1), [])
    assert any("'an.image' contains a dot; modality names must not" in message for message in messages)


@pytest.mark.parametrize("label", ["loss", "lr", "validation_loss"])
def test_a_label_is_no_key_of_the_metrics(refused, text, label: str) -> None:
    assert f"'{label}' is a reserved key of metrics.jsonl" in refused(text, [f"predictors.0.label={label}"])[0]


class _UnwritableAnnotation:
    def __init__(self, context: Any, *, size: SimpleNamespace | None = None) -> None: ...


class _TakesDataKey:
    def __init__(self, context: Any, *, validation: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("kind", "cls", "words"),
    [
        ("encoder", _UnwritableDefault, "a default of encoder 'faulty' cannot be written to a recipe"),
        (
            "encoder",
            _WrongDefault,
            "a default of encoder 'faulty' is invalid: encoder.size: must be a valid integer",
        ),
        ("encoder", _UnwritableAnnotation, "the annotation of option 'size' cannot be used in a recipe"),
        ("dataset", _TakesDataKey, "_TakesDataKey declares validation, which is a key of data"),
    ],
)
def test_faults_of_a_component_name_the_component(registrar, write, text, kind: str, cls: type, words: str) -> None:
    faulty = Registrar(Plugin("faulty", "faulty-dist", "1"))
    faulty.add(kind, "faulty", cls)
    key = {"dataset": "data"}.get(kind, kind)
    with pytest.raises(UserError) as info:
        load_recipe(write(text), [f"{key}={{name: faulty}}"], registry=Registry([registrar, faulty]))
    assert words in str(info.value)


@pytest.mark.parametrize(
    ("short", "limit"), [("10", BadSamples(fraction=0, at_least=10)), ("0.01", BadSamples(fraction=0.01, at_least=0))]
)
def test_a_number_of_bad_samples_is_enough(short: str, limit: BadSamples) -> None:
    assert load_recipe("image", [f"data.max_bad={short}"]).data.options.max_bad == limit
