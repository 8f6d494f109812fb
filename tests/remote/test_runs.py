"""Loader processes read tables of a server like one process reads local files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omnimask.builder.build import build
from omnimask.data.loader import LoadedStep
from omnimask.data.planner import Cursor
from omnimask.recipe import load_recipe
from omnimask.run.changes import MAY_CHANGE

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
pytest.importorskip("tokenizers")


@pytest.fixture
def rows(server: Any) -> Path:
    for name in ("a", "b", "c"):
        lines = (json.dumps({"text": f"{name} row of number {number} with some words"}) + "\n" for number in range(40))
        (server.root / f"{name}.jsonl").write_text("".join(lines))
    return server.root


def steps(*changes: str) -> list[LoadedStep]:
    sizes = ["data.cache_tokens=0", "train.steps=6", "train.batch_tokens=256", "train.micro_batch_tokens=128"]
    return list(build(load_recipe("text/quickstart", [*sizes, *changes])).loader(Cursor(), 0))


def content(found: list[LoadedStep]) -> list[Any]:
    return [(step.bad, [(batch.keys, batch.store["text"].data.tolist()) for batch in step.batches]) for step in found]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_over_http_has_the_batches_of_a_local_one(rows: Path, server: Any, workers: int) -> None:
    local = content(steps(f"data={{name: jsonl, path: {rows}}}", "train.workers=0"))
    cache = "cache: {size: 4500, timeout: 2, retries: 2}"  # two of three files fit: copies come and go
    remote = steps(f"data={{name: jsonl, url: '{server.url}', {cache}}}", f"train.workers={workers}")
    assert content(remote) == local
    assert not any(step.bad for step in remote)
    assert server.gets("a.jsonl") > 1


def test_repeated_requests_of_workers_are_counted(rows: Path, server: Any) -> None:
    built_from = f"data={{name: jsonl, url: '{server.url}', cache: {{size: 4500, timeout: 2, retries: 2}}}}"
    sizes = ["data.cache_tokens=0", "train.steps=6", "train.batch_tokens=256", "train.micro_batch_tokens=128", "train.workers=1"]
    built = build(load_recipe("text/quickstart", [built_from, *sizes]))
    server.breaks("fails", ".jsonl", times=2)
    found = list(built.loader(Cursor(), 0))
    assert sum(step.retries for step in found) == 2
    assert not any(step.bad for step in found)


def test_a_run_may_move_from_local_files_to_a_server() -> None:
    assert {"data.path", "data.url", "data.cache"} <= set(MAY_CHANGE)
