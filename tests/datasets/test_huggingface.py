"""Data sets of Hugging Face's library: Parquet, Arrow and saved folders here, with random access and streamed."""

from __future__ import annotations

import io
import logging
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask.data.loader import BadSample, LoadedBatch, Loader
from omnimask.data.order import WindowOrder, stream_order
from omnimask.data.planner import Cursor, Planner
from omnimask.errors import UserError
from omnimask.interfaces import Context, Dataset
from omnimask.registry import discover, registry
from omnimask.testing import DatasetContract

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from omnimask_datasets import huggingface  # noqa: E402
from omnimask_datasets.huggingface import HuggingFace  # noqa: E402
from omnimask_datasets.sequential_rows import ForwardRows  # noqa: E402

SIZES = (700, 0, 300, 1000)
"""Rows of the files; a stream reads 256 at a time."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No network, and a cache of the library's own for this test."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


def tables() -> list[Any]:
    starts = np.cumsum([0, *SIZES])
    return [
        pa.table(
            {
                "text": pa.array([f"row {n}" for n in range(start, start + size)], pa.string()),
                "label": pa.array([n % 3 for n in range(start, start + size)], pa.int64()),
                "id": pa.array([f"k{n}" for n in range(start, start + size)], pa.string()),
            }
        )
        for start, size in zip(starts, SIZES, strict=False)
    ]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    folder = tmp_path / "parquet"
    folder.mkdir()
    for number, table in enumerate(tables()):
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=100)
    return folder


@pytest.fixture
def arrow(tmp_path: Path) -> Path:
    folder = tmp_path / "arrow"
    folder.mkdir()
    for number, table in enumerate(tables()):
        with pa.OSFile(str(folder / f"{number}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return folder


def load(path: Path | None = None, **options: Any) -> HuggingFace:
    return HuggingFace(Context(), **({} if path is None else {"path": path}), **options)


def check(dataset: HuggingFace) -> None:
    assert len(dataset) == sum(SIZES)
    for index in (0, 699, 700, 999, 1000, 1999):
        assert dataset[index] == {"text": f"row {index}", "label": index % 3, "id": f"k{index}"}
    assert dataset.key(7) == "train:8"
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("streaming", [False, True])
def test_local_files(kind: str, streaming: bool, request: pytest.FixtureRequest) -> None:
    dataset = load(request.getfixturevalue(kind), streaming=streaming)
    check(dataset)
    check(pickle.loads(pickle.dumps(dataset)))  # noqa: S301
    starts = dataset.group_starts
    assert starts is None if not streaming else starts is not None and starts.tolist() == [0, 700, 1000]


def test_saved_folders(tmp_path: Path, arrow: Path) -> None:
    whole = datasets.concatenate_datasets([datasets.Dataset(table) for table in tables()])
    whole.save_to_disk(tmp_path / "saved", num_shards=3)
    datasets.DatasetDict({"train": whole, "test": whole.select(range(5))}).save_to_disk(tmp_path / "dict")
    check(load(tmp_path / "saved"))
    check(load(tmp_path / "dict"))
    assert len(load(tmp_path / "dict", split="test")) == 5
    with pytest.raises(ValueError, match="has no split 'dev'; it has train, test"):
        load(tmp_path / "dict", split="dev")
    with pytest.raises(ValueError, match="access: remove streaming"):
        load(tmp_path / "saved", streaming=True)


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_keys_and_labels(parquet: Path, streaming: bool) -> None:
    dataset = load(parquet, columns=["text"], key="id", labels="label", streaming=streaming)
    assert dataset.key(1500) == "k1500"
    assert dataset[3] == {"text": "row 3", "id": "k3", "label": 0}
    with pytest.raises(ValueError, match="no column 'txt'"):
        load(parquet, columns=["txt"], streaming=streaming)
    with pytest.raises(ValueError, match="keys must be unique"):
        load(parquet, key="label", streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_images_are_the_bytes_of_their_files(tmp_path: Path, streaming: bool) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    rows = [{"bytes": stream.getvalue(), "path": None}, {"bytes": None, "path": "/etc/hostname"}, None]
    table = pa.table({"image": pa.array(rows, datasets.Image().pa_type), "label": [0, 1, 1]})
    table = table.replace_schema_metadata(
        datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}).arrow_schema.metadata
    )
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    dataset = load(tmp_path / "a.arrow", streaming=streaming)
    assert dataset[0] == {"image": stream.getvalue(), "label": 0}
    with pytest.raises(ValueError, match="it refers to the file /etc/hostname; only files in the library's"):
        dataset[1]
    assert dataset[2]["image"] is None


@pytest.mark.parametrize("streaming", [False, True])
def test_the_fingerprint_follows_the_rows_and_not_the_place(parquet: Path, streaming: bool, tmp_path: Path) -> None:
    before = load(parquet, streaming=streaming).fingerprint()
    parquet.rename(tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere", streaming=streaming).fingerprint() == before
    pq.write_table(tables()[0].slice(0, 699), tmp_path / "elsewhere" / "0.parquet")
    assert load(tmp_path / "elsewhere", streaming=streaming).fingerprint() != before


@pytest.mark.parametrize("kind", ["parquet", "saved", "stream"])
def test_a_row_in_the_middle_is_part_of_the_fingerprint(tmp_path: Path, kind: str) -> None:
    def fingerprint(folder: Path, middle: str) -> str:
        texts = ["row"] * 150 + [middle] + ["row"] * 149
        if kind == "saved":
            datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(folder))
        else:
            folder.mkdir()
            pq.write_table(pa.table({"text": texts}), folder / "0.parquet")
        return load(folder, streaming=kind == "stream").fingerprint()

    first, same, other = (fingerprint(tmp_path / name, name[0]) for name in ("a", "aa", "b"))
    assert first == same
    assert first != other


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which shard was begun, whenever one was."""
    found: list[int] = []
    real = huggingface._Tables.__call__

    def counted(self: Any, shard: int) -> Any:
        found.append(shard)
        return real(self, shard)

    monkeypatch.setattr(huggingface._Tables, "__call__", counted)
    return found


class Reporting:
    """Instead of a batch, the samples' texts."""

    def __init__(self, dataset: HuggingFace) -> None:
        self.dataset = dataset

    def __call__(self, places: Any) -> LoadedBatch:
        return LoadedBatch(None, tuple(BadSample(self.dataset[p.index]["text"], p.epoch, p.position, "") for p in places))


def visited(dataset: HuggingFace, *, start: Cursor | None = None, workers: int = 0, seed: int = 0) -> list[str]:
    """Texts of an epoch and a half, in the order of a run."""
    planner = Planner(stream_order(dataset, np.arange(len(dataset)), seed), 1, batch_tokens=50, micro_batch_tokens=25, steps=60)
    start = start or Cursor()
    first = start.position // 50 + start.epoch * len(dataset) // 50
    loader = Loader(Reporting(dataset), planner, workers=workers, start=start, first_step=first)
    return [bad.key for step in loader for bad in step.bad]


def test_a_stream_has_the_order_of_a_run_exactly(parquet: Path, reads: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """The same for any number of workers and from any place, each sample once per epoch, each shard read once per epoch."""
    stream = load(parquet, streaming=True, buffer=200)
    order = stream_order(stream, np.arange(len(stream)), 0)
    assert isinstance(order, WindowOrder) and order.window == 200
    with caplog.at_level(logging.WARNING):
        whole = visited(stream)
    assert whole == [f"row {n}" for epoch, size in ((0, 2000), (1, 1000)) for n in order.take(epoch, 0, size)]
    assert sorted(reads[:3]) == [0, 1, 2]
    assert len(reads) <= 2 * 3, "a shard is read once per epoch"
    assert "read again" not in caplog.text
    assert visited(load(parquet, streaming=True, buffer=200), workers=2) == whole
    assert visited(load(parquet, streaming=True, buffer=200), start=Cursor(0, 1250)) == whole[1250:]


def test_a_buffer_that_is_too_small_is_named(parquet: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = load(parquet, streaming=True, buffer=10)
    with caplog.at_level(logging.WARNING):
        for number in range(20):
            assert stream[600 + number]["id"] == f"k{600 + number}"
            assert stream[number]["id"] == f"k{number}"
    assert caplog.text.count("was read again from the start") == 1
    assert "no longer in the buffer of 20; use" in caplog.text


def test_rows_that_were_passed_do_not_pile_up(parquet: Path) -> None:
    stream = load(parquet, streaming=True, buffer=100)
    for index in range(0, 2000, 7):
        stream[index]
        assert sum(shard.num_kept for shard in stream.rows._shards.values()) <= 2 * 200 + 256  # type: ignore[union-attr]


def test_forward_rows_are_those_of_any_order() -> None:
    def tables_of(shard: int) -> Any:
        return iter([pa.table({"n": [10 * shard + n]}) for n in range(10)])

    rows = ForwardRows(tables_of, [10, 10, 0, 10], kept=3)
    random = np.random.default_rng(0)
    for index in random.integers(0, 30, 200).tolist():
        assert rows[index] == {"n": index + (10 if index >= 20 else 0)}
    assert rows.num_restarts > 5


def test_a_stream_that_ends_early_is_a_bad_sample() -> None:
    rows = ForwardRows(lambda shard: iter([pa.table({"n": [1, 2]})]), [3], kept=10)
    assert rows[1] == {"n": 2}
    with pytest.raises(ValueError, match="the shard ended after 2 rows, fewer than when it was counted"):
        rows[2]
    assert rows[0] == {"n": 1}


def test_data_of_the_hub(parquet: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """With the library's loader replaced: what it is asked for, and that streams are counted once."""
    real, asked = datasets.load_dataset, []

    def fake(repository: str, config: str | None = None, **options: Any) -> Any:
        asked.append((repository, config, options["revision"]))
        files = [str(parquet / f"{number}.parquet") for number, size in enumerate(SIZES) if size]
        return real("parquet", data_files={"train": files}, split="train", streaming=options.get("streaming", False))

    monkeypatch.setattr(datasets, "load_dataset", fake)
    check(load(repository="user/name", config="en", revision="v1"))
    assert asked == [("user/name", "en", "v1")]
    with caplog.at_level(logging.INFO):
        check(load(repository="user/name", revision="v1", streaming=True))
        check(load(repository="user/name", revision="v1", streaming=True))
    assert caplog.text.count("counting the rows of user/name") == 1
    with pytest.raises(ValueError, match="a stream of the Hub needs a revision"):
        load(repository="user/name", streaming=True)


def test_errors_of_a_server_are_bad_samples(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ServerError(Exception): ...

    def broken(self: Any, shard: int) -> Any:
        raise ServerError("503")

    dataset = load(parquet, streaming=True)
    monkeypatch.setattr(huggingface._Tables, "__call__", broken)
    with pytest.raises(OSError, match="train:1: ServerError: 503"):
        dataset[0]


def test_a_folder_of_the_packages_name_is_not_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the root of a checkout the folder ``datasets`` can be imported, and holds nothing of the library."""
    for name in [name for name in sys.modules if name.split(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    monkeypatch.delitem(sys.modules, "omnimask_datasets.huggingface")
    with pytest.raises(UserError, match=r"needs datasets, which is not installed: pip install 'omnimask\[hf\]'"):
        registry._load(discover().entry("dataset", "huggingface"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, r"either path \(local files\) or repository"),
        ({"path": Path("a"), "repository": "b"}, "either path"),
        ({"path": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_wrong_input_is_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load(**options)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"junk")
    for streaming in (False, True):
        with pytest.raises(ValueError, match="cannot be loaded: "):
            load(tmp_path, streaming=streaming)
    (tmp_path / "b.arrow").write_bytes(b"junk")
    with pytest.raises(ValueError, match="or Arrow files; found arrow, parquet"):
        load(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.csv").write_text("a")
    with pytest.raises(ValueError, match=r"contains no files ending in \.parquet, \.arrow"):
        load(tmp_path / "c")


class Contract(DatasetContract):
    streaming = False

    @pytest.fixture(autouse=True)
    def place(self, parquet: Path) -> None:
        self.folder = parquet

    def dataset(self) -> Dataset:
        return load(self.folder, streaming=self.streaming)

    def changed(self) -> Dataset:
        pq.write_table(tables()[0], self.folder / "z.parquet")
        return load(self.folder, streaming=self.streaming)


class TestWithRandomAccess(Contract): ...


class TestStreamed(Contract):
    streaming = True


def test_rows_without_files_are_digested(tmp_path: Path) -> None:
    def fingerprint(texts: list[str]) -> str:
        whole = datasets.Dataset.from_dict({"text": texts})
        return huggingface.IndexedRows(huggingface.Found(whole, ()), None).digest()

    assert fingerprint(["a"] * 700) == fingerprint(["a"] * 700)
    assert fingerprint(["a"] * 700) != fingerprint(["a"] * 350 + ["b"] + ["a"] * 349)


@pytest.mark.parametrize("streaming", [False, True])
def test_times_that_python_cannot_hold_make_no_row_bad(tmp_path: Path, streaming: bool) -> None:
    days = pa.array([5_000_000] * 3, pa.int32()).view(pa.date32())
    pq.write_table(pa.table({"text": ["a", "b", "c"], "day": days}), tmp_path / "0.parquet")
    dataset = load(tmp_path, streaming=streaming)
    assert [dataset[index]["text"] for index in range(3)] == ["a", "b", "c"]
