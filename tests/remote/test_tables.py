"""Tables and texts of a server are those of the local files, and every fault has its outcome."""

from __future__ import annotations

import gzip
import json
import pickle
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from omnimask.cache import data_key
from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.archive import ZipArchive
from omnimask_datasets.csv_files import Csv
from omnimask_datasets.documents import DocumentFiles
from omnimask_datasets.jsonl import Jsonl

from .conftest import copies

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from omnimask_datasets.parquet import Parquet  # noqa: E402

QUICK = CacheOptions(timeout=0.4, retries=1)
ROWS = [{"text": f"row {number}", "id": number} for number in range(50)]


class Texts(DocumentFiles):
    extensions: ClassVar[tuple[str, ...]] = (".txt",)
    field: ClassVar[str] = "text"


class Zip(ZipArchive):
    extensions: ClassVar[tuple[str, ...]] = (".txt",)
    field: ClassVar[str] = "text"


def lines(rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: Any, **options: Any) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=10, **options)
    return stream.getvalue().to_pybytes()


def zipped(files: Mapping[str, str], folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return (folder / "made.zip").read_bytes()


def csv_of(rows: Any) -> bytes:
    return b"text,id\n" + b"".join(f"{row['text']},{row['id']}\n".encode() for row in rows)


KINDS: dict[str, tuple[Callable[..., Any], Callable[[Path], dict[str, bytes]]]] = {
    "jsonl": (Jsonl, lambda _: {"a.jsonl": lines(ROWS[:30]), "b/c.jsonl": lines(ROWS[30:]), "other.txt": b"x"}),
    "jsonl.gz": (Jsonl, lambda _: {"a.jsonl.gz": gzip.compress(lines(ROWS[:30])), "b.jsonl": lines(ROWS[30:])}),
    "csv": (Csv, lambda _: {"a.csv": csv_of(ROWS[:30]), "b.csv.gz": gzip.compress(csv_of(ROWS[30:]))}),
    "parquet": (Parquet, lambda _: {"a.parquet": parquet(ROWS[:30]), "b/c.parquet": parquet(ROWS[30:])}),
    "documents": (Texts, lambda _: {"a.txt": b"one\n\ntwo", "b/c.txt": b"three"}),
    "lines": (
        lambda *args, **more: Texts(*args, documents="line", **more),
        lambda _: {"a.txt": b"one\n\ntwo", "b/c.txt": b"three"},
    ),
    "zip": (Zip, lambda folder: {"a.zip": zipped({"x/1.txt": "one", "y/2.txt": "two"}, folder)}),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def put(server: Any, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (server.root / name).parent.mkdir(parents=True, exist_ok=True)
        (server.root / name).write_bytes(data)
    return server.root


def opened(kind: str, place: Path | str, options: CacheOptions = QUICK) -> Any:
    make = KINDS[kind][0]
    if kind == "zip":
        place = place / "a.zip" if isinstance(place, Path) else f"{place}/a.zip"
    return make(Context(), path=place) if isinstance(place, Path) else make(Context(), url=place, cache=options)


def content(dataset: Any) -> dict[str, Any]:
    return {dataset.key(index): dataset[index] for index in range(len(dataset))}


def test_samples_are_those_of_the_local_files(kind: str, server: Any, tmp_path: Path) -> None:
    folder = put(server, KINDS[kind][1](tmp_path))
    here, there = opened(kind, folder), opened(kind, server.url)
    assert content(there) == content(here)
    assert len(here) > 1
    assert content(pickle.loads(pickle.dumps(there))) == content(here)  # noqa: S301
    if kind not in ("parquet", "documents"):
        assert there.fingerprint() == here.fingerprint(), "a copy of the data goes on with a run"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "documents"])
def test_memory(kind: str, tmp_path: Path) -> None:
    for name, data in KINDS[kind][1](tmp_path).items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(data)
        fsspec.filesystem("memory").pipe_file(f"memory://tables-{kind}/{name}", data)
    assert content(opened(kind, f"memory://tables-{kind}")) == content(opened(kind, tmp_path / "here"))


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_changed_file_changes_state_and_fingerprint(kind: str, server: Any, tmp_path: Path, has_tags: bool) -> None:
    server.has_tags = has_tags
    files = KINDS[kind][1](tmp_path)
    put(server, files)
    before = opened(kind, server.url)
    samples = content(before)
    assert data_key(opened(kind, server.url)) == data_key(before)
    name = next(iter(files))
    if kind == "zip":
        put(server, {name: zipped({"x/1.txt": "one", "y/2.txt": "changed"}, tmp_path)})
    else:
        first = KINDS[kind][1](tmp_path)[name]
        changed = parquet([{"text": "row 0", "id": 99}, *ROWS[1:31]]) if kind == "parquet" else _changed(name, first)
        put(server, {name: changed})
    after = opened(kind, server.url)
    assert after.state() != before.state()
    assert after.fingerprint() != before.fingerprint()
    assert content(after) != samples


def _changed(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(_changed("", gzip.decompress(data)))
    return data.replace(b"row 0", b"now 100").replace(b"one", b"seven")


def test_the_index_of_rows_is_kept_by_version(server: Any) -> None:
    put(server, {"a.jsonl": lines(ROWS)})
    Jsonl(Context(), url=f"{server.url}/a.jsonl", cache=QUICK)
    small = CacheOptions(size=10**6)
    assert server.gets("a.jsonl") == 1
    again = Jsonl(Context(), url=f"{server.url}/a.jsonl", cache=small)
    assert server.gets("a.jsonl") == 1
    put(server, {"a.jsonl": lines(ROWS[:-1])})
    assert len(Jsonl(Context(), url=f"{server.url}/a.jsonl", cache=small)) == len(again) - 1 == 49


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_copied_in_parallel_at_the_start(server: Any, packed: bool) -> None:
    data = gzip.compress(lines(ROWS[:5])) if packed else lines(ROWS[:5])
    put(server, {f"{number}.jsonl{'.gz' if packed else ''}": data for number in range(8)})
    server.gate = threading.Barrier(4)  # no response before four requests wait
    assert len(Jsonl(Context(), url=server.url, cache=CacheOptions(retries=0, timeout=20))) == 40
    assert server.gets("jsonl.gz" if packed else "jsonl") == 8


def test_of_parquet_only_the_last_bytes_are_loaded_at_the_start(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask_datasets.parquet._TAIL", 100)
    rows = [{"text": f"{number} " * 300, "id": number} for number in range(300)]
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    put(server, {"a.parquet": parquet(rows, **plain), "b.parquet": parquet(rows, **plain)})
    size = (server.root / "a.parquet").stat().st_size
    dataset = Parquet(Context(), url=server.url, cache=QUICK)
    dataset.fingerprint()
    assert server.num_bytes(".parquet") < 0.2 * size
    assert dataset[0]["text"] == rows[0]["text"]
    assert server.num_bytes("b.parquet") < 0.1 * size < size <= server.num_bytes("a.parquet")


def test_a_server_without_ranges_serves_parquet_all_the_same(server: Any) -> None:
    server.has_ranges = False
    put(server, {"a.parquet": parquet(ROWS)})
    assert Parquet(Context(), url=server.url, cache=QUICK)[3] == ROWS[3]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"junk" * 100, parquet(ROWS)[:-4] + b"JUNK"])
def test_what_is_no_parquet_is_named(server: Any, data: bytes) -> None:
    put(server, {"a.parquet": data})
    with pytest.raises(ValueError, match=r"/a\.parquet cannot be read as Parquet"):
        Parquet(Context(), url=server.url, cache=QUICK)


def test_the_cache_stays_within_its_size(server: Any, cache: Path) -> None:
    put(server, {f"{number}.jsonl": lines(ROWS[number : number + 5]) for number in range(0, 50, 5)})
    size = 3 * len(lines(ROWS[:5])) + 100
    dataset = Jsonl(Context(), url=server.url, cache=CacheOptions(size=size))
    for index in (0, 49, 10, 0, 30, 20, 49):
        assert dataset[index] == ROWS[index] or index
        assert sum(copies(cache).values()) <= size
    assert {row["id"] for row in content(dataset).values()} == set(range(50))


@pytest.mark.parametrize(
    ("fault", "reason"), [("fails", "503"), ("stalls", r"0\.4 seconds"), ("cuts_off", ""), ("forbids", "status 403")]
)
def test_a_server_that_fails_at_the_start_is_named(kind: str, server: Any, tmp_path: Path, fault: str, reason: str) -> None:
    files = KINDS[kind][1](tmp_path)
    put(server, files)
    server.breaks(fault, "a.zip" if kind == "zip" else next(iter(files)))
    if kind == "documents" and fault == "cuts_off":
        dataset = opened(kind, server.url)  # nothing is read before it is needed
        with pytest.raises(OSError, match=r"a\.txt could not be loaded in 2 attempts"):
            dataset[0]
        assert dataset[1]["text"] == b"three"
    else:
        with pytest.raises(
            ValueError, match=rf"http.*/{next(iter(files))} (could not be loaded in 2 attempts|was refused).*{reason}"
        ):
            opened(kind, server.url)


@pytest.mark.parametrize("fault", ["fails", "stalls", "cuts_off"])
def test_a_fault_that_passes_costs_nothing_but_time(kind: str, server: Any, tmp_path: Path, fault: str) -> None:
    files = KINDS[kind][1](tmp_path)
    folder = put(server, files)
    server.breaks(fault, next(iter(files)), times=1)
    assert content(opened(kind, server.url)) == content(opened(kind, folder))


def test_rows_of_a_file_that_is_gone_are_bad_samples(server: Any, cache: Path) -> None:
    put(server, {"a.jsonl": lines(ROWS[:5]), "b.jsonl": lines(ROWS[5:10])})
    dataset = Jsonl(Context(), url=server.url, cache=QUICK)
    for path in (cache / "remote").glob("*a.jsonl"):
        path.unlink()
    (server.root / "a.jsonl").unlink()
    with pytest.raises(OSError, match=r"a\.jsonl does not exist on the server"):
        dataset[0]
    assert dataset[5] == ROWS[5]


def test_either_a_path_or_a_url(tmp_path: Path) -> None:
    for make in (Jsonl, Csv, Parquet, Texts, Zip):
        for options in ({}, {"path": tmp_path, "url": "http://host/a"}):
            with pytest.raises(ValueError, match=r"needs either path \(local files\) or url \(of a server\)"):
                make(Context(), **options)
        with pytest.raises(ValueError, match=r"does not exist .*; for files of a server use url instead of path"):
            make(Context(), path=Path("https://host/a.zip"))
