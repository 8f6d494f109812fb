"""Data of the user's that are damaged, odd or few, from the command line: what is said, and with which exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]

RECIPE = """\
omnimask: 1
device: cpu
modalities:
  text:
    tokenizer: {name: text.bytes, max_length: 64}
    masker: {name: random, ratio: 0.3}
    corruptor: {name: mask_token}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: mlm}
data: {DATA}
train:
  {steps: 4, batch_tokens: 256, workers: 0, optimizer: {name: adamw, lr: 1e-3}, validate_every: 2, checkpoint_every: 2}
"""


@pytest.fixture
def train(omnimask: Command, tmp_path: Path) -> Command:
    """Trains on data as a recipe names them."""

    def run(data: str, *changes: str) -> Any:
        (tmp_path / "recipe.yaml").write_text(RECIPE.replace("DATA", data))
        return omnimask("pretrain", "recipe.yaml", "--run", "run", *changes)

    return run


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_null_and_empty_texts_do_not_stop_a_run(train: Command, tmp_path: Path) -> None:
    texts = [None, "", " \n"] * 30 + [f"a text of some words, number {number}" for number in range(30)]
    (tmp_path / "a.jsonl").write_text(lines(*({"text": text} for text in texts)))
    result = train("name: jsonl, path: a.jsonl")
    assert result.code == 0, result.err
    assert "90 of 120 samples, which are empty" in result.err
    assert "unreadable" not in result.err


def test_an_unclosed_quote_is_refused_with_file_and_line(train: Command, tmp_path: Path) -> None:
    rows = [f"row number {number},{number % 3}" for number in range(3000)]
    rows[20] = '"begins here and never ends,1'
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    result = train("name: csv, path: a.csv")
    assert result.code == 2
    assert "a.csv:22: a quoted cell spans more than 1,000 lines; close it" in result.errors[0]
    assert not (tmp_path / "run").exists()
    assert train("name: csv, path: a.csv, quote: null").code == 0


def test_a_key_with_half_a_character_is_refused_with_file_and_line(train: Command, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"id": "a", "text": "one"}, {"id": "\ud83d", "text": "two"}))
    result = train("name: jsonl, path: a.jsonl, key: id")
    assert result.code == 2
    assert r"a.jsonl:2: id: the key '\ud83d' contains a lone" in result.errors[0]
    assert not (tmp_path / "run").exists()


def test_files_repaired_in_place_are_read_again(train: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(12):
        text = bytearray(b"words of a text " * 20)
        text[50] = 0 if number < 6 else text[50]
        (tmp_path / "texts" / f"{number}.txt").write_bytes(text)
    first = train("name: text.files, path: texts, validation: 0")
    assert "6 of 12 samples could not be read while parts were listed" in first.err
    for path in (tmp_path / "texts").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\0", b" "))
    (tmp_path / "run").rename(tmp_path / "first")
    second = train("name: text.files, path: texts, validation: 0")
    assert (second.code, "unreadable" in second.err) == (0, False), second.err


def test_a_copy_of_the_data_continues_a_run_and_other_contents_do_not(train: Command, omnimask: Command, tmp_path: Path) -> None:
    for folder, text in (("here", "words of a text "), ("copy", "words of a text "), ("other", "sword of a text ")):
        (tmp_path / folder).mkdir()
        for number in range(6):
            (tmp_path / folder / f"{number}.txt").write_text(text * 20)
            os.utime(tmp_path / folder / f"{number}.txt", (number, len(folder)))
    assert train("name: text.files, path: here").code == 0
    more = ("train.steps=6",)
    result = omnimask("resume", "run", f"data.path={tmp_path / 'other'}", *more)
    assert result.code == 2
    assert "the data differ from those at the start of the run" in result.errors[0]
    result = omnimask("resume", "run", f"data.path={tmp_path / 'copy'}", *more)
    assert result.code == 0, result.err


def test_a_run_of_an_earlier_version_continues_with_a_warning(train: Command, omnimask: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(6):
        (tmp_path / "texts" / f"{number}.txt").write_text("words of a text " * 20)
    assert train("name: text.files, path: texts").code == 0
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    samples = environment["data"]["samples"]
    environment["data"] = {"fingerprint": "of names and sizes", "samples": samples}
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment))
    result = omnimask("resume", "run", "train.steps=6")
    assert result.code == 0, result.err
    assert "another fingerprint of data; only the number of samples is compared" in result.err


def test_few_long_documents_hold_out_the_share_that_was_asked_for(train: Command, tmp_path: Path) -> None:
    (tmp_path / "novels").mkdir()
    for number, size in enumerate((300, 500)):
        (tmp_path / "novels" / f"{number}.txt").write_text("some words in a sentence. " * size)
    result = train("name: text.files, path: novels, validation: 0.05")
    assert result.code == 0, result.err
    assert "% (requested: 5.0 %), of 2 of 2 whole samples" in result.err


def test_a_held_out_sample_that_cannot_be_read_is_named_once_and_counted(train: Command, tmp_path: Path) -> None:
    rows = [{"text": f"a text of some words, number {number}"} for number in range(40)]
    (tmp_path / "a.jsonl").write_text(lines(*rows[:20], *([{"text": 5}] * 8), *rows[20:]))
    result = train("name: jsonl, path: a.jsonl, validation: 0.5")
    assert result.code == 0, result.err
    bad = json.loads((tmp_path / "run" / "summary.json").read_text())["bad_validation_samples"]
    assert bad
    assert f"{len(bad)} unreadable held-out sample" in result.err
    log = (tmp_path / "run" / "logs" / "rank0.log").read_text()
    for key in bad:
        assert log.count(f"skipping held-out sample {key}") == 1


def test_pipes_in_a_folder_of_pictures_are_left_out(omnimask: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(np.full((9, 9, 3), number * 20, np.uint8)).save(tmp_path / "photos" / f"{number}.png")
    os.mkfifo(tmp_path / "photos" / "x.png")
    (tmp_path / "photos" / "all").symlink_to("/", target_is_directory=True)
    result = omnimask("init", "photos")
    assert result.code == 0, result.err
    assert "1 pipes, sockets or devices: x.png" in result.err
    assert "ignoring 1 links to folders outside of it: all -> /" in result.err


def test_rows_with_other_columns_name_the_key_to_write(omnimask: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"body": "a few words"}\n' * 9)
    result = omnimask("inspect", "text", "data.path=rows.jsonl")
    assert result.code == 2
    assert "set the field of text: modalities.text.field=NAME; fields: body" in result.err
    assert omnimask("inspect", "text", "data.path=rows.jsonl", "modalities.text.field=body").code == 0


def test_rows_whose_value_is_null_say_so(omnimask: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"image": null}\n{"picture": 1}\n{"image": ""}\n' * 2)
    result = omnimask("inspect", "image", "data={name: jsonl, path: rows.jsonl}")
    assert result.code == 2
    told = result.err
    assert "ValueError: empty sample: image is null or empty" in told
    assert "fields ['image'] are missing; it has ['picture']" in told
