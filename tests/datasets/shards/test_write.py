"""Shards are complete or absent, within their limits, the same bytes each time; what was cut short goes on."""

from __future__ import annotations

import datetime
import json
import logging
import multiprocessing
import os
import signal
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import Context
from omnimask_datasets.shards import write
from omnimask_datasets.shards.dataset import Shards
from omnimask_datasets.shards.encode import encode, key_in_shard
from omnimask_datasets.shards.names import decoder_of, field_of
from omnimask_datasets.shards.sources import DatasetSource, FolderSource
from omnimask_datasets.shards.write import Limits, write_shards

pytest.importorskip("webdataset")


class Numbers:
    """A data set in memory; samples in ``broken`` cannot be read."""

    def __init__(self, count: int = 30, *, size: int = 10, broken: int = -1) -> None:
        self.count, self.size, self.broken = count, size, broken
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return f"numbers/{index:03d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads.append(index)
        if index == self.broken:
            raise ValueError("its bytes are gone")
        return {"text": f"{index} " * self.size, "label": index % 3, "wave": np.arange(index, dtype=np.float32)}

    def fingerprint(self) -> str:
        return f"{self.count} {self.size}"


def value_of(ending: str, data: bytes) -> Any:
    """What a data set makes of a member."""
    decode = decoder_of(ending)
    return data if decode is None else decode(data)


def limits(most_bytes: int = 10**9, most_samples: int = 10**9, seed: int | None = 0) -> Limits:
    return Limits(most_bytes, most_samples, seed)


def source(numbers: Numbers) -> DatasetSource:
    return DatasetSource(numbers, "numbers")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".index")}


def test_what_is_written_is_read_again(tars: Any, tmp_path: Path) -> None:
    write_shards(source(Numbers()), tmp_path / "out", limits(most_samples=7))
    dataset = tars.open(tmp_path / "out")
    assert [len(index) for index in dataset.files.indexes] == [7, 7, 7, 7, 2]
    found = tars.content(dataset)
    assert sorted(found) == [f"numbers/{n:03d}" for n in range(30)]
    sample = found["numbers/004"]
    assert (sample["text"], sample["label"], sample["wave"].tolist()) == (b"4 " * 10, 1, [0, 1, 2, 3])
    assert all(len(index.checksums) and index.sha256 for index in dataset.files.indexes)
    assert list(found) != sorted(found), "written in a random order"


@pytest.mark.parametrize("most_bytes", [10_240, 20_480, 35_000, 10**6])
def test_no_shard_is_larger_than_the_limit(tars: Any, tmp_path: Path, most_bytes: int) -> None:
    listed = write_shards(source(Numbers(size=100)), tmp_path / "out", limits(most_bytes))
    assert all((tmp_path / "out" / entry.name).stat().st_size == entry.size <= most_bytes for entry in listed.shards)
    assert sum(entry.samples for entry in listed.shards) == 30
    if most_bytes == 35_000:
        assert all(entry.size > most_bytes - 10_240 for entry in listed.shards[:-1]), "the limit is made use of"


def test_a_sample_larger_than_a_shard_gets_its_own(tmp_path: Path) -> None:
    listed = write_shards(source(Numbers(3, size=20_000)), tmp_path / "out", limits(10_240))
    assert [entry.samples for entry in listed.shards] == [1, 1, 1]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", None)):
        write_shards(source(Numbers()), tmp_path / name, limits(most_samples=8, seed=seed))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")
    with tarfile.open(tmp_path / "d" / "shard-000000.tar") as tar:
        assert tar.getnames()[:3] == ["numbers/000.cls", "numbers/000.txt", "numbers/000.wave.npy"]


def test_a_command_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(source(Numbers()), tmp_path / "whole", limits(most_samples=7))
    real, written = write.with_content, 0

    def die(*args: Any) -> Any:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(write, "with_content", die)
    with pytest.raises(KeyboardInterrupt):
        write_shards(source(Numbers()), tmp_path / "out", limits(most_samples=7))
    assert not (tmp_path / "out").exists()
    numbers = Numbers()
    write_shards(source(numbers), tmp_path / "out", limits(most_samples=7))
    assert len(numbers.reads) == 30 - 14
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def _die_in_the_third(out: Path) -> None:
    real, written = write.with_content, 0

    def die(*args: Any) -> Any:
        nonlocal written
        written += 1
        if written == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    write.with_content = die
    write_shards(source(Numbers()), out, limits(most_samples=7))


def test_a_process_that_was_killed_leaves_whole_shards(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_in_the_third, args=(tmp_path / "out",))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    numbers = Numbers()
    write_shards(source(numbers), tmp_path / "out", limits(most_samples=7))
    assert len(numbers.reads) == 30 - 14
    write_shards(source(Numbers()), tmp_path / "whole", limits(most_samples=7))
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_other_data_do_not_go_on(tmp_path: Path) -> None:
    with pytest.raises(
        RunStopped, match=r"sample numbers/004 cannot be read: its bytes are gone.*continue after the last complete"
    ):
        write_shards(source(Numbers(broken=4)), tmp_path / "out", limits(most_samples=7, seed=None))
    for numbers, other in ((Numbers(31), limits(most_samples=7, seed=None)), (Numbers(), limits(most_samples=8, seed=None))):
        with pytest.raises(UserError, match="contains shards of other data or options;"):
            write_shards(source(numbers), tmp_path / "out", other)
    write_shards(source(Numbers()), tmp_path / "out", limits(most_samples=7, seed=None))


def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunStopped, match=r"cannot be written: .*No space left.*run the same command to continue"):
        write_shards(source(Numbers()), tmp_path / "out", limits(most_samples=7))
    monkeypatch.undo()
    write_shards(source(Numbers()), tmp_path / "out", limits(most_samples=7))


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="already exists; choose another folder,"):
        write_shards(source(Numbers()), tmp_path / "out", limits())
    with pytest.raises(UserError, match=r"folder .*nowhere of out does not exist"):
        write_shards(source(Numbers()), tmp_path / "nowhere" / "out", limits())


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    with (
        write._locked(tmp_path / "out.partial"),
        pytest.raises(UserError, match=r"another process is writing to .*out\.partial"),
    ):
        write_shards(source(Numbers()), tmp_path / "out", limits())


@pytest.mark.parametrize(
    ("key", "sample", "members"),
    [
        ("cat/1.JPG", {"image": b"x", "label": "cat"}, {"jpg": b"x", "label.json": b'"cat"'}),
        ("1.txt", {"text": "süß", "label": np.int64(3)}, {"txt": "süß".encode(), "cls": b"3"}),
        ("1.jpg", {"left": b"x", "flag": True, "n": 7}, {"left.bin": b"x", "flag.json": b"true", "n.json": b"7"}),
        ("1", {"image": b"x", "text": b"y", "none": None}, {"image.bin": b"x", "text.bin": b"y"}),
        ("a.json", {"text": b"{"}, {"text.bin": b"{"}),
        ("a", {"boxes": [1, 2.5], "about": {"a": None}}, {"boxes.json": b"[1, 2.5]", "about.json": b'{"a": null}'}),
    ],
)
def test_values_become_members_and_values_again(key: str, sample: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    assert encode(key, sample) == members
    for field, value in sample.items():
        if value is not None:
            (ending,) = (ending for ending in members if field_of(ending) == field)
            expected = value.encode() if field == "text" and isinstance(value, str) else value
            assert value_of(ending, members[ending]) == expected


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ({}, "no field can be written"),
        ({"Image": b""}, "the field 'Image' cannot be a file"),
        ({"a.b": b""}, r"the field 'a\.b' cannot be a file"),
        ({"pt": 1}, "the field 'pt' has the extension of files that may contain pickles,"),
        ({"x": {1, 2}}, "the field 'x' contains a set that cannot be written:"),
        ({"x": float("nan")}, "cannot be written"),
        ({"x": np.array([{}], object)}, "allow_pickle"),
    ],
)
def test_values_that_cannot_be_written_are_named(sample: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode("a", sample)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("cat/1.jpg", "cat/1"),
        ("v1.2/x.y.png", "v1.2/x_y"),
        ("/abs/../a", "abs/_/a"),
        ("file.jsonl:12", "file_jsonl:12"),
        ("a\nb\\c", "a_b_c"),
        (".hidden", "_hidden"),
    ],
)
def test_keys_become_names_of_members(key: str, found: str) -> None:
    assert key_in_shard(key) == found


@given(st.text(max_size=30))
def test_every_key_is_harmless_or_refused(key: str) -> None:
    try:
        found = key_in_shard(key)
    except ValueError:
        return
    assert not found.startswith("/") and ".." not in found.split("/") and "\\" not in found


def test_samples_of_one_name_are_refused() -> None:
    class Twins(Numbers):
        def key(self, index: int) -> str:
            return ("a.jpg", "a.png")[index]

    with pytest.raises(UserError, match=r"the samples 'a\.jpg' and 'a\.png' would both be named 'a' in a shard;"):
        source(Twins(2))


def test_files_that_differ_in_their_endings_are_one_sample(tars: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cat/1.jpg", "cat/1.caption.txt", "dog/2.JPG", "README", ".git/x.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    with caplog.at_level(logging.WARNING):
        write_shards(FolderSource(tmp_path / "in"), tmp_path / "out", limits(seed=None))
    assert "1 files without an extension: README" in caplog.text
    assert tars.content(tars.open(tmp_path / "out")) == {
        "cat/1": {"image": b"cat/1.jpg", "caption": b"cat/1.caption.txt", "label": "cat"},
        "dog/2": {"image": b"dog/2.JPG", "label": "dog"},
    }
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["source"] == {"folder": "in", "seed": None}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([f"photo.{number}.jpg" for number in range(6)], [f"photo_{number}" for number in range(6)]),
        ([f"{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(2)], ["cat_0", "cat_1", "dog_0", "dog_1"]),
        ([f"photo.{letter}.jpg" for letter in "abcdefgh"], [f"photo_{letter}" for letter in "abcdefgh"]),
        ([f"p.{letter}{more}.jpg" for letter in "abcde" for more in "abcd"], None),
        (["Screenshot 2024-01-15 at 10.15.1.png", "v1.0/a b.png"], ["Screenshot 2024-01-15 at 10_15_1", "v1.0/a b"]),
        (["2024.01.15.JPG", "2024.01.16.jpeg"], ["2024_01_15", "2024_01_16"]),
        (["a.jpg.png", "b.jpg.png"], ["a", "b"]),
        (["1.left.jpg", "1.right.jpg", "2.left.jpg", "2.right.jpg"], ["1", "2"]),
        (["scan.nii.gz", "more.nii.gz"], ["more", "scan"]),
        (["tab\tnew\nline\\back.jpg"], ["tab_new_line_back"]),
        (["\\x.jpg"], ["_x"]),
        ([os.fsdecode(b"caf\xe9.jpg")], [os.fsdecode(b"caf\xe9")]),
    ],
)
def test_dots_and_odd_letters_in_names(tmp_path: Path, names: list[str], keys: list[str] | None) -> None:
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    write_shards(FolderSource(tmp_path / "in"), tmp_path / "out", limits(seed=None))
    dataset = Shards(Context(), path=tmp_path / "out")
    assert sorted(dataset.key(index) for index in range(len(dataset))) == (
        sorted(keys) if keys is not None else sorted(name.removesuffix(".jpg").replace(".", "_") for name in names)
    )


def test_a_table_of_labels_is_no_sample_and_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"x")
    for name in ("labels.csv", "README.md"):
        (tmp_path / "in" / name).write_bytes(b"x")
    found = FolderSource(tmp_path / "in")
    assert len(found) == 21
    assert "is a table of labels and not a" in caplog.text
    assert "1 samples lack fields that others have (image): README.md" in caplog.text


def test_files_that_change_in_place_are_other_data(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    before = FolderSource(tmp_path).fingerprint()
    (tmp_path / "1.jpg").write_bytes(b"two")
    assert FolderSource(tmp_path).fingerprint() != before


@pytest.mark.parametrize("key", ["", "half \ud83d"])
def test_keys_that_cannot_be_written_are_refused_before_anything_is(tmp_path: Path, key: str) -> None:
    class Odd(Numbers):
        def key(self, index: int) -> str:
            return key

    with pytest.raises(UserError, match=r"a key must not be empty|contains a lone surrogate at 5"):
        source(Odd(1))


def test_a_first_sample_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    class Dated(Numbers):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"when": datetime.date(2020, 1, 1)}

    with pytest.raises(UserError, match=r"the field 'when' contains a date that cannot be written: .*columns=\[\.\.\.\]"):
        write_shards(source(Dated(2)), tmp_path / "out", limits())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "contains no files with an extension"),
        (("a.pt",), "may contain a pickle,"),
        (("a.tar",), "is a tar file; to read shards: name=shards"),
        (("a.jpg", "a.JPG"), "would have the same name in a shard;"),
    ],
)
def test_folders_that_cannot_be_written_are_named(tmp_path: Path, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=reason):
        FolderSource(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        FolderSource(tmp_path / "nowhere")
