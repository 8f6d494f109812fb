"""Sharded tensors in the files of ``torch.distributed.checkpoint`` (DCP).

Every rank writes its own shards; any number of ranks, or a single process, can read them.

DCP describes its files in a pickle, ``.metadata``. It is unpickled with an allowlist of classes. Its contents are then checked:
entries must be tensors in files of the same folder.
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
"""Allocates the tensor to load into from name, size and dtype: full, or this rank's shard."""


class Refused(ValueError):
    """Untrusted or unsupported description."""


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
            raise Refused(f"{DESCRIPTION} names {module_name}.{global_name}, which is not allowed; it was not run")
        return found


class ShardedReader(FileSystemReader):
    """Reader of the files of a folder that never executes code named in them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """Return the description.

        Raises:
            Refused: it is damaged, or doesn't describe tensors in files of this folder.
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
    """Raise :class:`Refused` unless the object describes tensors in files of the same folder."""
    if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
        raise Refused(f"{DESCRIPTION} describes no tensors")
    for name, entry in found.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise Refused(f"{DESCRIPTION}: {name} is not a tensor")
    for place in found.storage_data.values():
        if not isinstance(place, _StorageInfo) or place.relative_path != PurePosixPath(place.relative_path).name:
            raise Refused(f"{DESCRIPTION} refers to files outside its folder")
        if place.transform_descriptors:
            raise Refused(f"{DESCRIPTION} requires transformations {list(place.transform_descriptors)}")


def read(folder: Path, layout: Layout, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors whose names begin with ``prefix``, without other processes. Keys are the rest of the names.

    Raises:
        Refused: the description is untrusted.
        OSError: a file cannot be read.
    """
    reader = ShardedReader(folder)
    entries = reader.read_metadata().state_dict_metadata
    wanted: dict[str, Any] = {
        name: layout(name.removeprefix(prefix), entry.size, entry.properties.dtype)
        for name, entry in entries.items()
        if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
    }
    if wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warning about a missing process group
            try:
                load(wanted, storage_reader=reader, no_dist=True)
            except CheckpointException as error:  # no Exception, by its class
                raise Refused(f"{folder} cannot be read: {error}") from error
    return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


def whole(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """Allocate the full tensor on the host, for a process reading everything."""
    return torch.empty(size, dtype=dtype)


def write(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Write this rank's shards. All ranks of the group must call it.

    Raises:
        OSError: on any rank.
    """
    try:
        save(dict(tensors), storage_writer=FileSystemWriter(folder), process_group=group)
    except CheckpointException as error:  # no Exception, by its class
        cause = next((failure for failure, _ in error.failures.values() if isinstance(failure, OSError)), None)
        raise cause or OSError(str(error)) from error
