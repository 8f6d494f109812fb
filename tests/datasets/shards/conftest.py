"""Tar files for tests: good ones, and every kind of bad one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from omnimask.interfaces import Context
from omnimask.registry.installed import GROUP, collect
from omnimask_datasets.shards.dataset import Shards

Content = Sequence[tuple[str, bytes]]


class Tars:
    """Writes tar files and reads them as shards."""

    @staticmethod
    def write(path: Path, members: Content, **options: Any) -> Path:
        """A tar file with members in this order; ``options`` are those of ``tarfile.open``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", **options) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    @staticmethod
    def samples(*numbers: int) -> list[tuple[str, bytes]]:
        """Members of samples: the number as text, and its remainder by 10 as label."""
        pairs = [((f"{n:04d}.txt", f"text {n}".encode()), (f"{n:04d}.cls", b"%d" % (n % 10))) for n in numbers]
        return [member for pair in pairs for member in pair]

    @staticmethod
    def with_member(path: Path, kind: bytes, name: str = "evil.txt", **attributes: Any) -> Path:
        """A tar file with a good sample, a member of a kind, and another good sample."""
        with tarfile.open(path, "w") as tar:
            for number in (1, 3):
                good = tarfile.TarInfo(f"{number:04d}.txt")
                good.size = 3
                tar.addfile(good, io.BytesIO(b"abc"))
                if number == 1:
                    info = tarfile.TarInfo(name)
                    info.type = kind
                    for attribute, value in attributes.items():
                        setattr(info, attribute, value)
                    tar.addfile(info, io.BytesIO(bytes(info.size)))
        return path

    @staticmethod
    def open(path: Path | None = None, **options: Any) -> Shards:
        """The data set as a recipe would build it."""
        return Shards(Context(), **({} if path is None else {"path": path}), **options)

    @staticmethod
    def content(dataset: Shards) -> dict[str, Mapping[str, Any]]:
        """All samples by key."""
        return {dataset.key(index): dataset[index] for index in range(len(dataset))}


class Toys:
    """The toy plugins and their recipes."""

    def __init__(self) -> None:
        names = ("toy_signal", "toy_grammar", "toy_pairs")
        toys = [EntryPoint(name=name, value=name, group=GROUP) for name in names]
        self.registry = collect([*entry_points(group=GROUP), *toys])

    @staticmethod
    def recipe(name: str) -> Path:
        return Path(__file__).parents[2] / "toys" / "recipes" / f"{name}.yaml"


@pytest.fixture(scope="session")
def toys() -> Toys:
    return Toys()


@pytest.fixture
def tars() -> type[Tars]:
    return Tars


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards with 12 samples."""
    for shard, numbers in enumerate((range(5), range(5, 6), range(6, 12))):
        Tars.write(tmp_path / "data" / f"s-{shard}.tar", Tars.samples(*numbers))
    return tmp_path / "data"
