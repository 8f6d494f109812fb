"""Samples of shards: what a sample is, where it may not come from, what happens when shards break under a run."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from omnimask.data.order import Grouped
from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets.shards import reader
from omnimask_datasets.shards.dataset import Shards
from omnimask_datasets.shards.index import make_index, with_content
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.sources import FolderSource
from omnimask_datasets.shards.write import Limits, write_shards


def test_samples_are_read_by_index(tars: Any, folder: Path) -> None:
    dataset = tars.open(folder)
    assert isinstance(dataset, Dataset) and isinstance(dataset, Grouped)
    assert len(dataset) == 12
    assert dataset.group_starts.tolist() == [0, 5, 6]
    expected = {f"{n:04d}": {"text": f"text {n}".encode(), "label": n % 10} for n in range(12)}
    assert tars.content(dataset) == expected
    assert tars.content(pickle.loads(pickle.dumps(dataset))) == expected  # noqa: S301
    with pytest.raises(IndexError, match="index 12 is out of range for 12"):
        dataset[12]
    with pytest.raises(IndexError):
        dataset.key(-1)


def test_one_tar_file_and_sub_folders(tars: Any, folder: Path) -> None:
    assert list(tars.content(tars.open(folder / "s-1.tar"))) == ["0005"]
    tars.write(folder / "more" / "a.tar", tars.samples(20))
    assert next(iter(tars.content(tars.open(folder)))) == "0020"


def test_empty_shards_are_no_groups(tars: Any, tmp_path: Path) -> None:
    for name, numbers in (("a", ()), ("b", (1, 2)), ("c", ()), ("d", (3,)), ("e", ())):
        tars.write(tmp_path / f"{name}.tar", tars.samples(*numbers))
    dataset = tars.open(tmp_path)
    assert dataset.group_starts.tolist() == [0, 2]
    assert list(tars.content(dataset)) == ["0001", "0002", "0003"]


def test_fields_are_chosen_by_endings(tars: Any, tmp_path: Path) -> None:
    members = [("a.png", b"png"), ("a.jpg", b"jpg"), ("a.caption.txt", b"a cat"), ("a.json", b'{"n": 1}'), ("b.png", b"2")]
    path = tars.write(tmp_path / "a.tar", members)
    dataset = tars.open(path, fields={"image": ["jpg", ".PNG"], "about": ["json"]})
    assert dataset[0] == {"image": b"jpg", "about": {"n": 1}}
    assert dataset[1] == {"image": b"2"}
    with pytest.raises(ValueError, match=r"png, jpg, caption\.txt, json two map to the same field; choose one with data\.fields"):
        tars.open(path)[0]
    with pytest.raises(ValueError, match=r"fields\.x: members ending in \.pt may contain pickles,"):
        tars.open(path, fields={"x": ["pt"]})


def test_folders_named_like_splits_are_no_labels(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", [("train/cat/1.txt", b"1"), ("val/dog/2.txt", b"2"), ("val/3.txt", b"3")])
    assert [sample.get("label") for sample in tars.content(tars.open(path)).values()] == ["cat", "dog", None]


def test_what_is_left_out_is_counted(tars: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tars.write(tmp_path / "a.tar", [("1.txt", b"1")])
    (tmp_path / "b.tar.gz").write_bytes(b"packed")
    with caplog.at_level(logging.INFO):
        tars.open(tmp_path)
    assert "1 files, ignoring 1: 1 with .tar.gz" in caplog.text


def test_the_same_headers_over_other_contents_are_other_data(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    found: list[tuple[str, str]] = []
    for name, text in (("a", "one"), ("b", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(text)
        write_shards(FolderSource(tmp_path / name), tmp_path / f"{name}-shards", Limits(10**6, 10, 0))
        dataset = Shards(Context(), path=tmp_path / f"{name}-shards")
        found.append((dataset.fingerprint(), dataset.state()))
    assert len({fingerprint for fingerprint, _ in found}) == 2
    assert len({state for _, state in found}) == 2


def test_a_folder_is_the_label_where_there_is_no_other(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", [("cat/1.txt", b""), ("dog/2.txt", b""), ("dog/2.cls", b"5"), ("3.txt", b"")])
    assert [sample.get("label") for sample in tars.content(tars.open(path)).values()] == ["cat", 5, None]
    assert tars.open(path, fields={"text": ["txt"]})[0] == {"text": b""}


def test_shards_that_count_anew(tars: Any, tmp_path: Path) -> None:
    for name in "ab":
        tars.write(tmp_path / "x" / f"{name}.tar", tars.samples(1, 2))
    with pytest.raises(ValueError, match=r"duplicate sample 000\d in x/a\.tar and x/b\.tar; .* set data\.keys: shard"):
        tars.open(tmp_path)
    dataset = tars.open(tmp_path, keys="shard")
    assert list(tars.content(dataset)) == ["x/a/0001", "x/a/0002", "x/b/0001", "x/b/0002"]
    assert "label" in dataset[0] and dataset[0]["label"] == 1


def test_the_fingerprint_follows_the_content_and_not_the_place(tars: Any, folder: Path, tmp_path: Path) -> None:
    before = tars.open(folder).fingerprint()
    folder.rename(tmp_path / "elsewhere")
    assert tars.open(tmp_path / "elsewhere").fingerprint() == before
    assert tars.open(tmp_path / "elsewhere", keys="shard").fingerprint() != before
    tars.write(tmp_path / "elsewhere" / "s-3.tar", tars.samples(20))
    assert tars.open(tmp_path / "elsewhere").fingerprint() != before


def test_what_is_no_shard_is_named(tars: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        tars.open(tmp_path / "nowhere")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"its name must end in \.tar;"):
        tars.open(tmp_path / "a.tar.gz")
    with pytest.raises(ValueError, match=r"contains no files ending in \.tar; found 1 other files: 1 with \.tar\.gz"):
        tars.open(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"a\.tar: cut off at byte 0"):
        tars.open(tmp_path)


def test_what_happens_to_a_shard_after_the_start(tars: Any, folder: Path) -> None:
    """Cut off, gone, another file: every sample of it is a bad sample with a reason, and the others stay good."""
    for path in folder.glob("*.tar"):
        write_index(beside(path), with_content(make_index(path, path.name), path))
    cut, gone, damaged = tars.open(folder), tars.open(folder), tars.open(folder)
    whole = (folder / "s-0.tar").read_bytes()
    os.truncate(folder / "s-0.tar", 3000)
    assert cut[0]["label"] == 0
    with pytest.raises(ValueError, match=r"s-0\.tar has 3,000 bytes, but the sample ends at byte 5,633: the file was truncated"):
        cut[2]
    (folder / "s-1.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"s-1\.tar"):
        gone[5]
    (folder / "s-0.tar").write_bytes(whole.replace(b"text 3", b"test 3"))
    with pytest.raises(ValueError, match=r"s-0\.tar, byte .*: a member ending in \.txt is damaged: checksum mismatch"):
        damaged[3]
    assert damaged[2]["text"] == b"text 2"
    unchecked = tars.open(folder / "s-0.tar", check=False)
    assert unchecked[3]["text"] == b"test 3"


def test_a_value_that_cannot_be_read_is_a_bad_sample(tars: Any, tmp_path: Path) -> None:
    dataset = tars.open(tars.write(tmp_path / "a.tar", [("a.cls", b"cat"), ("b.cls", b"1")]))
    with pytest.raises(ValueError, match=r"a member ending in \.cls cannot be read"):
        dataset[0]
    assert dataset[1] == {"label": 1}


def num_open() -> int:
    """Descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_few_shards_stay_open(tars: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_OPEN", 2)
    for number in range(5):
        tars.write(tmp_path / f"{number}.tar", tars.samples(number))
    dataset = tars.open(tmp_path)
    before = num_open()
    for _ in range(3):
        tars.content(dataset)
    assert num_open() <= before + 2
    del dataset
    assert num_open() <= before


def test_nothing_is_written_for_a_hostile_shard(tars: Any, tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "data"
    tars.write(data / "a.tar", [("a.txt", b""), ("../../escaped.txt", b"evil")])
    with pytest.raises(ValueError, match=r"a\.tar: refused member .* leaves its folder"):
        tars.open(data)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "a.tar"]
    assert not list(cache.rglob("*"))


class TestContract(DatasetContract):
    @pytest.fixture(autouse=True)
    def place(self, tars: Any, folder: Path) -> None:
        self.tars, self.folder = tars, folder

    def dataset(self) -> Dataset:
        return self.tars.open(self.folder)

    def changed(self) -> Dataset:
        self.tars.write(self.folder / "s-9.tar", self.tars.samples(90))
        return self.tars.open(self.folder)

    def damaged(self) -> tuple[Dataset, Sequence[int]]:
        dataset = self.tars.open(self.folder)
        os.truncate(self.folder / "s-2.tar", 100)
        (self.folder / "s-1.tar").unlink()
        return dataset, [5, 6, 7]
