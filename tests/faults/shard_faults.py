"""Faults of shards: damaged, hostile or missing files, and servers that fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from typing import Any

from ..tiny_recipes import TEXT
from .lab import RECIPE, Faults, Lab

FAULTS = Faults()


def last_shard(lab: Lab, step: int = 2) -> str:
    """The name of a shard that the first steps do not touch; found by a run that notes what is opened."""
    from omnimask_datasets.shards.reader import MemberReader

    opened: list[int] = []
    exactly = MemberReader._exactly

    def noting(reader: MemberReader, shard: int, *place: int) -> bytes:
        opened.append(shard)
        return exactly(reader, shard, *place)

    with lab.monkeypatch.context() as patch:
        patch.setattr(MemberReader, "_exactly", noting)
        assert lab.command("pretrain", "recipe.yaml", "train.steps=15", "--run", "probe") == 0
    shutil.rmtree("probe")
    order = list(dict.fromkeys(opened))
    assert len(order) == 6
    return f"shard-{order[-1]:06d}.tar"


@FAULTS.row("a tar with a damaged header, at the start")
def damaged_header(lab: Lab) -> None:
    content = bytearray((lab.shards / "shard-000002.tar").read_bytes())
    content[10] ^= 1
    (lab.shards / "shard-000002.tar").write_bytes(content)
    lab.code = lab.pretrain()
    assert "data: shard-000002.tar: damaged header at byte 0" in lab.log
    assert not lab.run.exists()


@FAULTS.row("a shard that the manifest lists is missing, at the start")
def missing_at_the_start(lab: Lab) -> None:
    (lab.shards / "shard-000002.tar").unlink()
    lab.code = lab.pretrain()
    assert "lacks 1 of the 6 shards that its manifest lists: shard-000002.tar" in lab.log
    assert not lab.run.exists()


@FAULTS.row("a shard with a pickle, a link, a device, or a name that leaves its folder")
def hostile_shard(lab: Lab) -> None:
    (lab.shards / "manifest.json").unlink()
    members = {
        "0001.pickle": tarfile.REGTYPE,
        "0001.txt": tarfile.SYMTYPE,
        "0002.txt": tarfile.LNKTYPE,
        "../../0003.png": tarfile.REGTYPE,
        "/etc/0004.png": tarfile.REGTYPE,
        "0005.png": tarfile.CHRTYPE,
    }
    before = sorted(lab.folder.rglob("*"))
    for name, kind in members.items():
        with tarfile.open(lab.shards / "hostile.tar", "w") as tar:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        lab.code = lab.pretrain("data.name=shards")
        assert lab.code == 2, name
        assert "hostile.tar: " in lab.log and "refused" in lab.log, lab.log
    new = {path for path in lab.folder.rglob("*") if path not in before}
    assert {path for path in new if lab.folder / "cache" not in (path, *path.parents)} <= {lab.shards / "hostile.tar"}


@FAULTS.row("a header that claims more than 64 KiB")
def huge_header(lab: Lab) -> None:
    (lab.shards / "manifest.json").unlink()
    with tarfile.open(lab.shards / "huge.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a" * 70_000 + ".txt"))
    lab.code = lab.pretrain()
    assert "huge.tar: " in lab.log and "65,536" in lab.log, lab.log


@FAULTS.row("a shard is cut off during the run")
def cut_off(lab: Lab) -> None:
    name = last_shard(lab)
    lab.code = lab.pretrain_with(2, lambda: os.truncate(lab.shards / name, 2000), "data.max_bad.at_least=10")
    assert lab.last["bad_samples"] >= 8
    assert re.search(rf"skipping unreadable sample: \d+: ValueError: {name} has 2,000 bytes.*the file was truncated", lab.text)


@FAULTS.row("a shard disappears during the run")
def disappears(lab: Lab) -> None:
    name = last_shard(lab)
    lab.code = lab.pretrain_with(2, lambda: (lab.shards / name).unlink(), "data.max_bad.at_least=10")
    assert lab.last["bad_samples"] == len(lab.summary["bad_samples"]) == 10
    assert re.search(rf"skipping unreadable sample: \d+: FileNotFoundError: .*{name}", lab.text)


@FAULTS.row("a member was changed or is cut short")
def changed_member(lab: Lab) -> None:
    lab.change("shard-000001.tar", 520, b"#")
    lab.code = lab.pretrain("train.workers=2")
    assert lab.last["bad_samples"] == 1 and len(lab.summary["bad_samples"]) == 1
    assert "shard-000001.tar, byte 512: a member ending in .png is damaged: checksum mismatch with the index" in lab.text


@FAULTS.row("more unreadable samples than `data.max_bad`")
def too_many(lab: Lab) -> None:
    name = last_shard(lab)
    shutil.copy(lab.shards / name, lab.folder)
    lab.code = lab.pretrain_with(2, lambda: (lab.shards / name).unlink(), "data.max_bad.at_least=3")
    count = len(lab.summary["bad_samples"])
    assert count > 3 and f"{count} samples are unreadable, but only 3 are tolerated" in lab.log
    assert f"{count} samples are unreadable" in (lab.run / "logs" / "rank0.log").read_text()
    assert lab.summary["status"] == "stopped"
    shutil.copy(lab.folder / name, lab.shards)
    lab.resumes("data.max_bad.at_least=10")


def remote(lab: Lab, **fault: Any) -> Any:
    server = lab.serve(lab.shards)
    text = RECIPE.replace("path: shards", f"url: '{server.url}', cache: {{timeout: 1.0, retries: 1}}")
    (lab.folder / "recipe.yaml").write_text(text, encoding="utf-8")
    for name, value in fault.items():
        setattr(server, name, value)
    return server


@FAULTS.row("a server hangs, breaks off or sends other bytes, and recovers")
def server_recovers(lab: Lab) -> None:
    for number, fault in enumerate(("stalls", "stalls_halfway", "cuts_off", "fails", "damages")):
        server = remote(lab, fault=fault, faulty="shard-000003.tar", times=1)
        lab.code = lab.command("pretrain", "recipe.yaml", "--run", f"run-{number}", "train.workers=2")
        lab.run = lab.folder / f"run-{number}"
        assert lab.code == 0
        # at least: on a loaded machine, a shard of another loader process may be late too
        assert lab.last["bad_samples"] == 0 and lab.last["retries"] == lab.summary["retries"] >= 1, fault
        assert "shard-000003.tar: attempt 1 of 2 failed: " in lab.text
        assert server.gets("shard-000003.tar") == 2


@FAULTS.row("a server hangs for good")
def server_hangs(lab: Lab) -> None:
    remote(lab, fault="stalls", faulty="shard-000003.tar")
    lab.code = lab.pretrain("data.max_bad.at_least=3")
    failed = r"shard-000003\.tar could not be loaded in 2 attempts; last error: (no byte for 1 seconds|TimeoutError: no answer)"
    assert re.search(failed, lab.log)
    assert lab.summary["bad_samples"] and lab.summary["retries"] >= 1
    assert lab.last["bad_samples"] <= len(lab.summary["bad_samples"])


@FAULTS.row("a file of a token store changes on the server during the run")
def store_changes(lab: Lab) -> None:
    def written(word: str) -> None:
        rows = ({"text": f"{word} {number} " * 8} for number in range(64))
        (lab.folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        shutil.rmtree(lab.folder / "store", ignore_errors=True)
        assert lab.command("tokenize", "recipe.yaml", "store") == 0

    lab.monkeypatch.setattr("omnimask.data.scans.RANGE", 8)
    text = TEXT.replace("{name: english}", "{name: jsonl, path: texts.jsonl, window: 8, validation: 0}")
    (lab.folder / "recipe.yaml").write_text(text, encoding="utf-8")
    written("first")
    shutil.copytree(lab.folder / "store", lab.folder / "served")
    server = lab.serve(lab.folder / "served")
    place = f"data={{name: tokens, url: '{server.url}', window: 8, validation: 0, cache: {{timeout: 1.0, retries: 1}}}}"

    def change() -> None:
        written("other")
        shutil.rmtree(server.root)
        shutil.copytree(lab.folder / "store", server.root)

    lab.code = lab.pretrain_with(1, change, place)
    assert "the store has changed on the server since the start of the run; restore it, or begin another run" in lab.log
    assert lab.summary["status"] == "stopped"
