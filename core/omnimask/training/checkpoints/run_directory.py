"""Folder of one run: its layout, its description, and the lock against a second process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from omnimask.errors import UserError
from omnimask.messages.printable import printable
from omnimask.training.checkpoints import durable_files as files

_FOLDERS = ("checkpoints", "figures", "logs")
_PACKAGES = ("omnimask", "torch", "numpy", "safetensors")
_held: set[Path] = set()


class RunDirectory:
    """Paths of a run. Creating an instance doesn't touch the disk.

    Args:
        path: the folder, existing or not.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def check_new(self) -> None:
        """Raise ``UserError`` if the folder isn't empty, is a file, or its location is not writable.

        The remains of a process killed while it created the folder, before ``recipe.yaml``, don't count.
        """
        try:
            self._check_new()
            place = files.nearest_existing(self.path)
            with tempfile.TemporaryDirectory(dir=place, prefix=".omnimask-") as trial:
                Path(trial, self.path.absolute().relative_to(place.absolute())).mkdir(parents=True, exist_ok=True)
        except UserError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--run: {printable(str(self.path))} cannot be written: {reason}; choose another --run") from error

    def _check_new(self) -> None:
        if self.path.is_dir() and not all(map(self._is_remains, self.path.iterdir())):
            raise UserError(
                f"{self.path} exists and is not empty: continue that run with `omnimask resume {self.path}`, "
                "or choose another folder with --run"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; must be a folder")

    def create(self, recipe: str, plugins: Mapping[str, str] | None = None, about: Mapping[str, Any] | None = None) -> None:
        """Create the layout of a new run with ``environment.json``. ``recipe.yaml`` is written last and marks the folder as a run.

        Args:
            recipe: text of the resolved recipe.
            plugins: version of every distribution whose components are used, by name.
            about: further keys of ``environment.json``.

        Raises:
            UserError: the folder exists and is not empty.
            RunStopped: the folder cannot be written.
        """
        self.check_new()
        self.prepare()
        try:
            files.replace_json(self.environment, {**describe_environment(plugins or {}), **(about or {})})
            files.replace(self.recipe, recipe.encode())
        except OSError as error:
            raise files.stopped(error, self.path, self.path) from error

    def check_links(self) -> None:
        """Raise ``UserError`` if a file or folder of the run is a symbolic link to a path outside its folder."""
        home = self.path.resolve()
        names = (".lock", "environment.json", "history.jsonl", "metrics.jsonl", "recipe.yaml", "summary.json")
        for entry in (*(self.path / name for name in names), *(self.path / name for name in _FOLDERS)):
            below = entry.rglob("*") if entry.name in _FOLDERS and not entry.is_symlink() else ()
            for path in (entry, *below):
                if path.is_symlink() and not _leads_into(path, home):
                    raise UserError(
                        f"{path} is a symbolic link to {path.readlink()}, but a run only writes inside its own "
                        "folder: remove the link, or move the whole run folder"
                    )

    def _is_remains(self, entry: Path) -> bool:
        if entry.is_symlink():
            return False
        if entry.name in _FOLDERS:
            return entry.is_dir() and not any(entry.iterdir())
        return entry == self.environment or entry.suffix == ".tmp"

    def prepare(self) -> None:
        """Create the missing folders.

        Raises:
            UserError: a symbolic link in place of one points outside the run's folder.
            RunStopped: they cannot be created.
        """
        self.check_links()
        try:
            for name in _FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.stopped(error, self.path, self.path) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes and other trainers of this process. The system releases the lock on any death.

        Raises:
            UserError: another process or trainer holds the lock.
        """
        path = self.path.resolve() / ".lock"
        busy = UserError(f"another process is training in {self.path}; wait for it, or stop it")
        if path in _held:
            raise busy
        with files.writing(path, self.path):
            lock = files.open_own(path)
        with lock as file:
            try:
                # a record lock belongs to this process alone: loader workers that outlive it do not hold it
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise busy from error
            _held.add(path)
            try:
                yield
            finally:
                _held.discard(path)


def _leads_into(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a link to itself
        return False


def versions(plugins: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the versions relevant to a run's numbers: Python, the main packages, and the given plugins."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, **(plugins or {})}


def describe_environment(plugins: Mapping[str, str]) -> dict[str, Any]:
    """Return the contents of ``environment.json``: versions, machine, devices, and the command line."""
    return {
        "versions": versions(plugins),
        "plugins": dict(plugins),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "command": sys.argv,
    }
