"""Indexes are made on first use, kept where they can be, used while they fit, and made anew or refused when they do not."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask_datasets.shards import local
from omnimask_datasets.shards.index import DamagedShard, ShardIndex, make_index, read_index, with_content
from omnimask_datasets.shards.local import beside, index_of, write_index
from omnimask_datasets.shards.names import decoder_of, field_of, is_refused, split_name


def value_of(ending: str, data: bytes) -> Any:
    """What a data set makes of a member."""
    decode = decoder_of(ending)
    return data if decode is None else decode(data)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards whose headers were read."""
    found: list[str] = []

    def counted(path: Path, name: str) -> ShardIndex:
        found.append(name)
        return make_index(path, name)

    monkeypatch.setattr(local, "make_index", counted)
    return found


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[None]:
    """Nothing can be written but the cache (a folder's permissions do not keep root out)."""
    real = local.write_index

    def write(path: Path, index: ShardIndex) -> None:
        if not path.is_relative_to(cache):
            raise PermissionError(13, "Read-only file system", str(path))
        real(path, index)

    monkeypatch.setattr(local, "write_index", write)
    yield


def same(one: ShardIndex, other: ShardIndex) -> bool:
    return one.to_bytes() == other.to_bytes()


def test_an_index_says_where_samples_lie(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", [*tars.samples(1), ("b/c.left.JPG", b"jpeg"), ("__meta__.json", b"{}"), (".hidden", b"")])
    index = make_index(path, "a.tar")
    assert [index.key(sample) for sample in range(len(index))] == ["0001", "b/c"]
    assert [index.names[code] for code in index.endings] == ["txt", "cls", "left.jpg"]
    data = path.read_bytes()
    places = zip(index.offsets.tolist(), index.sizes.tolist(), strict=True)
    assert [data[offset : offset + size] for offset, size in places] == [b"text 1", b"1", b"jpeg"]
    assert [list(index.members(sample)) for sample in (0, 1)] == [[0, 1], [2]]


def test_an_index_is_the_same_when_it_is_read_again(tars: Any, tmp_path: Path) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2, 3))
    index = replace(with_content(make_index(path, "a.tar"), path), reading="x", tokens=np.array([4, 5, 6]))
    assert same(ShardIndex.from_bytes(index.to_bytes()), index)
    assert same(pickle.loads(pickle.dumps(index)), index)  # noqa: S301
    empty = make_index(tars.write(tmp_path / "empty.tar", []), "empty.tar")
    assert same(ShardIndex.from_bytes(empty.to_bytes()), empty)
    assert len(empty) == 0


def test_content_is_hashed_by_file_and_by_member(tars: Any, tmp_path: Path) -> None:
    import hashlib
    import zlib

    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    index = with_content(make_index(path, "a.tar"), path)
    assert index.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert index.checksums.tolist() == [zlib.crc32(data) for _, data in tars.samples(1, 2)]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.txt", b""), ("b.txt", b""), ("a.cls", b"1")], "interleaved at byte .*: a.cls: members of sample a are not adjacent"),
        ([("a.txt", b""), ("a.TXT", b"")], "duplicate at byte .*: duplicate member of sample a"),
        ([("a.txt", b""), ("a.pyd", b"")], "refused member at byte .*: a.pyd: it may contain a pickle"),
        ([("a.PICKLE", b"")], "may contain a pickle"),
        ([("a.pt", b"")], "may contain a pickle"),
        ([("a.weights.pth", b"")], "may contain a pickle"),
        ([("a.pkl.gz", b"")], "may contain a pickle"),
    ],
)
def test_samples_must_be_whole_and_harmless(tars: Any, tmp_path: Path, members: Any, reason: str) -> None:
    with pytest.raises(DamagedShard, match=rf"a\.tar: .*{reason}"):
        make_index(tars.write(tmp_path / "a.tar", members), "a.tar")


def test_an_index_lies_beside_its_shard_and_is_used(tars: Any, tmp_path: Path, passes: list[str]) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    first = index_of(path, "a.tar")
    assert beside(path).name == "a.tar.index"
    assert same(index_of(path, "a.tar"), first)
    assert passes == ["a.tar"]


@pytest.mark.usefixtures("read_only")
def test_an_index_lies_in_the_cache_if_the_data_cannot_be_written(
    tars: Any, tmp_path: Path, cache: Path, passes: list[str]
) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    assert same(index_of(path, "a.tar"), index_of(path, "a.tar"))
    assert passes == ["a.tar"]
    assert not beside(path).exists()
    assert len(list((cache / "shard-index").iterdir())) == 1


def test_a_copy_keeps_its_index(tars: Any, tmp_path: Path, passes: list[str]) -> None:
    """A copy has another time: its headers are read once more, and what else is known of it stays."""
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    write_index(beside(path), with_content(make_index(path, "a.tar"), path))
    there = tmp_path / "there"
    there.mkdir()
    for file in (path, beside(path)):
        shutil.copyfile(file, there / file.name)
    os.utime(there / "a.tar", ns=(1, 1))
    assert index_of(there / "a.tar", "a.tar").sha256
    assert index_of(there / "a.tar", "a.tar").sha256
    assert passes == ["a.tar"]


def test_an_index_of_another_shard_is_made_anew(tars: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    index_of(path, "a.tar")
    tars.write(path, tars.samples(3, 4, 5))
    with caplog.at_level(logging.WARNING):
        assert len(index_of(path, "a.tar")) == 3
    assert "changed since it was indexed" in caplog.text


def tampered(index: ShardIndex, how: str) -> bytes:
    data = index.to_bytes()
    match how:
        case "cut":
            return data[: len(data) // 2]
        case "noise":
            return b"nonsense" * 40
        case "format":
            return data.replace(b'"format": 1', b'"format": 9')
        case "beyond":
            return replace(index, offsets=index.offsets + 10**6).to_bytes()
        case "negative":
            return replace(index, offsets=index.offsets - 10**6).to_bytes()
        case "sizes":
            return replace(index, sizes=index.sizes - 100).to_bytes()
        case "ends":
            return replace(index, member_ends=index.member_ends[::-1].copy()).to_bytes()
        case "keys":
            return replace(index, key_ends=index.key_ends + 1).to_bytes()
        case "endings":
            return replace(index, endings=index.endings + 7).to_bytes()
        case "pickles":
            return replace(index, names=("pyd", "cls")).to_bytes()
        case "types":
            return replace(index, sizes=index.sizes.astype(np.float64)).to_bytes()  # pyright: ignore[reportArgumentType]
        case "objects":
            return replace(index, keys=np.array(["a"], object)).to_bytes()  # pyright: ignore[reportArgumentType]
    raise AssertionError(how)


DAMAGES = ("cut", "noise", "format", "beyond", "negative", "sizes", "ends", "keys", "endings", "pickles", "types")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_is_made_anew(tars: Any, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tars.write(tmp_path / "a.tar", tars.samples(1, 2))
    whole = index_of(path, "a.tar")
    beside(path).write_bytes(tampered(whole, how))
    with pytest.raises(ValueError, match=r"the index .*a\.tar\.index cannot be used"):
        read_index(beside(path))
    with caplog.at_level(logging.WARNING):
        assert same(index_of(path, "a.tar"), whole)
    assert "creating it again" in caplog.text
    assert same(index_of(path, "a.tar"), whole)


def test_an_index_holds_no_objects_and_is_not_compressed(tars: Any, tmp_path: Path) -> None:
    index = make_index(tars.write(tmp_path / "a.tar", tars.samples(1)), "a.tar")
    with pytest.raises(ValueError, match="allow_pickle"):
        tampered(index, "objects")
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("keys.npy", bytes(10**6))
    with pytest.raises(ValueError, match="it is compressed"):
        ShardIndex.from_bytes(bomb.read_bytes())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jpg", ("a", "jpg")),
        ("a/b.c/d.left.JPG", ("a/b.c/d", "left.jpg")),
        ("./a/b.txt", ("a/b", "txt")),
        ("a", None),
        (".hidden", None),
        ("a/.hidden.txt", None),
        ("a.", None),
        ("__about__.json", None),
        ("folder/__about__.json", ("folder/__about__", "json")),
    ],
)
def test_names_are_split_like_webdataset_does(name: str, found: tuple[str, str] | None) -> None:
    assert split_name(name) == found


def test_endings_decide_fields_and_values() -> None:
    assert [field_of(ending) for ending in ("jpg", "txt", "cls", "left.jpg", "depth", "mp4")] == [
        "image",
        "text",
        "label",
        "left",
        "depth",
        "video",
    ]
    assert value_of("cls", b"7\n") == 7
    assert value_of("meta.json", b'{"a": [1]}') == {"a": [1]}
    assert value_of("txt", b"abc") == b"abc"
    assert not is_refused("ptx")
    for ending, data in (("cls", b"cat"), ("json", b"{"), ("npy", b"junk"), ("json", b"[" * 100_000)):
        with pytest.raises(ValueError, match=rf"a member ending in \.{ending} cannot be read"):
            value_of(ending, data)


def test_arrays_hold_no_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.arange(3))
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert value_of("npy", (tmp_path / "good.npy").read_bytes()).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="allow_pickle=False"):
        value_of("npy", (tmp_path / "evil.npy").read_bytes())
