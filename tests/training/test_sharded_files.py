"""Tensors in the files of torch's distributed checkpoints: nothing that they name is run, and damage is told."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from omnimask.training.checkpoints.directory import Checkpoints, Damaged, verify
from omnimask.training.checkpoints.fsdp_files import DESCRIPTION, Refused, ShardedReader, read, whole

TENSORS = {
    "model/weight": torch.arange(12.0).reshape(3, 4),
    "model/half": torch.ones(5, dtype=torch.bfloat16),
    "model/flags": torch.tensor([True, False]),
    "optimizer/0/step": torch.tensor(7.0),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with pytest.warns(UserWarning, match="single process"):
        save(dict(TENSORS), storage_writer=FileSystemWriter(tmp_path / "shards"), no_dist=True)
    return tmp_path / "shards"


class Command:
    """Runs a command where a pickle is believed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_tensors_come_back_by_the_beginning_of_their_names(folder: Path) -> None:
    found = read(folder, whole, "model/")
    assert found.keys() == {"weight", "half", "flags"}
    assert all(
        torch.equal(found[name], TENSORS[f"model/{name}"]) and found[name].dtype == TENSORS[f"model/{name}"].dtype for name in found
    )
    assert read(folder, whole, "optimizer/") == {"0/step": torch.tensor(7.0)}
    assert read(folder, whole, "ema/") == {}


def test_a_description_that_runs_a_command_is_refused(folder: Path, tmp_path: Path) -> None:
    """The same file runs it with torch's own reader."""
    (folder / DESCRIPTION).write_bytes(pickle.dumps(Command(tmp_path / "touched")))
    with pytest.raises(Refused, match=r"names (posix|nt)\.system"):
        read(folder, whole)
    assert not (tmp_path / "touched").exists()
    pickle.loads((folder / DESCRIPTION).read_bytes())  # noqa: S301
    assert (tmp_path / "touched").exists()


def test_a_command_inside_a_true_description_is_refused(folder: Path, tmp_path: Path) -> None:
    described = pickle.loads((folder / DESCRIPTION).read_bytes())  # noqa: S301
    described.planner_data = Command(tmp_path / "touched")
    (folder / DESCRIPTION).write_bytes(pickle.dumps(described))
    with pytest.raises(Refused, match="system"):
        read(folder, whole)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("path", ["../other.distcp", "/etc/passwd", "sub/x.distcp"])
def test_files_of_other_folders_are_refused(folder: Path, path: str) -> None:
    described = pickle.loads((folder / DESCRIPTION).read_bytes())  # noqa: S301
    for place in described.storage_data.values():
        place.relative_path = path
    (folder / DESCRIPTION).write_bytes(pickle.dumps(described))
    with pytest.raises(Refused, match="refers to files outside its folder"):
        read(folder, whole)


def test_values_that_are_no_tensors_are_refused(folder: Path, tmp_path: Path) -> None:
    """DCP unpickles them without a list of its own."""
    with pytest.warns(UserWarning, match="single process"):
        save({"model/name": "text"}, storage_writer=FileSystemWriter(tmp_path / "other"), no_dist=True)
    with pytest.raises(Refused, match="BytesStorageMetadata"):
        read(tmp_path / "other", whole)
    described = pickle.loads((folder / DESCRIPTION).read_bytes())  # noqa: S301
    described.state_dict_metadata["model/name"] = described.storage_meta
    (folder / DESCRIPTION).write_bytes(pickle.dumps(described))
    with pytest.raises(Refused, match="model/name is not a tensor"):
        read(folder, whole)


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps({}), pickle.dumps([1, 2])])
def test_what_is_no_description_is_refused(folder: Path, data: bytes) -> None:
    (folder / DESCRIPTION).write_bytes(data)
    with pytest.raises(Refused):
        ShardedReader(folder).read_metadata()


def test_a_checkpoint_with_such_a_description_is_damaged_whatever_its_manifest_says(folder: Path, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        temporary = checkpoints.begin(step)
        (temporary / "shards").mkdir()
        for file in folder.iterdir():
            (temporary / "shards" / file.name).write_bytes(file.read_bytes())
        if step == 2:
            (temporary / "shards" / DESCRIPTION).write_bytes(pickle.dumps(Command(tmp_path / "touched")))
        checkpoints.commit(step, {}, cursor={}, versions={})
    assert "shards/__0_0.distcp" in verify(checkpoints.path(1)).files
    with pytest.raises(Damaged, match="system"):
        verify(checkpoints.path(2))
    assert checkpoints.newest() == checkpoints.path(1)
    assert not (tmp_path / "touched").exists()
