"""Training on shards that break: what is lost, and what is not. ``tests/faults`` has every kind of fault."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_grammar import Sentences

from omnimask.builder.build import Built, build
from omnimask.data.config import BadSamples
from omnimask.interfaces import Context
from omnimask.recipe import load_recipe
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer
from omnimask_datasets.shards.sources import DatasetSource
from omnimask_datasets.shards.write import Limits, write_shards

pytest.importorskip("webdataset")
pytest.importorskip("fsspec")

STEPS = 26
"""Of about 32 samples: somewhat more than one epoch of 768."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask.remote.server._LONGEST_PAUSE", 0.01)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """768 sentences in shards of 100."""
    source = DatasetSource(Sentences(Context()), "toy.sentences")
    write_shards(source, tmp_path / "shards", Limits(10**9, 100, 0))
    return tmp_path / "shards"


Make = Callable[..., Built]


@pytest.fixture
def make(toys: Any) -> Make:
    """Builds the toy recipe on shards."""

    def made(*changes: str) -> Built:
        fixed = ("data.name=shards", "data.validation=0", "data.window=200", f"train.steps={STEPS}", "train.log_every=1")
        return build(load_recipe(toys.recipe("words_in_place"), [*fixed, *changes], registry=toys.registry))

    return made


def train(built: Built, folder: Path, tolerated: int = 10) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of ``metrics.jsonl`` and the summary of a run; raises what stops it."""
    data = TrainingData(
        lambda cursor, step: built.loader(cursor, step),
        num_samples=len(built.train_indices),
        max_bad=BadSamples(fraction=0, at_least=tolerated),
    )
    run = RunContext(RunDirectory(folder), torch.device("cpu"), built.recipe.seed, show=False)
    trainer = Trainer(built.model, data, built.recipe.train, run)
    trainer.fit()
    return lines(folder), json.loads((folder / "summary.json").read_text())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def damage(shards: Path, keys: Sequence[str]) -> None:
    """Changes a byte of the sample of each key."""
    for key in keys:
        for path in shards.glob("*.tar"):
            data = path.read_bytes()
            place = data.find(f"{key}.words.json".encode())
            if place >= 0:
                path.write_bytes(data[: place + 512] + b"#" + data[place + 513 :])


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_members_are_counted_named_and_left_out(
    make: Make, shards: Path, tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = train(make(f"data.path={shards}"), tmp_path / "whole")
    built = make(f"data.path={shards}", f"train.workers={workers}")
    _ = built.counts  # a sample that cannot be counted has one token, which would change the steps
    damage(shards, ["sentences/7", "sentences/500"])
    with caplog.at_level(logging.WARNING):
        found, summary = train(built, tmp_path / "run")
    assert summary["status"] == "finished"
    assert set(summary["bad_samples"]) == {"sentences/7", "sentences/500"}
    assert [line["bad_samples"] for line in found][-1] == 2
    assert "skipping unreadable sample: sentences/7: ValueError: shard-00000" in caplog.text
    assert "is damaged: checksum" in caplog.text
    assert sum(line["samples"] for line in whole) - sum(line["samples"] for line in found) == sum(summary["bad_samples"].values())


def test_a_shard_that_breaks_is_tolerated_where_that_is_wanted(make: Make, shards: Path, tmp_path: Path) -> None:
    built = make(f"data.path={shards}")
    _ = built.counts
    os.truncate(shards / "shard-000003.tar", 5000)
    built.dataset.reader = type(built.dataset.reader)(built.dataset.files, check=True)  # pyright: ignore
    found, summary = train(built, tmp_path / "run", tolerated=100)
    assert summary["status"] == "finished"
    assert found[-1]["bad_samples"] == len(summary["bad_samples"]) > 90
    assert set(summary["bad_samples"].values()) <= {1, 2}, "once in each epoch"


def test_a_server_that_hangs_once_costs_nothing_but_time(
    make: Make, shards: Path, tmp_path: Path, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = train(make(f"data.path={shards}"), tmp_path / "here")
    server = serve(shards)
    server.breaks("stalls_halfway", ".tar", times=2)
    with caplog.at_level(logging.WARNING):
        there, _ = train(make(f"data.url={server.url}", "data.cache={timeout: 1.0, retries: 2}"), tmp_path / "there")
    assert [line["loss"] for line in there] == [line["loss"] for line in here]
    assert there[-1]["bad_samples"] == 0
    assert there[-1]["retries"] == 2
    assert caplog.text.count("failed: ") == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_losses_are_the_same_from_shards_and_from_a_cache_that_holds_three(
    make: Make, shards: Path, tmp_path: Path, serve: Any, workers: int
) -> None:
    """Windows of 200 samples touch few shards of 100: a small cache serves, and steps are those of the local shards."""
    here, _ = train(make(f"data.path={shards}"), tmp_path / "here")
    server = serve(shards)
    size = 3 * (shards / "shard-000000.tar").stat().st_size
    cache = f"data.cache={{folder: {tmp_path / 'copies'}, size: {size}}}"
    there, _ = train(make(f"data.url={server.url}", cache, f"train.workers={workers}"), tmp_path / "there")
    assert [line["loss"] for line in there] == [line["loss"] for line in here]
    copies = list((tmp_path / "copies" / "tars").glob("*.tar"))
    assert sum(path.stat().st_size for path in copies) <= size
