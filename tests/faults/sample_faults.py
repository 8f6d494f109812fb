"""Faults of samples and of the components that read them."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

from .lab import RECIPE, Faults, Lab

FAULTS = Faults()


def in_a_folder(lab: Lab, count: int = 60) -> str:
    """Pictures as files of a folder; the change that reads them."""
    import numpy as np
    from PIL import Image

    (lab.folder / "some").mkdir()
    for number in range(count):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(lab.folder / "some" / f"{number:03d}.png")
    return "data={name: image.folder, path: some, validation: 0}"


@FAULTS.row("a sample that cannot be decoded")
def undecodable(lab: Lab) -> None:
    (lab.folder / "some").mkdir()
    assert lab.command("shard", "shards", "x", "--help") == 0
    from PIL import Image

    for number in range(12):
        Image.new("L", (8, 8), number).save(lab.folder / "some" / f"{number:03d}.png")
    (lab.folder / "some" / "005.png").write_bytes(b"no picture")
    lab.code = lab.pretrain("data={name: image.folder, path: some, validation: 0}", "train.workers=2")
    assert lab.last["bad_samples"] == 1 and lab.summary["bad_samples"].keys() == {"005.png"}
    assert "skipping unreadable sample: 005.png: ValueError: not a readable image" in lab.text


@FAULTS.row("the folder with the data disappears")
def vanished(lab: Lab) -> None:
    data, some = in_a_folder(lab), lab.folder / "some"
    lab.code = lab.pretrain_with(3, lambda: some.rename("elsewhere"), data)
    assert "samples are unreadable, but only 10 are tolerated" in lab.log and "No such file or directory" in lab.log
    assert lab.summary["status"] == "stopped"
    assert lab.command("resume", "run") == 2
    Path("elsewhere").rename(some)
    lab.resumes()


@FAULTS.row("a sample is removed before a resume")
def removed(lab: Lab) -> None:
    data = in_a_folder(lab)
    assert lab.pretrain(data, "train.steps=6") == 0
    kept = (lab.folder / "some" / "007.png").read_bytes()
    (lab.folder / "some" / "007.png").unlink()
    lab.code = lab.command("resume", "run", "train.steps=30")
    assert "the data differ from those at the start of the run (60 samples then, 59 now" in lab.log
    (lab.folder / "some" / "007.png").write_bytes(kept)
    lab.resumes("train.steps=30")


@FAULTS.row("a component returns something that its interface forbids")
def breach(lab: Lab) -> None:
    from omnimask_image.tokenize.tokenizer import PatchTokenizer

    tokenize, data = PatchTokenizer.__call__, in_a_folder(lab)

    def one_short(tokenizer: Any, raw: Any, draw: Any) -> Any:
        import dataclasses

        tokens = tokenize(tokenizer, raw, draw)
        return dataclasses.replace(tokens, content=tokens.content[1:])

    with lab.monkeypatch.context() as patch:
        lab.code = lab.pretrain_with(3, lambda: patch.setattr(PatchTokenizer, "__call__", one_short), data)
    named = r"error: tokenizer 'image\.patch' of omnimask \S+, sample '\d+\.png': content has shape \(3, 4, 4, 1\)"
    assert re.search(named, lab.log)
    assert lab.summary["status"] == "stopped"
    lab.resumes()


@FAULTS.row("ten steps in a row with nothing to answer, from the beginning on")
def unanswered(lab: Lab) -> None:
    lab.code = lab.pretrain("modalities.image.masker={name: none}")
    assert "10 steps in a row had nothing to answer" in lab.log and "raise the ratio, or choose a masker" in lab.log
    assert lab.summary["skipped_steps"] == 10 and lab.summary["status"] == "stopped"


@FAULTS.row("writing a cache is interrupted")
def cache_interrupted(lab: Lab) -> None:
    Path("texts.jsonl").write_text("".join(json.dumps({"text": f"{n} bottles " * 9}) + "\n" for n in range(60)), encoding="utf-8")
    recipe = RECIPE.replace("image:", "text:").replace("shards, path: shards", "jsonl, path: texts.jsonl").replace("patch}", "ids}")
    recipe = recipe.replace("{name: image.patch, image_size: 8, patch_size: 4, channels: 1}", "{name: text.bytes, max_length: 64}")
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")

    def half(stream: Any, *rest: Any) -> None:
        stream.write(b"ARROW1 and a half")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def nothing(*rest: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with lab.monkeypatch.context() as patch:
        patch.setattr("omnimask.token_store.tokenize.write_rows", half)
        patch.setattr("omnimask.data.column_files.open_memmap", nothing)
        lab.code = lab.pretrain("train.batch_tokens=256", "train.steps=10")
    assert "tokens are not cached" in lab.text and "parts are not cached" in lab.text
    for ending in ("npy", "arrow", "part"):
        assert not list((lab.folder / "cache").rglob(f"*.{ending}"))
    lab.resumes("train.steps=30")
