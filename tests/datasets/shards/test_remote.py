"""Shards of a server: a bounded cache, and an outcome for everything that a server can do."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from omnimask.remote import CacheOptions, FileCache
from omnimask_datasets.shards.index import make_index, with_content
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.manifest import ShardEntry, ShardManifest

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def server(serve: Any, folder: Path) -> Any:
    return serve(folder)


@pytest.fixture
def indexed(folder: Path) -> Path:
    """The folder with indexes and a manifest, as `omnimask shard` leaves it."""
    entries: list[ShardEntry] = []
    for path in sorted(folder.glob("*.tar")):
        index = with_content(make_index(path, path.name), path)
        write_index(beside(path), index)
        entries.append(ShardEntry(path.name, index.size, len(index), index.sha256, index.headers))
    (folder / "manifest.json").write_bytes(ShardManifest(entries, {}).to_bytes())
    return folder


QUICK = CacheOptions(timeout=0.4, retries=1)
SIZE = 35_000
"""The shards have 20,480, 10,240 and 20,480 bytes."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask.remote.server._LONGEST_PAUSE", 0.01)


def expected(tars: Any, folder: Path) -> dict[str, Any]:
    return tars.content(tars.open(folder))


@pytest.mark.parametrize("protocol", ["http", "file", "memory"])
@pytest.mark.parametrize("has_manifest", [True, False])
def test_samples_are_those_of_the_folder(
    tars: Any, folder: Path, server: Any, protocol: str, has_manifest: bool, request: pytest.FixtureRequest
) -> None:
    if has_manifest:
        request.getfixturevalue("indexed")
    url = {"http": server.url, "file": folder.as_uri(), "memory": f"memory://shards-{has_manifest}"}[protocol]
    if protocol == "memory":
        for path in folder.iterdir():
            fsspec.filesystem("memory").pipe_file(f"{url}/{path.name}", path.read_bytes())
    dataset = tars.open(url=url)
    assert list(dataset.files.names) == ["s-0.tar", "s-1.tar", "s-2.tar"]
    assert tars.content(dataset) == expected(tars, folder)
    assert dataset.fingerprint() == tars.open(folder).fingerprint()
    assert tars.content(pickle.loads(pickle.dumps(dataset))) == tars.content(dataset)  # noqa: S301


def test_patterns_and_single_files(tars: Any, folder: Path, server: Any) -> None:
    assert list(tars.content(tars.open(url=f"{server.url}/s-1.tar"))) == ["0005"]
    assert len(tars.open(url=f"{server.url}/s-{{0..2}}.tar")) == 12
    with pytest.raises(ValueError, match=r"braces of .* do not match"):
        tars.open(url=f"{server.url}/s-{{0..2.tar")


def test_links_to_other_places_are_not_followed(tars: Any, folder: Path, server: Any) -> None:
    links = "".join(f'<a href="{link}">x</a>' for link in ("s-0.tar", "http://elsewhere.invalid/a.tar", "/c.tar"))
    (folder / "sub").mkdir()
    (folder / "s-0.tar").rename(folder / "sub" / "s-0.tar")
    (folder / "sub" / "index.html").write_text(links)
    assert list(tars.open(url=f"{server.url}/sub").files.names) == ["s-0.tar"]


def test_with_a_manifest_no_shard_is_loaded_before_it_is_read(tars: Any, indexed: Path, server: Any) -> None:
    dataset = tars.open(url=server.url)
    assert server.gets(".tar") == 0
    dataset[0], dataset[1], dataset[5]
    assert server.gets("s-0.tar") == server.gets("s-1.tar") == 1
    assert server.gets("s-2.tar") == 0
    again = tars.open(url=server.url)
    again[0]
    assert server.gets(".index") == 3
    assert server.gets("s-0.tar") == 1


def test_the_cache_stays_within_its_size(tars: Any, indexed: Path, server: Any, tmp_path: Path) -> None:
    dataset = tars.open(url=server.url, cache=CacheOptions(folder=tmp_path / "copies", size=SIZE))
    for index in (0, 6, 0, 5, 11, 1):
        dataset.reader = type(dataset.reader)(dataset.files, check=True)  # nothing stays open
        assert dataset[index]["label"] == index % 10
        copies = list((tmp_path / "copies" / "tars").glob("*.tar"))
        assert sum(path.stat().st_size for path in copies) <= SIZE
    assert server.gets(".tar") == 6
    with pytest.raises(ValueError, match=r"has 20,480 bytes, and the cache 5,000; raise data\.cache\.size"):
        tars.open(url=server.url, cache=CacheOptions(folder=tmp_path / "small", size=5000))[0]


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 30, 1)
    loads: list[str] = []

    def get(name: str) -> None:
        def load(path: Path) -> None:
            loads.append(name)
            path.write_bytes(bytes(10))

        os.close(cache.open(name, 10, load))
        time.sleep(0.01)

    for name in ("a", "b", "c", "a", "d", "a", "b"):
        get(name)
    assert loads == ["a", "b", "c", "d", "b"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["a", "b", "d"]


def test_a_file_that_changed_its_size_is_loaded_again(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100, 1)
    os.close(cache.open("a", 3, lambda path: path.write_bytes(b"abc") and None))
    descriptor = cache.open("a", 4, lambda path: path.write_bytes(b"abcd") and None)
    assert os.pread(descriptor, 10, 0) == b"abcd"
    os.close(descriptor)


def _load_slowly(folder: Path, log: Path) -> None:
    def load(path: Path) -> None:
        with log.open("a") as file:
            file.write("x")
        for _ in range(4):
            with path.open("ab") as part:
                part.write(bytes(25))
            time.sleep(0.15)

    os.close(FileCache(folder, 1000, 0.3).open("a", 100, load))


def test_processes_load_a_file_once_and_wait_while_it_grows(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_load_slowly, args=(tmp_path / "c", tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "x"


def test_a_process_that_hangs_is_not_waited_for_without_end(tmp_path: Path) -> None:
    cache, held, release = FileCache(tmp_path, 1000, 0.2), threading.Event(), threading.Event()

    def hang(path: Path) -> None:
        held.set()
        release.wait(20)
        path.write_bytes(b"abc")

    thread = threading.Thread(target=lambda: os.close(cache.open("a", 3, hang)))
    thread.start()
    held.wait(10)
    with pytest.raises(TimeoutError, match=r"another process is loading a and made no progress for 0\.2 seconds"):
        cache.open("a", 3, hang)
    release.set()
    thread.join()


def _die(folder: Path) -> None:
    def load(path: Path) -> None:
        path.write_bytes(bytes(50))
        os._exit(9)

    FileCache(folder, 100, 1).open("a", 80, load)


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die, args=(tmp_path,))
    process.start()
    process.join(20)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == ["a.part"]
    cache = FileCache(tmp_path, 100, 1)
    os.close(cache.open("b", 90, lambda path: path.write_bytes(bytes(90)) and None))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["b"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("stalls", "no answer from .* for 0.4 seconds|no byte for 0.4"),
        ("stalls_halfway", "no answer from .* for 0.4 seconds, after|no byte for 0.4"),
        ("cuts_off", "10,240 bytes instead of 20,480|Payload"),
        ("fails", "503"),
        ("damages", "it is damaged: sha256 mismatch"),
    ],
)
def test_every_fault_of_a_server_is_retried_then_named(
    tars: Any, indexed: Path, server: Any, fault: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = tars.open(url=server.url, cache=QUICK)
    server.fault = fault
    before = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match=rf"s-0\.tar could not be loaded in 2 attempts.*({reason})"):
        dataset[0]
    assert time.monotonic() - before < 10
    assert "attempt 1 of 2 failed" in caplog.text
    assert server.gets("s-0.tar") == 2
    with pytest.raises(OSError, match="could not be loaded in 2 attempts"):
        dataset[1]
    assert server.gets("s-0.tar") == 2, "the other samples of a shard that failed need not wait as well"
    server.fault = ""
    assert dataset[5]["label"] == 5
    assert not list(Path(dataset.files.cache.folder).glob("*.part"))


@pytest.mark.parametrize("fault", ["stalls", "stalls_halfway", "cuts_off", "fails", "damages"])
def test_a_fault_that_passes_costs_one_attempt(tars: Any, indexed: Path, server: Any, fault: str) -> None:
    dataset = tars.open(url=server.url, cache=QUICK)
    server.fault, server.times = fault, 1
    assert tars.content(dataset) == expected(tars, indexed)
    assert server.gets(".tar") == 4


def test_a_shard_that_is_gone_is_not_asked_for_again_and_again(tars: Any, indexed: Path, server: Any) -> None:
    dataset = tars.open(url=server.url, cache=QUICK)
    (indexed / "s-0.tar").unlink()
    for index in (0, 1, 2):
        with pytest.raises(OSError, match=r"s-0\.tar"):
            dataset[index]
    assert server.gets("s-0.tar") == 1
    assert dataset[5]["label"] == 5


def test_a_server_that_hangs_at_the_start_is_named(tars: Any, folder: Path, server: Any) -> None:
    server.fault, server.faulty = "stalls", "manifest.json"
    with pytest.raises(ValueError, match=r"data\.url: .*manifest\.json could not be loaded in 2 attempts"):
        tars.open(url=server.url, cache=QUICK)


def test_an_index_that_does_not_fit_is_made_from_the_shard(tars: Any, indexed: Path, server: Any) -> None:
    (indexed / "s-0.tar.index").write_bytes((indexed / "s-2.tar.index").read_bytes())
    (indexed / "s-1.tar.index").write_bytes(b"junk")
    assert len(tars.open(url=server.url)) == 12
    assert server.gets(".tar") == 2


def test_a_shard_that_is_not_that_of_the_manifest_is_refused(tars: Any, indexed: Path, server: Any) -> None:
    path = indexed / "s-1.tar"
    path.write_bytes(path.read_bytes().replace(b"0005.txt", b"0006.txt"))
    (indexed / "s-1.tar.index").unlink()
    with pytest.raises(ValueError, match=r"s-1\.tar could not be loaded in .* damaged: sha256 mismatch"):
        tars.open(url=server.url, cache=QUICK)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("pipe:cat /etc/passwd", "is a command; commands are never run"),
        ("/local/folder", r"must be like https://host/folder .* for files here use path"),
        ("simplecache::http://host/a.tar", "must be like"),
        ("nonsense://host/a.tar", "nonsense://host/a.tar cannot be opened"),
    ],
)
def test_urls_that_are_refused(tars: Any, url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tars.open(url=url, cache=QUICK)


def test_either_a_path_or_a_url(tars: Any, folder: Path) -> None:
    for options in ({}, {"path": folder, "url": "http://host/a.tar"}):
        with pytest.raises(ValueError, match=r"either path \(local files\) or url \(of a server\)"):
            tars.open(**options)


def test_a_hostile_manifest_or_name_reaches_nothing_outside_the_cache(
    tars: Any, indexed: Path, server: Any, cache: Path, tmp_path: Path
) -> None:
    good = (indexed / "manifest.json").read_text()
    for name in ("../s-0.tar", "/etc/s-0.tar", "a/../../s-0.tar", "s-0.txt", "..\\\\s-0.tar"):
        (indexed / "manifest.json").write_text(good.replace('"s-0.tar"', f'"{name}"'))
        with pytest.raises(ValueError, match=r"invalid shard name"):
            tars.open(url=server.url, cache=QUICK)
    (indexed / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"manifest\.json cannot be used"):
        tars.open(url=server.url, cache=QUICK)
    before = sorted(tmp_path.rglob("*"))
    (indexed / "manifest.json").unlink()
    tars.write(indexed / "evil.tar", [("../../escaped.txt", b"evil")])
    with pytest.raises(ValueError, match=r"evil\.tar: refused member"):
        tars.open(url=server.url, cache=QUICK)
    assert {path.name for path in set(tmp_path.rglob("*")) - set(before)} == {"evil.tar"}
    assert all(path.is_relative_to(cache / "shards") for path in cache.rglob("*") if path.is_file())


def _read(dataset: Any, indices: Any, queue: Any) -> None:
    queue.put([dataset[index]["label"] for index in indices])


def test_processes_made_by_fork_share_the_cache(tars: Any, indexed: Path, server: Any) -> None:
    dataset = tars.open(url=server.url, cache=QUICK)
    dataset[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_read, args=(dataset, range(12), queue)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=20) for _ in processes]
    for process in processes:
        process.join(20)
    assert found == [[n % 10 for n in range(12)]] * 3
    assert server.gets(".tar") == 3
