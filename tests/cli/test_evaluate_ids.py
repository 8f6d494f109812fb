"""``omnimask evaluate`` where tokens are ids: with and without labels, on the run's own data and on a table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command

RECIPES = Path(__file__).parents[1] / "toys" / "recipes"
SHORT = (
    "train.steps=30",
    "train.validate_every=10",
    "train.validate_share=100%",
    "train.checkpoint_every=10",
    "data.validation=0.2",
)

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def run(omnimask: Command, tmp_path: Path) -> Path:
    """A run of thirty steps on toy sentences, which have no labels."""
    assert omnimask("pretrain", RECIPES / "words_sentinels.yaml", "--run", "run", *SHORT).code == 0
    return tmp_path / "run"


def record(path: Path, name: str = "evaluation") -> dict[str, Any]:
    return json.loads((path / f"{name}.json").read_text(encoding="utf-8"))


def table(path: Path, *, kinds: bool = True) -> Path:
    """Sentences that rise, and sentences that fall, by a column of their own."""
    rows = []
    for number in range(80):
        letters = [(number + (place if number % 2 else -place)) % 8 for place in range(5 + number % 7)]
        rows.append(f"{number:03d},{''.join('abcdefgh'[letter] for letter in letters)}" + (f",{number % 2}" if kinds else ""))
    path.write_text("\n".join(["id,sentence" + (",kind" if kinds else ""), *rows]), encoding="utf-8")
    return path


def test_without_labels(omnimask: Command, run: Path, files_of: Any) -> None:
    result = omnimask("evaluate", run)
    assert result.code == 0, result.err
    assert max(map(len, result.out.splitlines())) <= 80
    for words in ("masked tokens", "model", "unigram", "accuracy", "among first 5", "perplexity", "No probes: the samples have no"):
        assert words in result.out
    found, summary = record(run), files_of(run).summary
    (answers,) = found["answers"]
    assert (answers["term"], answers["seen"], "scores" in found, "pseudo_perplexity" in found) == (
        "autoregressive",
        0,
        False,
        False,
    )
    for name, value in summary["best_validation_scores"]["autoregressive"].items():
        assert answers["model"][name]["mean"] == pytest.approx(value, rel=1e-6)
    for name, value in summary["baseline_scores"]["autoregressive"].items():
        assert answers["unigram"][name]["mean"] == pytest.approx(value, rel=1e-6)
    assert not (run / "figures" / "few_label.png").exists()
    assert omnimask("evaluate", run, "--json", "-o", "other").out == json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def test_pseudo_perplexity(omnimask: Command, run: Path) -> None:
    result = omnimask("evaluate", run, "--pseudo-perplexity", "--max-tokens", "150", "--probe", "none")
    assert result.code == 0, result.err
    assert max(map(len, result.out.splitlines())) <= 80
    (found,) = record(run)["pseudo_perplexity"]
    mean = found["model"]["cross_entropy"]["mean"]
    assert 110 < found["num_targets"] <= 150 and found["num_samples"] < 50
    assert found["model"]["perplexity"]["mean"] == pytest.approx(math.exp(mean))
    assert f"Scored: {found['num_targets']} tokens of {found['num_samples']} held-out samples." in result.out
    assert f"Mean: {mean:.4f} nats per token" in result.out
    again = omnimask("evaluate", run, "--pseudo-perplexity", "--max-tokens", "150", "--probe", "none", "-o", "other")
    assert again.out == result.out


def test_a_labelled_table_with_columns_of_its_own(omnimask: Command, run: Path, tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.csv")
    data = f"data={{name: csv, path: {rows}, labels: kind, key: id, validation: 0.3}}"
    result = omnimask("evaluate", run, "--data", data, "--data", "field=sentence", "--draws", "2")
    assert result.code == 0, result.err
    found = record(run, "evaluation-rows")
    assert (found["num_classes"], found["num_train"] + found["num_test"], found["seen"]) == (2, 80, 0)
    assert found["answers"][0]["num_samples"] <= found["num_test"]
    assert "No probes" not in result.out and "labels per class" in result.out
    assert (run / "figures" / "few_label-rows.png").exists()


def test_a_table_without_labels_and_labels_beside_it(omnimask: Command, run: Path, tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.csv", kinds=False)
    data = ["--data", f"data={{name: csv, path: {rows}, key: id, validation: 0.3}}", "--data", "field=sentence"]
    assert "No probes" in omnimask("evaluate", run, *data).out
    wanted = omnimask("evaluate", run, *data, "--probe", "knn")
    assert (wanted.code, "give them with --labels" in wanted.errors[0]) == (2, True)
    lines = [f"{number:03d},{'up' if number % 2 else 'down'}" for number in range(80)]
    (tmp_path / "labels.csv").write_text("\n".join(["key,label", *lines]), encoding="utf-8")
    result = omnimask("evaluate", run, *data, "--labels", "labels.csv", "--probe", "knn", "--draws", "2", "--pool", "first")
    assert result.code == 0, result.err
    found = record(run, "evaluation-rows-2")
    assert (found["num_classes"], found["pool"]) == (2, "first")


def test_another_data_set_takes_the_place_of_the_runs(omnimask: Command, tmp_path: Path) -> None:
    """The run's data set has an option that the other one lacks (``delimiter``), and one that both have (``labels``)."""
    rows = table(tmp_path / "rows.csv")
    own = f"data={{name: csv, path: {rows}, labels: kind, key: id, delimiter: ',', validation: 0.2}}"
    words = "modalities.words.field=sentence"
    changes = [change for change in SHORT if not change.startswith("data.")]
    assert omnimask("pretrain", RECIPES / "words_sentinels.yaml", own, words, "--run", "run", *changes).code == 0
    lines = rows.read_text(encoding="utf-8").splitlines()[1:]
    other = tmp_path / "other.jsonl"
    records = [dict(zip(("id", "sentence", "kind"), line.split(","), strict=True)) for line in lines[:50]]
    other.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    result = omnimask("evaluate", "run", "--data", "name=jsonl", "--data", f"path={other}", "--draws", "2")
    assert result.code == 0, result.err
    said = " ".join(result.err.split())
    assert "data: jsonl replaces the run's csv; kept: key: id, labels: kind" in said and "delimiter" in said
    found = record(Path("run"), "evaluation-other")
    assert (found["num_classes"], found["num_train"] + found["num_test"]) == (2, 50)
    moved = omnimask("evaluate", "run", "--data", f"path={rows}", "--probe", "none")
    assert moved.code == 0 and record(Path("run"))["data"]["name"] == "csv"
    gone = omnimask("evaluate", "run", "--data", "name=jsonl")
    assert gone.code == 2 and "data.path" in " ".join(gone.errors)
    odd = omnimask("evaluate", "run", "--data", "name=jsnl", "--data", f"path={other}")
    assert odd.code == 2 and "jsonl" in " ".join(odd.errors)


def test_data_that_changed_are_warned_of(omnimask: Command, run: Path) -> None:
    environment = run / "environment.json"
    said = json.loads(environment.read_text(encoding="utf-8"))
    said["data"]["fingerprint"] = "another"
    environment.write_text(json.dumps(said), encoding="utf-8")
    result = omnimask("evaluate", run)
    assert result.code == 0
    assert "warning: data: the data differ from those at the start of the run" in result.err
    assert "or contents differ); held-out samples may have been trained on" in result.err


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("signal_drop", ["--pseudo-perplexity"], "--pseudo-perplexity: no predictor of this run predicts ids"),
        ("signal_drop", ["--probe", "none", "--data", "validation=0"], "--probe none: nothing else to score: no predictor of"),
        ("pairs_drop", ["--data", "field=x"], "--data field=x: this run has several modalities, signal, words"),
    ],
)
def test_wrong_input(omnimask: Command, recipe: str, arguments: list[str], message: str) -> None:
    assert omnimask("pretrain", RECIPES / f"{recipe}.yaml", "--run", "run", *SHORT, "train.schedule={name: constant}").code == 0
    result = omnimask("evaluate", "run", *arguments)
    assert result.code == 2
    assert message in " ".join(result.errors)
    assert not Path("run/evaluation.json").exists()


def test_without_held_out_samples(omnimask: Command, run: Path) -> None:
    result = omnimask("evaluate", run, "--data", "validation=0", "--probe", "none")
    assert (result.code, "no held-out samples" in result.errors[0]) == (2, True)
