"""One file of a server: complete or absent, of one version, within bounds; every fault is retried or named."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from omnimask.remote import CacheOptions, RemoteFiles, Server, check_url, is_url, local_file, open_url

from .conftest import copies

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

QUICK = CacheOptions(timeout=0.4, retries=2)


def put(server: Any, name: str, data: bytes) -> str:
    path = server.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"{server.url}/{name}"


def memory(name: str, files: dict[str, bytes]) -> str:
    for file, data in files.items():
        fsspec.filesystem("memory").pipe_file(f"memory://{name}/{file}", data)
    return f"memory://{name}"


def names(url: str, *endings: str) -> list[str]:
    return [file.name for file in RemoteFiles(url, QUICK).find(lambda name: name.endswith(endings))]


@pytest.mark.parametrize("protocol", ["http", "file", "memory"])
def test_a_file_is_copied_once(server: Any, cache: Path, protocol: str) -> None:
    url = put(server, "a.bin", b"abc" * 1000)
    if protocol != "http":
        url = (server.root / "a.bin").as_uri() if protocol == "file" else memory("once", {"a.bin": b"abc" * 1000}) + "/a.bin"
    path = local_file(url, QUICK)
    assert path.read_bytes() == b"abc" * 1000
    with open_url(url, QUICK) as stream:
        assert stream.read() == b"abc" * 1000
    assert local_file(url, QUICK) == path
    assert copies(cache) == {"a.bin": 3000}
    assert server.gets("a.bin") == (protocol == "http")


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_changed_file_is_loaded_again(server: Any, has_tags: bool) -> None:
    server.has_tags = has_tags
    url = put(server, "a.bin", b"old")
    first = local_file(url, QUICK)
    put(server, "a.bin", b"new" if has_tags else b"newer")
    assert local_file(url, QUICK).read_bytes() == (b"new" if has_tags else b"newer")
    assert first.read_bytes() == b"old"


def test_a_file_that_changes_during_a_run_is_an_error(server: Any) -> None:
    url = put(server, "a.bin", b"old")
    files = RemoteFiles(url, QUICK)
    file = files.one()
    put(server, "a.bin", b"new")
    with pytest.raises(
        ValueError, match=r"a\.bin has changed on the server since the start of the run: 3 bytes, ETag=.* instead of"
    ):
        files.open(file)
    put(server, "a.bin", b"longer")
    with pytest.raises(ValueError, match=r"a\.bin has changed on the server since the start of the run: 6 bytes"):
        files.open(file)
    put(server, "a.bin", b"old")
    assert files.open(file).read() == b"old"


@pytest.mark.parametrize("fault", ["fails", "stalls", "cuts_off"])
@pytest.mark.parametrize("method", ["look", "load"])
def test_a_fault_that_passes_is_retried(server: Any, fault: str, method: str) -> None:
    url = put(server, "a.bin", bytes(100_000))
    files = RemoteFiles(url, QUICK)
    if method == "look":
        server.breaks(fault, times=2)
        file = files.one()
    else:
        file = files.one()
        server.breaks(fault, times=2)
    assert files.open(file).read() == bytes(100_000)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fails", "503"),
        ("stalls", r"(no answer from .*|no byte) for 0\.4 seconds"),
        ("cuts_off", "(Payload|50,000 bytes instead of 100,000)"),
    ],
)
def test_a_fault_that_stays_is_named(server: Any, cache: Path, fault: str, reason: str) -> None:
    url = put(server, "a.bin", bytes(100_000))
    files = RemoteFiles(url, QUICK)
    file = files.one()
    server.breaks(fault)
    begin = time.monotonic()
    message = (
        rf"{url} could not be loaded in 3 attempts; last error: .*{reason}.*raise data\.cache\.timeout or data\.cache\.retries"
    )
    with pytest.raises(OSError, match=message):
        files.open(file)
    assert time.monotonic() - begin < 15
    count = len(server.requests)
    with pytest.raises(OSError, match="could not be loaded in 3 attempts"):
        files.open(file)
    assert len(server.requests) == count, "another sample of the file need not wait as well"
    assert copies(cache) == {}
    assert not list(cache.rglob("*.part"))


def test_a_look_at_a_broken_server_names_it(server: Any) -> None:
    url = put(server, "a.bin", b"abc")
    server.breaks("fails")
    with pytest.raises(OSError, match=rf"{url} could not be loaded in 3 attempts; last error: .*503"):
        local_file(url, QUICK)


def test_a_missing_or_forbidden_file_is_not_asked_for_again(server: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.bin does not exist on the server; check the address"):
        local_file(f"{server.url}/nothing.bin", QUICK)
    url = put(server, "a.bin", b"abc")
    server.breaks("forbids")
    with pytest.raises(PermissionError, match=r"a\.bin was refused by the server \(status 403\); check the address and your cred"):
        local_file(url, QUICK)
    assert len(server.requests) == 4, "a look at a file is two requests"


def test_too_many_requests_are_retried(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = put(server, "a.bin", b"abc")
    found = Server(url, timeout=1, retries=2)
    errors = [type("Busy", (Exception,), {"status": 429})(), type("Gone", (Exception,), {"status": 410})()]

    def info(_: str) -> Any:
        raise errors.pop(0)

    monkeypatch.setattr(found._files, "info", info)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        found.info(url)
    assert errors == []


@pytest.mark.parametrize("has_ranges", [True, False])
def test_ranges_of_a_file(server: Any, has_ranges: bool) -> None:
    server.has_ranges = has_ranges
    url = put(server, "a.bin", bytes(range(100)))
    found = Server(url, timeout=1, retries=0)
    assert found.read(url, 10, 20) == bytes(range(10, 20))
    assert found.read(url, 90, 100) == bytes(range(90, 100))
    assert found.read(url) == bytes(range(100))
    assert server.num_bytes("a.bin") == (120 if has_ranges else 300)


def test_the_copies_stay_within_their_size_and_the_last_used_stay(server: Any, cache: Path) -> None:
    urls = [put(server, f"{name}.bin", bytes(1000)) for name in "abcd"]
    small = CacheOptions(size=3000)
    for number in (0, 1, 2, 0, 3):
        local_file(urls[number], small)
        time.sleep(0.01)
        assert sum(copies(cache).values()) <= 3000
    assert sorted(copies(cache)) == ["a.bin", "c.bin", "d.bin"]
    with pytest.raises(ValueError, match=r"has 3,001 bytes, and the cache 3,000; raise data\.cache\.size"):
        local_file(put(server, "e.bin", bytes(3001)), small)
    assert sorted(copies(cache)) == ["a.bin", "c.bin", "d.bin"]


def test_an_open_copy_stays_readable_when_another_displaces_it(server: Any, cache: Path) -> None:
    first, second = (put(server, f"{name}.bin", name.encode() * 1000) for name in "ab")
    small = CacheOptions(size=1500)
    with open_url(first, small) as stream:
        local_file(second, small)
        assert copies(cache) == {"b.bin": 1000}
        assert stream.read() == b"a" * 1000


def test_packed_files_are_unpacked_into_the_bounded_cache(server: Any, cache: Path) -> None:
    files = RemoteFiles(put(server, "a.txt.gz", gzip.compress(bytes(5000))), CacheOptions(size=6000))
    file = files.one()
    assert files.open(file, unpacked=True).read() == bytes(5000)
    assert copies(cache) == {"a.txt.gz": 5000}
    assert gzip.decompress(files.open(file).read()) == bytes(5000)
    files = RemoteFiles(put(server, "b.txt.gz", gzip.compress(bytes(7000))), CacheOptions(size=6000))
    with pytest.raises(ValueError, match=r"has 7,000 bytes, and the cache 6,000"):
        files.open(files.one(), unpacked=True)
    files = RemoteFiles(put(server, "c.txt.gz", b"junk"), QUICK)
    with pytest.raises(ValueError, match=r"c\.txt\.gz cannot be decompressed: Not a gzipped file"):
        files.open(files.one(), unpacked=True)
    assert not list(cache.rglob("*.part*"))


def _load(url: str, options: CacheOptions, queue: Any) -> None:
    queue.put(len(local_file(url, options).read_bytes()))


def test_processes_share_the_copies(server: Any) -> None:
    url = put(server, "a.bin", bytes(10**6))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_load, args=(url, CacheOptions(), queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=20) for _ in processes] == [10**6] * 4
    for process in processes:
        process.join(20)
    assert server.gets("a.bin") == 1


def test_a_killed_process_leaves_nothing_that_looks_whole(server: Any, cache: Path) -> None:
    url = put(server, "a.bin", bytes(200_000))
    files = RemoteFiles(url, CacheOptions())
    file = files.one()
    server.breaks("stalls", times=1)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=files.open, args=(file,))
    process.start()
    while server.times:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert copies(cache) == {}
    assert files.open(file).read() == bytes(200_000)


FILES = {"a.txt": b"a", "b/c.txt": b"c", "b/d.csv": b"d", ".hidden.txt": b"h", "b/.x/e.txt": b"e"}


@pytest.mark.parametrize("protocol", ["http", "file", "memory"])
def test_files_of_a_folder(server: Any, protocol: str) -> None:
    for name, data in FILES.items():
        put(server, name, data)
    url = {"http": server.url, "file": server.root.as_uri(), "memory": memory("folder", FILES)}[protocol]
    assert names(url, ".txt") == ["a.txt", "b/c.txt"]
    assert names(f"{url}/b/", ".txt", ".csv") == ["c.txt", "d.csv"]
    with pytest.raises(ValueError, match=r"data\.url: .* has no files to read among"):
        names(url, ".json")


def test_patterns() -> None:
    url = memory("patterns", FILES)
    assert names(f"{url}/*.txt", ".txt") == ["a.txt"]
    assert names(f"{url}/**/*.txt", ".txt") == ["a.txt", "b/c.txt"]
    assert names(f"{url}/b/*", ".csv", ".txt") == ["c.txt", "d.csv"]
    with pytest.raises(ValueError, match="has no files to read among 0"):
        names(f"{url}/nothing-*.txt", ".txt")


def test_lists_that_tell_less_than_a_look_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    url = memory("forms", FILES)
    files = RemoteFiles(url, QUICK)
    find = files.server.find

    def without_times(url: str) -> dict[str, Any]:
        return {place: {key: value for key, value in info.items() if key != "created"} for place, info in find(url).items()}

    monkeypatch.setattr(files.server, "find", without_times)
    found = files.find(lambda name: name.endswith(".txt"))
    assert all(file.version.startswith("created=") for file in found)
    assert [files.open(file).read() for file in found] == [b"a", b"c"]


def test_braces(server: Any) -> None:
    pytest.importorskip("braceexpand")
    for number in range(3):
        put(server, f"part-{number}.txt", b"x")
    assert names(f"{server.url}/part-{{0..2}}.txt", ".txt") == [f"part-{number}.txt" for number in range(3)]
    with pytest.raises(FileNotFoundError, match=r"part-3\.txt does not exist"):
        names(f"{server.url}/part-{{0..3}}.txt", ".txt")


def test_names_over_http_are_those_of_the_files(server: Any) -> None:
    put(server, "two words.txt", b"x")
    assert names(server.url, ".txt") == ["two words.txt"]


def test_a_single_file_may_have_any_ending(server: Any) -> None:
    assert names(put(server, "rows", b"x"), ".txt") == ["rows"]


def test_files_are_pickled_without_connections(server: Any) -> None:
    files = RemoteFiles(put(server, "a.bin", b"abc"), QUICK)
    file = files.one()
    copy = pickle.loads(pickle.dumps(files))  # noqa: S301
    assert copy.open(file).read() == b"abc"


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_backend_is_named_with_its_package(protocol: str, package: str, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{protocol}://bucket/a\.jsonl needs the package {package}, .* pip install {package} \("):
        local_file(f"{protocol}://bucket/a.jsonl", QUICK)


def test_http_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ValueError, match=r"http://host/a needs the package aiohttp, .* 'omnimask\[remote\]'"):
        local_file("http://host/a", QUICK)


@pytest.mark.parametrize("url", ["pipe:cat /etc/passwd", "/local/file", "simplecache::http://host/a", "https://"])
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"data\.url: "):
        check_url(url)


def test_what_is_a_url() -> None:
    assert all(map(is_url, ["https://host/a", "s3://bucket", "memory://x", "git+ssh://a/b"]))
    assert not any(map(is_url, ["/a/b", "a.jsonl", "C:/a", "https://", "data:x"]))
