"""Vectors of a trained encoder in Python: of samples in memory, of data sets, from runs and from exported folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import omnimask
from omnimask.cli import main
from omnimask.data.chunks import read_chunks
from omnimask.errors import UserError
from omnimask.evaluation.features import clean_pipeline, encode
from omnimask.export.load_encoder import FrozenEncoder, load_encoder
from omnimask.interfaces import Splits
from omnimask.run.trained_run import choose_checkpoint, load_checkpoint, load_run
from omnimask.training.devices.precision import Precision

TEXTS = ["A short one.", "Another text, which has a few more words than the first.", "x"]


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "text"
    assert main(["pretrain", "text", "--smoke", "--run", str(folder), "device=cpu"]) == 0
    return folder


@pytest.fixture(scope="module")
def texts(text_run: Path) -> FrozenEncoder:
    return load_encoder(text_run, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FrozenEncoder]:
    folder = tmp_path_factory.mktemp("runs") / "image"
    assert main(["pretrain", "image", "--smoke", "--run", str(folder), "device=cpu", "train.ema=0.5"]) == 0
    return folder, load_encoder(folder, device="cpu")


def test_texts_become_vectors_one_by_one_or_together(texts: FrozenEncoder) -> None:
    together = texts.encode(TEXTS)
    assert together.shape == (3, texts.recipe.encoder.options["width"]) and together.dtype == np.float32
    alone = np.concatenate([texts.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)  # sums over other batches are rounded in another order
    assert np.array_equal(texts.encode([{"text": text} for text in TEXTS]), together)
    assert not np.allclose(together[0], together[1], atol=1e-3)
    assert len(texts.encode([])) == 0


def test_a_long_text_is_the_mean_of_its_parts(texts: FrozenEncoder) -> None:
    long = " ".join(["Many words, and more of them."] * 300)
    (whole, short) = texts.encode([long, TEXTS[0]])
    np.testing.assert_allclose(short, texts.encode(TEXTS)[0], rtol=1e-4, atol=1e-5)
    reader = next(iter(texts._built.parts.values()))
    assert isinstance(reader.tokenizer, Splits)
    parts = [reader.tokenizer.part(long, *part[:2]) for part in reader.tokenizer.split(long)]
    assert len(parts) > 2
    sizes = [part[2] for part in reader.tokenizer.split(long)]
    np.testing.assert_allclose(whole, np.average(texts.encode(parts), axis=0, weights=sizes), rtol=0.02, atol=0.02)


def test_pools_differ_and_what_is_not_there_is_said(texts: FrozenEncoder) -> None:
    with pytest.raises(UserError, match="no summary tokens"):
        texts.encode(TEXTS, pool="summary")
    with pytest.raises(UserError, match=r"samples\[1\]: "):
        texts.encode(["a word", ""])
    assert not np.allclose(texts.encode(TEXTS, pool="first"), texts.encode(TEXTS), atol=1e-3)


def test_the_vectors_are_those_that_evaluation_scores(pictures: tuple[Path, FrozenEncoder]) -> None:
    folder, encoder = pictures
    found = encoder.encode_dataset(limit=20)
    built = omnimask.build(load_run(folder), initialise=False)
    load_checkpoint(built.model, choose_checkpoint(folder, "best"))
    (chunk,) = read_chunks(clean_pipeline(built, built.dataset), range(20), 10_000, {})
    expected = encode(built.model, chunk.batch, "mean", Precision("fp32", encoder._precision.device))
    assert found.keys == tuple(built.dataset.key(index) for index in range(20))
    np.testing.assert_array_equal(found.vectors, expected)


def test_pictures_are_arrays_bytes_or_files(pictures: tuple[Path, FrozenEncoder], tmp_path: Path) -> None:
    from PIL import Image

    _, encoder = pictures
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    file = tmp_path / "picture.png"
    Image.fromarray(pixels).save(file)
    of_file, of_bytes, of_field = encoder.encode([file, file.read_bytes(), {"image": file}])
    assert np.array_equal(of_file, of_bytes) and np.array_equal(of_file, of_field)
    array = encoder.encode([pixels[..., None]])[0]
    np.testing.assert_allclose(array, of_file, rtol=1e-4, atol=1e-5)


def test_other_data_and_unreadable_samples(pictures: tuple[Path, FrozenEncoder], tmp_path: Path) -> None:
    from PIL import Image

    _, encoder = pictures
    for name in ("a", "c"):
        Image.fromarray(np.full((8, 8), 50, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    found = encoder.encode_dataset([f"data={{name: image.folder, path: {tmp_path}}}"])
    assert [key.removesuffix(".png") for key in found.keys] == ["a", "c"] and len(found.vectors) == 2
    ((key, reason),) = found.left_out.items()
    assert key.startswith("b") and "image" in reason
    with pytest.raises(UserError, match=r"samples\[1\]: .*image"):
        encoder.encode([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(UserError, match="has no modality 'sound'"):
        encoder.encode([tmp_path / "a.png"], modality="sound")


def test_an_exported_folder_gives_the_same(pictures: tuple[Path, FrozenEncoder], tmp_path: Path) -> None:
    folder, encoder = pictures
    assert main(["export", str(folder), str(tmp_path / "out"), "--to", "safetensors"]) == 0
    again = omnimask.load_encoder(tmp_path / "out", device="cpu")
    assert np.array_equal(again.encode_dataset(limit=5).vectors, encoder.encode_dataset(limit=5).vectors)
    with pytest.raises(UserError, match=r"run directory .* does not exist"):
        load_encoder(tmp_path / "nothing")


def test_the_package_lists_its_functions() -> None:
    assert {"pretrain", "resume", "load_recipe", "load_encoder", "build", "Trainer"} <= set(dir(omnimask))
    assert "importlib" not in dir(omnimask) and "Any" not in dir(omnimask)
