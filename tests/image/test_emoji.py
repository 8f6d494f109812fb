"""The embedded emoji: pictures, groups, names, what is held out, and the licences that travel with them."""

from __future__ import annotations

import io
import json
import re
import tomllib
import zipfile
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.data.validation_split import held_out, whole_keys
from omnimask.interfaces import Context
from omnimask.recipe import load_recipe
from omnimask_image.data.emoji import FILE, Emoji
from omnimask_image.decode.pillow_decoder import PillowDecoder

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "Activities": 68,
    "Animals & Nature": 125,
    "Flags": 5,
    "Food & Drink": 102,
    "Objects": 222,
    "People & Body": 304,
    "Smileys & Emotion": 134,
    "Symbols": 187,
    "Travel & Places": 183,
}


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    return Emoji(Context())


@pytest.fixture(scope="module")
def keys(emoji: Emoji) -> list[str]:
    return [emoji.key(index) for index in range(len(emoji))]


def test_all_have_a_group_and_a_name_of_their_own(emoji: Emoji, keys: list[str]) -> None:
    assert len(emoji) == len(set(keys)) == len(set(emoji.texts.values())) == 1330
    assert Counter(emoji.labels.values()) == GROUPS
    fox = emoji[keys.index("1f98a-fox")]
    assert (fox["label"], fox["text"]) == ("Animals & Nature", "fox")
    assert all(re.fullmatch(r"[0-9a-f]{2,5}(_[0-9a-f]{2,5})*-[a-z0-9-]+", key) for key in keys)


def test_pixels_are_those_that_were_packed(emoji: Emoji, keys: list[str]) -> None:
    pixels = PillowDecoder(Context())(emoji[keys.index("1f98a-fox")]["image"])
    assert (pixels.shape, pixels.dtype, pixels[0, 0].tolist()) == ((64, 64, 3), np.uint8, [255, 255, 255])
    assert blake2b(pixels.tobytes(), digest_size=8).hexdigest() == "b9fe51f07a8f330d"
    assert emoji.fingerprint() == "0226493f040b12a4628fc9372eabc742"


def test_every_picture_has_transparency_and_one_size(emoji: Emoji) -> None:
    decoder = PillowDecoder(Context())
    assert {decoder.shape(emoji[index]["image"]) for index in range(len(emoji))} == {(64, 64, 3)}
    assert {Image.open(io.BytesIO(emoji[index]["image"])).mode for index in range(0, len(emoji), 50)} == {"RGBA"}


def test_the_same_pictures_are_held_out_everywhere(emoji: Emoji, keys: list[str]) -> None:
    built = build(load_recipe("image"))
    train, validation = held_out(whole_keys(emoji), 0.1, seed=0)
    assert built.train_indices.tolist() == train.tolist()
    assert (len(train), len(validation)) == (1194, 136)
    assert keys[validation[0]] == "1f23a-japanese-open-for-business-button"


def test_a_smoke_run_takes_them(tmp_path: Path) -> None:
    assert main(["pretrain", "image", "--smoke", "--run", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["bad_samples"]) == ("finished", {})
    assert "name: emoji" in (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")


def test_licences_lie_beside_the_pictures_and_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    notice = (FILE.parent / "NOTICE.md").read_text(encoding="utf-8")
    texts = {"LICENSE-OFL-1.1.txt": "SIL OPEN FONT LICENSE Version 1.1", "LICENSE-Unicode-3.0.txt": "UNICODE LICENSE V3"}
    for name, words in texts.items():
        file = FILE.parent / name
        assert words in file.read_text(encoding="utf-8")
        assert f"]({name})" in notice
        assert str(file.relative_to(ROOT)) in project["license-files"]
    assert project["license"] == "Apache-2.0 AND OFL-1.1 AND Unicode-3.0"


def test_the_file_is_small_and_holds_nothing_else() -> None:
    with zipfile.ZipFile(FILE) as archive:
        assert Counter(Path(name).suffix for name in archive.namelist()) == {".webp": 1330, ".csv": 1}
    assert FILE.stat().st_size < 2_100_000
