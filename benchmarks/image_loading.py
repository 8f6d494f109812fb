"""CPU time of one loader worker for images of MAE: read, decode, random resized crop, flip, patches, mask, pack.

JPEG files of 500 x 375 pixels. The peers are a plain dataset of `torch.utils.data` with torchvision's transforms (v2), on Pillow's
images, as in the reference implementation of MAE, and on tensors, as torchvision recommends; and `webdataset`, which reads the same
files from a tar shard. They normalize to float32; omnimask's patches stay bytes until the embedding, so peers with bytes have
rows of their own. All of them draw the masks of MAE: a permutation of the patches for each image.
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from protocol import Comparison, Variant, compare
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2
from webdataset.compat import WebDataset

from omnimask.builder.build import Built, build
from omnimask.data.planner import Cursor
from omnimask.recipe import load_recipe

WIDTH, HEIGHT, SIDE, CELLS, VISIBLE = 500, 375, 224, 196, 49
BATCH, BATCHES = 32, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION, BY_TORCH = "modalities.image.decoder={name: image.torchvision}", "modalities.image.augment.0.resize=torch"
PEER = "Dataset, v2 on Pillow's images"


def write_images(folder: Path, count: int = BATCH * BATCHES) -> float:
    """Write blurred noise as JPEG files and return their mean size in bytes."""
    rng = np.random.default_rng(0)
    sizes: list[int] = []
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        noise.filter(ImageFilter.GaussianBlur(0.6)).save(folder / f"{number:04d}.jpg", quality=85)
        sizes.append((folder / f"{number:04d}.jpg").stat().st_size)
    return float(np.mean(sizes))


def own(folder: Path, *changes: str) -> Built:
    """Return the recipe ``image/mae`` on a folder. The network is small, for it is not used."""
    sizes = [f"train.batch_tokens={BATCH * CELLS}", f"train.micro_batch_tokens={BATCH * CELLS}"]
    small = ["encoder.depth=1", "predictors.0.depth=1", "data.validation=0", "train.steps=4", "train.schedule.warmup=0"]
    return build(load_recipe("image/mae", [f"data.path={folder}", *sizes, *small, *changes]))


def batches_of(built: Built) -> Callable[[], None]:
    """Return a function that loads some batches in this process."""
    planner, cursor = built.planner(), Cursor()
    places: list[Any] = []
    for step in range(BATCHES):
        plan = planner.step(step, cursor)
        places += plan.micro_batches
        cursor = plan.after

    def load() -> None:
        for each in places:
            batch = built.pipeline(each).batch
            assert batch is not None and batch.num_samples == BATCH

    return load


class Files(Dataset[torch.Tensor]):
    """Files of a folder, as most programs read them."""

    def __init__(self, folder: Path, decode: Callable[[bytes], Any], transform: Callable[[Any], torch.Tensor]) -> None:
        self.paths, self.decode, self.transform = sorted(folder.glob("*.jpg")), decode, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.decode(self.paths[index].read_bytes()))


def from_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def from_torchvision(data: bytes) -> torch.Tensor:
    pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    assert isinstance(pixels, torch.Tensor)
    return pixels


def transforms(*, has_floats: bool) -> v2.Compose:
    """Return MAE's augmentation, on Pillow's images or tensors."""
    crop = v2.RandomResizedCrop(SIDE, scale=(0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ToImage(), *(floats if has_floats else [])])


def masked(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return images with the visible patches, the order that restores them, and the masks, as in MAE."""
    order = torch.rand(len(images), CELLS).argsort(1)
    restore = order.argsort(1)
    is_hidden = torch.ones(len(images), CELLS)
    is_hidden[:, :VISIBLE] = 0
    return images, order[:, :VISIBLE], restore, is_hidden.gather(1, restore)


def files_loader(folder: Path, decode: Callable[[bytes], Any], *, has_floats: bool) -> Callable[[], None]:
    """Return a function that loads some batches with `torch.utils.data`."""
    dataset = Files(folder, decode, transforms(has_floats=has_floats))
    loader = DataLoader(dataset, batch_sampler=BatchSampler(RandomSampler(dataset), BATCH, drop_last=True))
    return lambda: [masked(images) for images in loader].clear()


def shard_loader(folder: Path, shard: Path, *, has_floats: bool) -> Callable[[], None]:
    """Return a function that loads some batches from a tar shard with `webdataset`."""
    with tarfile.open(shard, "w") as tar:
        for path in sorted(folder.glob("*.jpg")):
            tar.add(path, path.name)
    transform = transforms(has_floats=has_floats)
    pipeline: Any = WebDataset(str(shard), shardshuffle=False).decode("pilrgb").to_tuple("jpg")
    loader: Any = pipeline.map_tuple(transform).batched(BATCH)
    return lambda: [masked(images) for (images,) in loader].clear()


def run(rounds: int = 9) -> Comparison:
    """Compare the variants on files in the page cache."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        size = write_images(folder)
        variants = [
            Variant(PEER, files_loader(folder, from_pillow, has_floats=True)),
            Variant("Dataset, v2 on tensors", files_loader(folder, from_torchvision, has_floats=True)),
            Variant("Dataset, v2 on tensors, with bytes", files_loader(folder, from_torchvision, has_floats=False)),
            Variant("webdataset, v2 on Pillow's images", shard_loader(folder, Path(temporary) / "0.tar", has_floats=True)),
            Variant("omnimask, image.pillow", batches_of(own(folder))),
            Variant("omnimask, image.torchvision", batches_of(own(folder, TORCHVISION))),
            Variant("omnimask, image.torchvision, resize: torch", batches_of(own(folder, TORCHVISION, BY_TORCH))),
        ]
        inputs = {
            "images": f"{BATCH * BATCHES} JPEG files of {WIDTH} x {HEIGHT} pixels and {size / 1e3:.0f} kB, blurred noise",
            "batch": f"{BATCH} images, crops of {SIDE} x {SIDE} of 20 to 100 % of the area, flips, 75 % of the patches hidden",
        }
        found = compare("Images of one loader worker", variants, inputs=inputs, baseline=PEER, rounds=rounds)
    return dataclasses.replace(found, notes=_rates(found))


def _rates(found: Comparison) -> Sequence[str]:
    return [f"{row.name}: {BATCH * BATCHES / row.seconds:.0f} images per core-second" for row in found.rows]


def tables() -> dict[str, Callable[[], Comparison]]:
    """Return every comparison by the name of its result file."""
    return {"image_loading": run}
