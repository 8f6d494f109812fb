"""Smoke runs: the same recipe, smaller, on embedded data."""

from __future__ import annotations

from omnimask.component import Component


def test_components_shrink_wherever_they_are_nested(load, text) -> None:
    recipe = load(text, ["encoder.extra={a: {name: sincos}}", "predictors.0.layer=12"], smoke=True)
    encoder = recipe.encoder.options
    assert (encoder["width"], encoder["depth"], encoder["bias"], encoder["mode"]) == (64, 2, False, "flat")
    assert encoder["position"].options == {"temperature": 1e4, "levels": [1]}
    assert encoder["extra"]["a"].options["levels"] == [1]
    assert recipe.modalities["image"].tokenizer.options == {"image_size": 32, "patch_size": 8}
    assert recipe.predictors[0].component.options["width"] == 32
    assert recipe.predictors[0].layer == 2
    assert recipe.train.schedule.options == {"warmup": 2}
    assert recipe.modalities["image"].masker.options == {"ratio": 0.75}


def test_training_is_short_and_switches_are_kept(load, text) -> None:
    overrides = ["train.precision=bf16", "seed=3"]
    train = load(
        text.replace("batch_tokens: 802816", "batch_tokens: 802816\n  compile: true\n  workers: 4"), overrides, smoke=True
    ).train
    assert (train.steps, train.batch_tokens, train.workers, train.compile, train.precision) == (8, 2048, 0, False, "bf16")
    assert (train.validate_every, train.checkpoint_every, train.log_every) == (4, 4, 1)


def test_smaller_values_and_the_command_line_win(load, text) -> None:
    small = text.replace("steps: 1000", "steps: 3").replace("width: 768", "width: 16")
    recipe = load(small, ["train.batch_tokens=5000", "encoder.depth=5"], smoke=True)
    assert (recipe.train.steps, recipe.train.batch_tokens) == (3, 5000)
    assert (recipe.encoder.options["width"], recipe.encoder.options["depth"]) == (16, 5)


def test_embedded_data_takes_the_place_of_data_that_is_missing(load, text) -> None:
    for data in ("{name: folder, validation: 0.2}", "{name: folder, path: ???, validation: 0.2}", "{name: ???, validation: 0.2}"):
        recipe = load(
            text.replace("{name: folder, path: images, validation: 0.1}", data), ["modalities.image.field=pixels"], smoke=True
        )
        assert recipe.data.dataset == Component("dataset", "digits")
        assert recipe.data.options.validation == 0.2
        assert recipe.modalities["image"].field == "pixels"
    load(text.replace("data: {name: folder, path: images, validation: 0.1}\n", ""), smoke=True)


def test_fields_of_other_data_are_not_looked_for_in_embedded_data(load, text) -> None:
    own = text.replace("  image:\n", "  image:\n    field: [pixels, box]\n")
    assert load(own).modalities["image"].field == ("pixels", "box")
    assert load(own, smoke=True).modalities["image"].field == "image"
    assert load(own, ["data={name: digits}"], smoke=True).modalities["image"].field == ("pixels", "box")


def test_mistakes_in_data_are_found_all_the_same(refused, text) -> None:
    assert "did you mean 'suffixes'?" in refused(text, ["data.sufixes=[a]"], smoke=True)[0]
    assert "did you mean 'folder'?" in refused(text, ["data.name=foldr"], smoke=True)[0]


def test_modalities_without_common_embedded_data_are_refused(refused, text) -> None:
    text = text.replace("{name: folder, path: images, validation: 0.1}", "{name: folder, path: ???}")
    words = "modalities.words={tokenizer: {name: words}, masker: {name: span}, corruptor: {name: drop}}"
    message = "a smoke run needs one embedded data set with all modalities, but the tokenizers declare image: digits, words: corpus"
    assert message in refused(text, [words], smoke=True)[0]
    assert "silent: none" in refused(text, [words.replace("words", "silent")], smoke=True)[0]


def test_embedded_data_may_depend_on_the_tokenizers_options(load, refused, text) -> None:
    either = text.replace("{name: patches, image_size: 224}", "{name: either}")
    assert "{name: either}" in either
    assert load(either, smoke=True).data.dataset == Component("dataset", "digits")
    either = either.replace("{name: folder, path: images, validation: 0.1}", "{name: folder, path: ???}")
    assert "image: none" in refused(either, ["modalities.image.tokenizer.small=false"], smoke=True)[0]


WORDS = "modalities.words={tokenizer: {name: words}, masker: {name: span}, corruptor: {name: drop}}"


def test_without_common_embedded_data_the_own_are_taken_where_they_are_complete(load, text) -> None:
    assert load(text, [WORDS], smoke=True).data.dataset.name == "folder"


def test_data_of_the_command_line_stay(load, text) -> None:
    recipe = load(text, ["data={name: folder, path: mine}"], smoke=True)
    assert recipe.data.dataset.options["path"].name == "mine"
    assert load(text, ["data={name: corpus}"], smoke=True).data.dataset.name == "corpus"


def test_own_data_that_need_nothing_are_taken(load, text) -> None:
    own = text.replace("{name: folder, path: images, validation: 0.1}", "{name: corpus, validation: 0.1}")
    assert load(own, smoke=True).data.dataset.name == "corpus"


def test_a_recipe_may_name_data_for_smoke_runs(load, refused, text) -> None:
    named = text + "smoke: {data: {name: corpus}}\n"
    assert load(named, [WORDS], smoke=True).data.dataset.name == "corpus"
    assert load(named).data.dataset.name == "folder"
    assert "smoke" not in load(named).to_yaml()
    for wrong in ("smoke: 1", "smoke: {}", "smoke: {dat: {name: corpus}}"):
        assert "smoke: must be {data: {name: ...}}" in refused(text + wrong + "\n")[0]
    assert "did you mean 'corpus'?" in refused(text + "smoke: {data: {name: corpu}}\n")[0]


def test_missing_training_options_stay_errors(refused, text) -> None:
    assert refused(text.replace("  steps: 1000\n", ""), smoke=True) == [
        "recipe.yaml:12: train.steps is required: optimizer steps of the run; for example: omnimask pretrain recipe.yaml "
        "train.steps=VALUE"
    ]
