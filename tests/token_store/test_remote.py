"""Stores on a server: runs equal local ones, loads are few and complete, and every fault is retried or named."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from omnimask import load_recipe
from omnimask.builder.build import Built
from omnimask.cli import main
from omnimask.errors import RunStopped, UserError
from omnimask.run.changes import MAY_CHANGE
from omnimask.run.tokenize import tokenize
from omnimask.testing.requirements import same
from omnimask.token_store.dataset import TokenStore

from ..http_server import Server
from .conftest import built, on_store, steps, write_texts

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

FILE = "tokens-000002.arrow"


@pytest.fixture
def server(recipe: Path, serve: Callable[[Path], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server of a store."""
    monkeypatch.setattr("omnimask.remote.server._LONGEST_PAUSE", 0.01)
    tokenize(load_recipe(str(recipe)), tmp_path / "store")
    return serve(tmp_path / "store")


def at(server: Server, cache: str = "timeout: 1.0, retries: 2") -> str:
    return f"data={{name: tokens, url: '{server.url}', cache: {{{cache}}}}}"


def on_server(recipe: Path, server: Server, cache: str = "timeout: 1.0, retries: 2", *changes: str) -> Built:
    return built(recipe, at(server, cache), *changes)


def copies(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache" / "remote").glob("*.arrow"))


def test_batches_are_those_of_the_local_store(recipe: Path, server: Server) -> None:
    here, there = on_store(recipe, server.root), on_server(recipe, server)
    assert here.dataset.fingerprint() == there.dataset.fingerprint()
    assert same(steps(here), steps(there))
    assert same(list(here.validation_batches()), list(there.validation_batches()))


def test_at_the_start_only_manifest_index_and_keys_are_loaded(recipe: Path, server: Server, tmp_path: Path) -> None:
    dataset = on_server(recipe, server).dataset
    whole = sum(path.stat().st_size for path in server.root.glob("*.arrow"))
    assert copies(tmp_path) == [] and {path.rpartition("-")[0] for _, path, _ in server.requests if path.endswith("arrow")}
    assert isinstance(dataset, TokenStore)
    server.requests.clear()
    before = [dataset.key(index) for index in range(len(dataset))]
    assert server.requests == [] and len(set(before)) == len(before)
    dataset.held(0)
    assert [path.name[33:] for path in copies(tmp_path)] == ["tokens-000000.arrow"]
    assert 0 < server.num_bytes(".arrow") == (server.root / "tokens-000000.arrow").stat().st_size < whole


def test_only_the_bytes_of_keys_are_read_for_keys(recipe: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask.token_store.remote._TAIL", 1024)
    write_texts(recipe.parent, {number: f"A long text {number}. " * 500 for number in range(23)})
    shutil.rmtree(server.root)
    tokenize(load_recipe(str(recipe)), server.root)
    dataset = on_server(recipe, server).dataset
    assert [dataset.key(0), dataset.key(len(dataset) - 1)] == [
        "texts.jsonl:1#0",
        on_store(recipe, server.root).dataset.key(len(dataset) - 1),
    ]
    assert server.num_bytes(".arrow") < 0.5 * sum(path.stat().st_size for path in server.root.glob("*.arrow"))


def test_a_server_without_ranges_or_tags_serves_a_store_all_the_same(recipe: Path, server: Server) -> None:
    server.has_ranges = server.has_tags = False
    assert same(steps(on_store(recipe, server.root)), steps(on_server(recipe, server)))


@pytest.mark.parametrize("fault", ["stalls", "stalls_halfway", "cuts_off", "fails", "damages"])
def test_a_fault_that_passes_is_retried(recipe: Path, server: Server, fault: str) -> None:
    expected = steps(on_store(recipe, server.root))
    found = on_server(recipe, server)
    server.breaks(fault, FILE, times=1)
    assert same(steps(found), expected) and server.times == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("stalls", "no answer|no byte"),
        ("cuts_off", "bytes instead of|Payload"),
        ("fails", "503"),
        ("damages", "it is damaged: CRC-32 mismatch.*copy the store to the server again"),
        ("forbids", "was refused by the server"),
    ],
)
def test_a_fault_that_stays_stops_the_run_and_names_the_server(
    recipe: Path, server: Server, tmp_path: Path, fault: str, reason: str
) -> None:
    found = on_server(recipe, server)
    server.breaks(fault, FILE)
    with pytest.raises(RunStopped, match=rf"{server.url}/{FILE} .*({reason})"):
        steps(found)
    assert not [path for path in copies(tmp_path) if path.name.endswith(FILE)] and not list(tmp_path.rglob("*.part"))
    server.breaks("")
    assert same(steps(on_server(recipe, server)), steps(on_store(recipe, server.root)))


@pytest.mark.parametrize("name", ["store.json", "columns.json", "first.npy"])
@pytest.mark.parametrize("fault", ["fails", "forbids"])
def test_a_server_that_fails_at_the_start_is_named(recipe: Path, server: Server, name: str, fault: str) -> None:
    server.breaks(fault, name)
    with pytest.raises(UserError, match=rf"data\.url: {server.url}.*{name} (could not be loaded|was refused)"):
        on_server(recipe, server)


def test_what_is_no_complete_store_is_named(recipe: Path, server: Server) -> None:
    index = server.root / "index"
    good = (index / "first.npy").read_bytes()
    (index / "first.npy").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match=r"the index .* is damaged \(.*wrong checksum of first\); copy the store"):
        on_server(recipe, server)
    for listed in ("[1]", '{"../x": 1}', "{"):
        (index / "columns.json").write_text(listed)
        with pytest.raises(UserError, match=r"the index .* is damaged"):
            on_server(recipe, server)
    shutil.rmtree(index)
    with pytest.raises(UserError, match=r"is not complete: .*columns\.json does not exist on the server"):
        on_server(recipe, server)
    (server.root / "store.json").unlink()
    with pytest.raises(UserError, match=r"has no store\.json; copy all files of the store to the server"):
        on_server(recipe, server)
    with pytest.raises(UserError, match=r"needs either path \(a local folder\) or url"):
        built(recipe, "data={name: tokens, path: x, url: 'http://host/x'}")


@pytest.mark.parametrize("is_same_size", [True, False])
def test_a_store_that_changes_during_a_run_is_noticed(recipe: Path, server: Server, tmp_path: Path, is_same_size: bool) -> None:
    found = on_server(recipe, server)
    write_texts(tmp_path, {9: "Sentence 8. " * 20} if is_same_size else {9: "Another text. " * 90})
    shutil.rmtree(server.root)
    tokenize(load_recipe(str(recipe)), server.root)
    with pytest.raises(RunStopped, match=rf"{FILE} cannot be read because the store has changed on the server since the start"):
        steps(found)
    assert same(steps(on_server(recipe, server)), steps(on_store(recipe, server.root)))


def test_a_copy_that_is_damaged_is_loaded_again(recipe: Path, server: Server, tmp_path: Path) -> None:
    expected = steps(on_server(recipe, server))
    for path in copies(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    server.requests.clear()
    assert same(steps(on_server(recipe, server)), expected)
    assert server.gets(FILE) >= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_of_few_files_is_enough_and_shared(recipe: Path, server: Server, tmp_path: Path, workers: int) -> None:
    expected = steps(on_store(recipe, server.root))
    files = list(server.root.glob("*.arrow"))
    size = max(path.stat().st_size for path in (*files, *(server.root / "index").glob("*.npy"))) * 3
    small, whole = tmp_path / "small", tmp_path / "whole"
    for folder, cache in ((small, f"size: {size}, timeout: 5"), (whole, "timeout: 5")):
        found = on_server(recipe, server, f"folder: {folder}, {cache}", f"train.workers={workers}")
        server.requests.clear()
        assert same(steps(found), expected)
        assert isinstance(found.dataset, TokenStore)
        assert all(file.path.exists() for file in found.dataset.stored._files.values()), "displaced copies are not kept open"
    assert sum(path.stat().st_size for path in small.iterdir() if path.suffix != ".lock") <= size
    assert len(list(whole.glob("*.arrow"))) == len(files) == server.gets(".arrow"), "one process loads a file, and the others wait"


def test_a_process_that_dies_while_it_loads_leaves_no_partial_file(recipe: Path, server: Server, tmp_path: Path) -> None:
    dataset = on_server(recipe, server).dataset
    assert isinstance(dataset, TokenStore)
    row = next(index for index in range(len(dataset)) if dataset.stored.index.sample(index) == 8)
    server.breaks("stalls_halfway", FILE)
    process = multiprocessing.get_context("fork").Process(target=dataset.held, args=(row,))
    process.start()
    folder, until = tmp_path / "cache" / "remote", time.monotonic() + 20
    while not any(path.stat().st_size for path in folder.glob(f"*{FILE}*.part")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(20)
    assert not [path for path in copies(tmp_path) if path.name.endswith(FILE)]
    server.released.set()
    server.breaks("")
    assert same(steps(on_server(recipe, server)), steps(on_store(recipe, server.root)))
    assert not list(folder.glob("*.part"))


def test_a_run_on_a_url_equals_a_run_on_the_folder(
    recipe: Path, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with caplog.at_level(logging.ERROR):
        for run, place in ((here, f"data={{name: tokens, path: {server.root}}}"), (there, at(server))):
            assert main(["pretrain", str(recipe), "--run", str(run), place, "train.checkpoint_every=2"]) == 0
        assert metrics(here) == metrics(there) and len(metrics(here)) > 1
        assert same(weights(here), weights(there)) and weights(here)
        shutil.rmtree(max((there / "checkpoints").glob("step-*")))
        (there / "summary.json").unlink()
        assert main(["resume", str(there), "data.url=null", f"data.path={server.root}"]) == 0
        assert same(weights(here), weights(there)) and json.loads((there / "summary.json").read_text())["status"] == "finished"


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "loss" in key or key in ("step", "grad_norm", "lr")} for line in lines]


def weights(run: Path) -> list[Any]:
    return [load_file(path) for path in sorted(run.rglob("*.safetensors"))]


def test_a_run_may_move_between_a_folder_and_a_server() -> None:
    assert {"data.path", "data.url", "data.cache"} <= set(MAY_CHANGE)
