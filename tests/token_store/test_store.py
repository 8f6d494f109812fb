"""Stores of tokens: runs on them equal runs on the data, interruption, parts, damage, and whatever cannot be stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask import load_recipe
from omnimask.cli import main
from omnimask.data import low_scores
from omnimask.data.sample_parts import SampleParts
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import HoldsTokens
from omnimask.run.tokenize import tokenize
from omnimask.testing import DatasetContract
from omnimask.testing.requirements import same
from omnimask.token_store.cached import StoredParts
from omnimask.token_store.dataset import TokenStore

from .conftest import NUM_TEXTS, built, on_store, recipe_file, steps, write_texts


def test_a_run_on_tokens_is_the_run_on_the_data(recipe: Path, tmp_path: Path) -> None:
    found = tokenize(load_recipe(str(recipe)), tmp_path / "store")
    raw, cached, store = built(recipe, "data.cache_tokens=0"), built(recipe), on_store(recipe, tmp_path / "store")
    assert type(raw.dataset) is SampleParts
    assert isinstance(cached.dataset, StoredParts) and isinstance(store.dataset, TokenStore)
    assert found.is_complete and (found.samples, found.tokens) == (len(raw.dataset), int(raw.dataset.counts.sum()))
    assert cached.dataset.fingerprint() == raw.dataset.fingerprint()
    keys = [[each.dataset.key(index) for index in range(len(each.dataset))] for each in (raw, cached, store)]
    assert keys[0] == keys[1] == keys[2] and len(keys[0]) > NUM_TEXTS
    assert same(steps(raw), steps(cached)) and same(steps(raw), steps(store))
    validations = [list(each.validation_batches()) for each in (raw, cached, store)]
    assert same(validations[0], validations[1]) and same(validations[0], validations[2])


def test_a_split_by_ranges_is_the_split_of_the_data(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes hash the keys of the data's samples, of those with stored tokens, and of a store's rows."""
    tokenize(load_recipe(str(recipe)), tmp_path / "store")
    fraction = "data.validation=0.2"

    def splits() -> list[tuple[list[int], list[int]]]:
        found = (
            built(recipe, "data.cache_tokens=0", fraction),
            built(recipe, fraction),
            on_store(recipe, tmp_path / "store", fraction),
        )
        return [(each.train_indices.tolist(), each.validation_indices.tolist()) for each in found]

    before = splits()
    assert before[0] == before[1] == before[2] and all(before[0])
    monkeypatch.setattr(low_scores, "RANGE", 3)
    assert splits() == before == splits()
    assert list((tmp_path / "cache" / "splits").glob("*/low.npy"))


def test_groups_are_those_of_the_data(recipe: Path, tmp_path: Path) -> None:
    tokenize(load_recipe(str(recipe)), tmp_path / "store")
    group = "data.group.size=3"
    raw, store = built(recipe, "data.cache_tokens=0", group), on_store(recipe, tmp_path / "store", group)
    assert same(steps(raw), steps(store)) and max(np.bincount(steps(raw)[0][0][0].group)) == 3


SEVERAL = """\
omnimask: 1
device: cpu
modalities:
  title: {tokenizer: {name: text.bytes, max_length: 64}, masker: {name: random, ratio: 0.3}, corruptor: {name: mask_token}}
  body: {tokenizer: {name: text.bytes, max_length: 96}, masker: {name: random, ratio: 0.3}, corruptor: {name: mask_token}}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: mlm}
train: {steps: 4, batch_tokens: 512, optimizer: {name: adamw, lr: 1e-3}}
"""


def test_several_modalities_are_stored_as_whole_samples(tmp_path: Path) -> None:
    rows = [{"title": f"Title {n}", "body": f"Body {n}. " * 5} for n in range(NUM_TEXTS)]
    rows[4]["body"], rows[9]["title"], rows[13]["body"] = None, None, "too long " * 90
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "several.yaml").write_text(SEVERAL + f"data: {{name: jsonl, path: {tmp_path / 'rows.jsonl'}}}\n")
    tokenize(load_recipe(str(tmp_path / "several.yaml")), tmp_path / "store")
    raw, store = built(tmp_path / "several.yaml"), on_store(tmp_path / "several.yaml", tmp_path / "store")
    assert same(steps(raw), steps(store)) and "rows.jsonl:14" in str([bad for _, bad in steps(raw)])


def test_labels_come_from_the_store(recipe: Path, tmp_path: Path) -> None:
    labelled = recipe.with_name("labelled.yaml")
    labelled.write_text(recipe.read_text() + "labels: {year: {classes: 4}}\n")
    tokenize(load_recipe(str(labelled)), tmp_path / "store")
    raw, store = built(labelled, "data.cache_tokens=0"), on_store(labelled, tmp_path / "store")
    assert same(steps(raw), steps(store)) and steps(raw)[0][0][0].labels["year"].max() > 0
    assert store.dataset[0]["label"] == "kind 0"
    tokenize(load_recipe(str(recipe)), tmp_path / "unlabelled")
    with pytest.raises(UserError, match="has no labels year; tokenize again with this recipe"):
        on_store(labelled, tmp_path / "unlabelled")


class TestTokenStore(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def dataset(self) -> TokenStore:
        return self.store("a", {7: "no longer a number"})

    def changed(self) -> TokenStore:
        return self.store("b", {3: "another text"})

    def damaged(self) -> tuple[TokenStore, list[int]]:
        store = self.store("c", None)
        return store, [index for index in range(len(store)) if store.key(index) == "texts.jsonl:8"]

    def store(self, name: str, changes: Mapping[int, Any] | None) -> TokenStore:
        folder = self.path / name
        if not folder.exists():
            folder.mkdir()
            write_texts(folder, changes)
            tokenize(load_recipe(str(recipe_file(folder))), folder / "store")
        found = on_store(folder / "tiny.yaml", folder / "store").dataset
        assert isinstance(found, TokenStore) and isinstance(found, HoldsTokens)
        return found


def test_an_interrupted_command_continues_and_parts_add_up(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, out = load_recipe(str(recipe)), tmp_path / "store"
    first = tokenize(loaded, out, (2, 3))
    assert not first.is_complete and (first.files, first.num_files) == (2, 6)
    assert sorted(path.name for path in out.glob("*.arrow")) == ["tokens-000001.arrow", "tokens-000004.arrow"]
    with pytest.raises(UserError, match="is not complete; repeat the `omnimask tokenize` command that began it"):
        on_store(recipe, out)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.arrow")}
    assert not tokenize(loaded, out, (1, 3)).is_complete
    assert tokenize(loaded, out, (3, 3)).is_complete
    assert {path: path.stat().st_mtime_ns for path in times} == times
    tokenize(loaded, tmp_path / "at once")
    assert [path.read_bytes() for path in sorted(out.glob("*.arrow"))] == [
        path.read_bytes() for path in sorted((tmp_path / "at once").glob("*.arrow"))
    ]
    assert on_store(recipe, out).dataset.fingerprint() == on_store(recipe, tmp_path / "at once").dataset.fingerprint()
    assert not list(out.rglob("*.part")) and not list(out.glob("ranges*"))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(
            content[:middle] if how == "cut" else content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        )


@pytest.mark.parametrize("how", ["cut", "a bit", "missing"])
def test_damage_stops_a_run_and_repeating_the_command_mends_it(
    recipe: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "store"
    tokenize(load_recipe(str(recipe)), out)
    before = (out / "tokens-000002.arrow").read_bytes()
    found = on_store(recipe, out)
    damage(out / "tokens-000002.arrow", how)
    with pytest.raises(RunStopped, match=r"tokens-000002\.arrow .*; repeat the `omnimask tokenize` command"):
        steps(found)
    assert tokenize(load_recipe(str(recipe)), out).is_complete
    assert "tokens-000002.arrow" in caplog.text and "it was made anew" in caplog.text
    assert (out / "tokens-000002.arrow").read_bytes() == before
    assert steps(on_store(recipe, out))


def test_damage_of_the_cache_costs_time_and_nothing_else(recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = steps(built(recipe, "data.cache_tokens=0"))
    built(recipe)
    (file,) = tmp_path.rglob("tokens-000000.arrow")
    damage(file, "a bit")
    found = built(recipe)
    assert isinstance(found.dataset, StoredParts)
    assert same(steps(found), expected)
    assert "cached tokens are not used" in caplog.text
    again = built(recipe)
    assert isinstance(again.dataset, StoredParts) and same(steps(again), expected)
    assert again.dataset.stored is not None and not list(again.dataset.stored.damaged())


def test_the_cache_is_keyed_by_contents_and_options_and_limited(recipe: Path, tmp_path: Path) -> None:
    def stores() -> int:
        return len(list((tmp_path / "cache" / "tokens").iterdir()))

    built(recipe)
    built(recipe)
    assert stores() == 1
    built(recipe, "modalities.text.tokenizer.max_length=32")
    assert stores() == 2
    write_texts(tmp_path, {3: "another text"})
    built(recipe)
    assert stores() == 3
    assert type(built(recipe, "data.cache_tokens=100", "modalities.text.tokenizer.max_length=16").dataset) is SampleParts
    assert stores() == 3


def test_a_sample_that_is_repaired_gets_its_parts(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omnimask_datasets.jsonl import Jsonl

    monkeypatch.setattr(Jsonl, "fingerprint", lambda _: "names")
    monkeypatch.setattr(Jsonl, "state", lambda _: "")
    before = built(recipe).dataset
    assert before.key(9) == "texts.jsonl:8" or "texts.jsonl:8" in [before.key(index) for index in range(len(before))]
    write_texts(recipe.parent, {7: "There again. " * 20})
    after = built(recipe).dataset
    keys = [after.key(index) for index in range(len(after))]
    assert "texts.jsonl:8" not in keys and "texts.jsonl:8#0" in keys


def test_without_room_for_the_cache_only_parts_are_listed(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    expected = steps(built(recipe, "data.cache_tokens=0"))
    monkeypatch.setattr("omnimask.token_store.tokenize.write_whole", full)
    found = built(recipe)
    assert type(found.dataset) is SampleParts and same(steps(found), expected)
    assert "tokens are not cached: [Errno 28] No space left on device" in caplog.text
    with pytest.raises(RunStopped, match="cannot be written: No space left on device; repeat the command to continue"):
        tokenize(load_recipe(str(recipe)), recipe.parent / "store")


def test_texts_of_special_tokens_are_bad_samples_as_without_the_store(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omnimask_text.tokenize.tokenizer import TextTokenizer

    def refusing(make: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(self: TextTokenizer, texts: Any, *rest: Any) -> Any:
            if any("Sentence 6." in text for text in texts):
                raise ValueError("none of it is known")
            return make(self, texts, *rest)

        return refuse

    for name in ("_tokens", "_columns"):  # of one text, and of many
        monkeypatch.setattr(TextTokenizer, name, refusing(getattr(TextTokenizer, name)))
    raw, cached = built(recipe, "data.cache_tokens=0"), built(recipe)
    assert isinstance(cached.dataset, StoredParts)
    assert raw.dataset.fingerprint() == cached.dataset.fingerprint()
    expected = steps(raw)
    assert same(steps(cached), expected) and any("texts.jsonl:7" in key for _, bad in expected for key in bad)


def test_what_cannot_be_stored_is_refused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = "{size: 2, transform: {name: text.span_pairs, sets: together, objective: same_paragraph}}"
    transform = ["labels={together: {names: [apart, together]}}", f"data.group={pairs}"]
    for source, changes, messages in (
        ("image/quickstart", [], ["tokenizer 'image.patch' of omnimask 0.1.0 has no tokenize_many"]),
        ("image/quickstart", ["modalities.image.augment=[{name: image.flip}]"], ["augment: tokens of augmented samples differ"]),
        (str(recipe), transform, ["data.group.transform: a transform changes raw values; remove it"]),
    ):
        assert main(["tokenize", source, str(tmp_path / "store"), *changes]) == 2
        shown = " ".join(capsys.readouterr().err.split())
        assert all(message in shown for message in messages), shown
        assert not (tmp_path / "store").exists()


def test_the_command_says_what_it_did_and_refuses_what_is_wrong(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        code = main(["tokenize", *arguments])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    out = str(tmp_path / "store")
    code, text = run(str(recipe), out, "--part", "1/2")
    assert code == 0 and "3 of 6 files are complete; the last of the 2 parts completes it" in text
    code, text = run(str(recipe), out)
    assert code == 0 and f"Train on them with data.name=tokens data.path={out}" in text
    for part in ("0/2", "3/2", "1", "a/b", "1/0", "-1/2"):
        code, text = run(str(recipe), out, f"--part={part}")
        assert code == 2 and "--part: must be I/N with 1 <= I <= N" in text
    code, text = run(str(recipe), out, "modalities.text.tokenizer.max_length=32")
    assert (
        code == 2 and "was begun with other tokens: modalities.text.tokenizer.max_length was 64, and is 32; choose another" in text
    )
    code, text = run(str(recipe), str(tmp_path))
    assert code == 2 and "is not empty; choose another OUT" in text
    code, text = run(str(recipe), str(recipe))
    assert code == 2 and "is a file; choose another OUT" in text
    code, text = run(str(recipe), str(tmp_path / "more"), "data.name=tokens", f"data.path={out}")
    assert code == 2 and "holds tokens already" in text


def test_a_store_of_other_tokens_and_a_folder_without_one_are_refused(recipe: Path, tmp_path: Path) -> None:
    tokenize(load_recipe(str(recipe)), tmp_path / "store")
    with pytest.raises(
        UserError, match=r"holds other tokens: modalities\.text\.tokenizer\.max_length was 64, and the recipe has 32"
    ):
        on_store(recipe, tmp_path / "store", "modalities.text.tokenizer.max_length=32")
    with pytest.raises(UserError, match=r"has no store\.json, so it is not a token store"):
        on_store(recipe, tmp_path)
    (tmp_path / "store" / "store.json").write_text('{"format": 1')
    with pytest.raises(UserError, match=r"store\.json is damaged"):
        on_store(recipe, tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="has format 99; this version of omnimask reads 1: update omnimask"):
        on_store(recipe, tmp_path / "store")


def test_a_store_has_the_fields_that_the_recipe_reads(recipe: Path, tmp_path: Path) -> None:
    whole_words = "modalities.text.masker={name: units, ratio: 0.15}"
    tokenize(load_recipe(str(recipe)), tmp_path / "lean")
    assert on_store(recipe, tmp_path / "lean").specs["text"].fields.keys() == {"special", "document"}
    with pytest.raises(UserError, match=r"modalities\.text\.fields was \['document', 'special'\], and the recipe has \[.*'word'\]"):
        on_store(recipe, tmp_path / "lean", whole_words)
    tokenize(load_recipe(str(recipe), [whole_words]), tmp_path / "words")
    words, plain = (on_store(recipe, tmp_path / "words", *changes) for changes in ([whole_words], []))
    assert words.specs["text"].fields.keys() == {"special", "document", "word"}
    assert same(steps(words), steps(built(recipe, whole_words)))
    assert same(steps(plain), steps(built(recipe)))
    with pytest.raises(UserError, match=r"words was begun with other tokens: modalities\.text\.fields was .*'word'\], and is"):
        tokenize(load_recipe(str(recipe)), tmp_path / "words")


def test_a_store_is_evaluated_and_trained_on_by_the_commands(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert main(["tokenize", str(recipe), str(tmp_path / "store")]) == 0
        where = ["data.name=tokens", f"data.path={tmp_path / 'store'}"]
        assert main(["pretrain", str(recipe), "--run", str(tmp_path / "run"), *where]) == 0
        assert main(["evaluate", str(tmp_path / "run")]) == 0
        assert main(["reconstruct", str(tmp_path / "run")]) == 0
        assert main(["inspect", str(recipe), *where]) == 0
    record = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert record["data"]["fingerprint"] == on_store(recipe, tmp_path / "store").dataset.fingerprint()
