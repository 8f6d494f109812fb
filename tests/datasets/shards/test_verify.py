"""Every kind of damage is found, in the right shard and at the right byte; the commands say so and end with 1."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli import main
from omnimask_datasets.shards.index import make_index, with_content
from omnimask_datasets.shards.local import beside, write_index
from omnimask_datasets.shards.verify import verify

pytest.importorskip("webdataset")


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> Path:
    """Twelve samples of two members in three shards, written by the command."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(12):
        (texts / f"{number:04d}.txt").write_text(f"text {number}")
        (texts / f"{number:04d}.cls").write_text(str(number % 10))
    assert main(["shard", str(texts), str(tmp_path / "out"), "--shard-samples", "5", "--in-order"]) == 0
    return tmp_path / "out"


def edit(path: Path, before: bytes, after: bytes) -> int:
    """Replaces bytes of equal number and returns where they were."""
    data = path.read_bytes()
    assert data.count(before) >= 1 and len(before) == len(after)
    path.write_bytes(data.replace(before, after, 1))
    return data.index(before)


def first(shards: Path) -> Path:
    return shards / "shard-000000.tar"


def flip_payload(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    byte = edit(first(shards), b"text 3", b"test 3")
    return [("shard-000000.tar", "other content", None), ("shard-000000.tar", "damaged member", byte)]


def flip_header(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    byte = edit(first(shards), b"0002.cls", b"0002.clt")
    kinds = (("damaged header", byte), ("other content", None), ("other index", None))
    return [("shard-000000.tar", kind, place) for kind, place in kinds]


def cut_inside(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    place = make_index(first(shards), "x").offsets[3]
    os.truncate(first(shards), int(place) + 2)
    kinds = (("cut off", int(place)), ("other size", None), ("other index", None))
    return [("shard-000000.tar", kind, place) for kind, place in kinds]


def cut_between(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    os.truncate(first(shards), 4096)
    kinds = (("no end mark", 4096), ("other size", None), ("other index", None))
    return [("shard-000000.tar", kind, place) for kind, place in kinds]


def without_a_shard(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    first(shards).unlink()
    return [("shard-000000.tar", "missing shard", None)]


def with_another(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    tars.write(shards / "z.tar", tars.samples(70))
    return [("z.tar", "foreign shard", None)]


def twice(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    (shards / "manifest.json").unlink()
    tars.write(shards / "z.tar", tars.samples(70, 3, 11))
    return [("z.tar", "duplicate across shards", None)] * 2


def in_pieces(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    (shards / "manifest.json").unlink()
    tars.write(shards / "z.tar", [("a.txt", b""), ("b.txt", b""), ("a.cls", b"1"), ("c.txt", b""), ("c.TXT", b"")])
    return [("z.tar", "interleaved", 1536), ("z.tar", "duplicate", 3072)]


def hostile(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    for path in (shards / "manifest.json", *shards.glob("*.tar")):
        path.unlink()
    tars.with_member(shards / "w.tar", tarfile.SYMTYPE, linkname="/etc/passwd")
    tars.write(shards / "x.tar", [("../a.txt", b""), ("/b.txt", b""), ("c.pyd", b""), ("d.txt", b"")])
    return [("w.tar", "refused member", 1024), *(("x.tar", "refused member", byte) for byte in (0, 512, 1536))]


def joined(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    with first(shards).open("ab") as file:
        file.write((shards / "shard-000001.tar").read_bytes())
    return [("shard-000000.tar", kind, None) for kind in ("data behind the end mark", "other size")]


def bad_index(shards: Path, tars: Any) -> list[tuple[str, str, int | None]]:
    beside(first(shards)).write_bytes(b"junk")
    shutil.copyfile(beside(shards / "shard-000001.tar"), beside(shards / "shard-000002.tar"))
    return [("shard-000000.tar", "damaged index", None), ("shard-000002.tar", "other index", None)]


Damage = Callable[[Path, Any], list[tuple[str, str, int | None]]]
DAMAGES: list[Damage] = [
    flip_payload,
    flip_header,
    cut_inside,
    cut_between,
    without_a_shard,
    with_another,
    twice,
    in_pieces,
    hostile,
    joined,
    bad_index,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(shards: Path, tars: Any, damage: Damage, capsys: pytest.CaptureFixture[str]) -> None:
    expected = damage(shards, tars)
    found = [(finding.shard, finding.kind, finding.byte) for finding in verify(shards).findings]
    assert len(found) == len(expected)
    for (shard, kind, byte), (wanted_shard, wanted_kind, wanted_byte) in zip(found, expected, strict=True):
        assert (shard, kind) == (wanted_shard, wanted_kind)
        assert wanted_byte is None or byte == wanted_byte
    capsys.readouterr()
    assert main(["data", "verify", str(shards)]) == 1
    shown = capsys.readouterr().out
    assert f"{len(expected)} finding" in shown
    assert main(["data", "verify", str(shards), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["findings"]) == len(expected)


def test_good_shards_are_good(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", str(shards)]) == 0
    assert "3 shards with 12 samples" in capsys.readouterr().out
    assert main(["data", "verify", str(first(shards))]) == 0


def test_shards_that_count_anew_may_share_keys(folder: Path, tars: Any) -> None:
    tars.write(folder / "t.tar", tars.samples(0))
    assert main(["data", "verify", str(folder)]) == 1
    assert main(["data", "verify", str(folder), "--keys", "shard"]) == 0


def test_what_is_no_shard_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "verify", str(tmp_path)]) == 2
    assert "contains no files ending in .tar" in capsys.readouterr().err


def test_data_sets_become_shards(tars: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {n}", "label": n % 2}) + "\n" for n in range(6)))
    assert main(["shard", "name=jsonl", str(tmp_path / "out"), f"path={rows}"]) == 0
    assert "6 samples in 1 shard," in capsys.readouterr().err
    assert sorted(sample["text"] for sample in tars.content(tars.open(tmp_path / "out")).values()) == [
        f"row {n}".encode() for n in range(6)
    ]
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["IN", "OUT", "--shard-bytes", "100"], "--shard-bytes: must be at least 10,240, got 100"),
        (["IN", "OUT", "--shard-samples", "0"], "--shard-samples: must be at least 1, got 0"),
        (["IN", "OUT", "path=x"], r"a folder has no options (got path=x)"),
        (["name=jsonlines", "OUT"], "unknown dataset 'jsonlines' (did you mean 'jsonl'?)"),
        (["name=jsonl", "OUT", "pth=x"], "path is required"),
        (["nowhere", "OUT"], "nowhere is not a folder"),
        (["IN", "IN"], "exists; choose another folder,"),
    ],
)
def test_wrong_input_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IN").mkdir()
    (tmp_path / "IN" / "a.txt").write_text("a")
    assert main(["shard", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["IN"]


def test_an_index_without_checksums_is_no_finding(folder: Path) -> None:
    for path in folder.glob("*.tar"):
        write_index(beside(path), make_index(path, path.name))
    assert not verify(folder).findings
    for path in folder.glob("*.tar"):
        write_index(beside(path), with_content(make_index(path, path.name), path))
    assert not verify(folder).findings
