"""Survey of a folder of pictures: number, sizes, colors, and unreadable files."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import median_low

import numpy as np

from omnimask.interfaces import Context
from omnimask.suggest import describe_unreadable
from omnimask_image.data.files import ImageFolder
from omnimask_image.decode.pillow_decoder import PillowDecoder

SAMPLE = 200
"""Maximum number of files to open."""
MOST_PIXELS = 10**9
"""Maximum number of pixels to read, about ten seconds of decoding. No further files are opened beyond it."""


@dataclass(frozen=True)
class Survey:
    """Content of a folder of pictures.

    Attributes:
        endings: number of files by ending.
        labels: number of files by label.
        sizes: (height, width) in pixels of the files that were read.
        num_grey: how many of these have three equal channels.
        unreadable: pairs of name and reason.
        left_out: describes files with other endings.
        splits: the first sub-folders if they are train, val, test or similar.
    """

    endings: Counter[str]
    labels: Counter[str]
    sizes: tuple[tuple[int, int], ...]
    num_grey: int
    unreadable: tuple[tuple[str, str], ...]
    left_out: str = "none"
    splits: tuple[str, ...] = ()

    @property
    def num_files(self) -> int:
        return sum(self.endings.values())

    @property
    def num_looked_at(self) -> int:
        return len(self.sizes) + len(self.unreadable)

    @property
    def short_side(self) -> int:
        """Median of the shorter sides, in pixels."""
        return median_low(min(size) for size in self.sizes)

    @property
    def smallest_side(self) -> int:
        return min(min(size) for size in self.sizes)

    @property
    def is_grey(self) -> bool:
        """Whether all files that were read lack color."""
        return self.num_grey == len(self.sizes)

    def summary(self) -> dict[str, str]:
        """Return the survey as text by name, for users to check."""
        by_area = sorted(self.sizes, key=lambda size: size[0] * size[1])
        middle = tuple(median_low(sides) for sides in zip(*self.sizes, strict=True))
        return {
            "files": f"{self.num_files:,}: " + ", ".join(f"{number:,} {ending}" for ending, number in self.endings.most_common()),
            "looked at": f"{self.num_looked_at:,}",
            "height x width": f"median {_pixels(middle)}, smallest {_pixels(by_area[0])}, largest {_pixels(by_area[-1])}",
            "greyscale": f"{self.num_grey / len(self.sizes):.0%}",
            "left out": self.left_out,
            **(
                {"splits": (f"{', '.join(self.splits)}: all of them are used for training; give the folder of one instead")}
                if self.splits
                else {}
            ),
            "labels": _counted(self.labels, 5) if self.labels else "none: no sub-folders",
            "unreadable": describe_unreadable(self.unreadable, self.num_looked_at),
        }


def survey(folder: Path) -> Survey | None:
    """Survey a folder's pictures; None if it holds none.

    Raises:
        ValueError: none of the inspected files can be read.
    """
    try:
        dataset = ImageFolder(Context(), path=folder)
    except ValueError:
        return None
    sizes: list[tuple[int, int]] = []
    num_grey = 0
    unreadable: list[tuple[str, str]] = []
    decode = PillowDecoder(Context())
    for index in random.Random(0).sample(range(len(dataset)), min(SAMPLE, len(dataset))):
        if sum(height * width for height, width in sizes) > MOST_PIXELS:
            break
        try:
            pixels = decode(dataset[index]["image"])
        except (OSError, ValueError) as error:
            unreadable.append((dataset.key(index), str(error)))
            continue
        sizes.append(pixels.shape[:2])
        num_grey += bool(np.all(pixels == pixels[:, :, :1]))
    if not sizes:
        name, reason = unreadable[0]
        raise ValueError(f"{len(dataset):,} files look like images, but none of {len(unreadable)} is readable: {name}: {reason}")
    endings = Counter(PurePosixPath(name).suffix.lower() for name in dataset.names)
    labels = Counter(label for name in dataset.names if (label := dataset.labels(name)) is not None)
    return Survey(endings, labels, tuple(sizes), num_grey, tuple(unreadable), dataset.left_out, dataset.labels.splits)


def _pixels(size: tuple[int, ...]) -> str:
    return f"{size[0]} x {size[1]}"


def _counted(counter: Counter[str], most: int) -> str:
    shown = ", ".join(f"{name} {number:,}" for name, number in counter.most_common(most))
    return f"{len(counter)} from sub-folders: {shown}" + (", ..." if len(counter) > most else "")
