"""Tensors that are shared out over ranks, in the files of ``torch.distributed.checkpoint`` (DCP): every rank writes what it holds,
and any number of ranks, or one process, reads it.

DCP describes its files in a pickle, ``.metadata``. It is read here with a list of the classes that it may name, and nothing else in
it is believed: entries are tensors, which lie in files of the same folder.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import metadata as described
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

DESCRIPTION = ".metadata"

Layout = Callable[[str, torch.Size, torch.dtype], Tensor]
"""Makes the tensor that one of this name, size and type is read into: whole, or a rank's share of it."""


class Refused(ValueError):
    """A description that cannot be trusted or understood."""


_CLASSES: Mapping[tuple[str, str], Any] = {
    **{
        (described.__name__, name): getattr(described, name)
        for name in (
            "Metadata",
            "TensorStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "MetadataIndex",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    },
    (_StorageInfo.__module__, "_StorageInfo"): _StorageInfo,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): {str(torch.strided): torch.strided}.__getitem__,
    **{(module, name): PurePosixPath for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")},
    **{("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = _CLASSES.get((module_name, global_name))
        if found is None:
            raise Refused(f"{DESCRIPTION} names {module_name}.{global_name}, which no description needs; it was not run")
        return found


class Reader(FileSystemReader):
    """Reads the files of a folder, without running anything that they name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """The description.

        Raises:
            Refused: it is damaged, or no description of tensors in files of this folder.
        """
        try:
            with (self.folder / DESCRIPTION).open("rb") as file:
                found = _Unpickler(file).load()
        except (OSError, Refused):
            raise
        except Exception as error:  # whatever a pickle can provoke
            raise Refused(f"{DESCRIPTION} is unreadable ({type(error).__name__}: {error})") from error
        _check(found)
        found.storage_meta = StorageMeta(load_id=self.load_id)
        return found


def _check(found: Any) -> None:
    """Raises :class:`Refused` unless it describes tensors in files beside it."""
    if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
        raise Refused(f"{DESCRIPTION} describes no tensors")
    for name, entry in found.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise Refused(f"{DESCRIPTION}: {name} is no tensor")
    for place in found.storage_data.values():
        if not isinstance(place, _StorageInfo) or place.relative_path != PurePosixPath(place.relative_path).name:
            raise Refused(f"{DESCRIPTION} points out of its folder")
        if place.transform_descriptors:
            raise Refused(f"{DESCRIPTION} asks for transformations {list(place.transform_descriptors)}")


def read(folder: Path, layout: Layout, prefix: str = "") -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names. No other process takes part.

    Raises:
        Refused: the description cannot be trusted.
        OSError: a file cannot be read.
    """
    reader = Reader(folder)
    entries = reader.read_metadata().state_dict_metadata
    wanted: dict[str, Any] = {
        name: layout(name.removeprefix(prefix), entry.size, entry.properties.dtype)
        for name, entry in entries.items()
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
    }
    if wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no other process takes part
            try:
                load(wanted, storage_reader=reader, no_dist=True)
            except CheckpointException as error:  # no Exception, by its class
                raise Refused(f"{folder} cannot be read: {error}") from error
    return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


def whole(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """The layout of a process that reads everything, on the host."""
    return torch.empty(size, dtype=dtype)


def write(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Writes what this rank holds, while all ranks of the group do the same.

    Raises:
        OSError: of any rank.
    """
    try:
        save(dict(tensors), storage_writer=FileSystemWriter(folder), process_group=group)
    except CheckpointException as error:  # no Exception, by its class
        cause = next((failure for failure, _ in error.failures.values() if isinstance(failure, OSError)), None)
        raise cause or OSError(str(error)) from error
