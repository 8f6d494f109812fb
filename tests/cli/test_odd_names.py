"""Names of files that are no UTF-8 or hold control characters, and figures that cannot be drawn: a finished run stays finished."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask.messages.printable import printable

Command = Callable[..., Any]
NAMES = (b"caf\xe9.png", b"tab\there.png", b"line\nbreak.png", b"\x1b[31mred.png", b"plain.png", b"$x_1^$.png")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    picture = tmp_path / "one.png"
    for number, name in enumerate(NAMES * 2):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(picture)
        picture.rename(folder / os.fsdecode(b"%d-" % number + name))
    return folder


def test_every_command_works_on_them(omnimask: Command, recipe: Path, odd: Path, files_of: Any) -> None:
    data = f"data={{name: image.folder, path: {odd}, validation: 0.5}}"
    result = omnimask("pretrain", recipe, data, "--run", "a")
    assert (result.code, "could not be drawn" in result.err) == (0, False), result.err
    for command in (("reconstruct", "a"), ("resume", "a", "train.steps=7")):
        result = omnimask(*command)
        assert result.code == 0, result.err
        assert "\x1b" not in result.out + result.err


def test_a_sample_of_such_a_name_that_cannot_be_read_is_named(omnimask: Command, recipe: Path, odd: Path, files_of: Any) -> None:
    for name in list(odd.iterdir())[:3]:
        name.write_bytes(b"nothing")
    result = omnimask("pretrain", recipe, f"data={{name: image.folder, path: {odd}, validation: 0}}", "--run", "a")
    assert result.code == 0, result.err
    assert files_of(odd.parent / "a").summary["bad_samples"]


def test_a_figure_that_fails_is_a_warning(omnimask: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omnimask_image.show import ImageGrid

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(ImageGrid, "__call__", broken)
    result = omnimask("pretrain", recipe, "--run", "a", traceback=True)
    assert result.code == 0
    assert "its figure could not be drawn (retry: `omnimask reconstruct a`): RuntimeError: no picture today" in result.err
    assert "finished at step 6" in result.err


def test_nothing_held_out_can_be_read(omnimask: Command, recipe: Path, pictures: Callable[..., Path]) -> None:
    from omnimask.builder.build import build
    from omnimask.recipe import load_recipe

    folder = pictures([8] * 12)
    change = f"data={{name: image.folder, path: {folder}, validation: 0.3, max_bad: {{at_least: 99}}}}"
    built = build(load_recipe(recipe, [change]))
    for index in built.validation_indices.tolist():
        (folder / built.dataset.key(index)).write_bytes(b"nothing")
    result = omnimask("pretrain", recipe, change, "--run", "a")
    assert result.code == 0, result.err
    assert "could not be drawn" in result.err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("a\nb\tc\x1b", "a\\nb\\tc\\x1b"),
        ("Straße 图片 \U0001f600", "Straße 图片 \U0001f600"),
        ("no\u3000break", "no\u3000break"),
        ("one\u2028two", "one\\u2028two"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable("a\nb", keep="\n") == "a\nb"


def test_what_is_left_out_is_named_on_the_terminal(
    omnimask: Command, recipe: Path, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a run does not pass for a display that an application configured."""
    next(odd.iterdir()).write_bytes(b"nothing")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    result = omnimask("pretrain", recipe, f"data={{name: image.folder, path: {odd}, validation: 0}}", "--run", "a")
    assert result.code == 0 and "WARNING: skipping unreadable sample: " in result.err, result.err
