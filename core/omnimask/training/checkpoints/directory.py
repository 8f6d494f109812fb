"""Checkpoints on disk: ``checkpoints/step-00001000/``, each either complete or absent.

A checkpoint is written to a temporary folder, file by file, with syncs. ``manifest.json`` is written last; it contains the sizes
and digests of the other files and its own digest. A single rename then publishes the folder. A folder without a valid manifest is
not a checkpoint. Digests guard against damage, not against malice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnimask.errors import RunStopped, UserError
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.durable_files import DurableWriter, FileRecord

logger = logging.getLogger(__name__)

FORMAT = 2
_READ = (1, FORMAT)
"""Formats that this version reads. In format 1, weights had the names of passes; see
:mod:`omnimask.training.checkpoints.old_names`."""
MANIFEST = "manifest.json"
BEST = "best.json"
SHARDS = "shards"
"""Folder of the sharded tensors in a checkpoint."""

_NAME = re.compile(r"step-(\d{8,})")

Writers = Mapping[str, Callable[[DurableWriter], None]]


class Damaged(ValueError):
    """Incomplete or modified checkpoint. The message gives the reason."""


@dataclasses.dataclass(frozen=True)
class CheckpointManifest:
    """Contents of ``manifest.json``: step, loader cursor, files, and versions of the packages used."""

    step: int
    cursor: Mapping[str, int]
    files: Mapping[str, FileRecord]
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """Return the manifest as JSON with its own digest."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps({**content, "sha256": _digest(content)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CheckpointManifest:
        """Parse a manifest. Raise :class:`Damaged`, or ``UserError`` for an unsupported format."""
        try:
            content = json.loads(text)
            digest = content.pop("sha256")
        except (ValueError, KeyError, AttributeError) as error:
            raise Damaged(f"{MANIFEST} is unreadable ({error})") from error
        if digest != _digest(content):
            raise Damaged(f"{MANIFEST} was changed")
        if content["format"] not in _READ:
            raise UserError(f"checkpoint format {content['format']} is not supported; this version reads {FORMAT}: update omnimask")
        records = {name: FileRecord(**record) for name, record in content["files"].items()}
        return cls(content["step"], content["cursor"], records, content["versions"])


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(path: Path) -> CheckpointManifest:
    """Read every file of a checkpoint and compare it with the manifest.

    Raises:
        Damaged: a file is missing or differs.
    """
    try:
        manifest = CheckpointManifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{MANIFEST} is missing or unreadable ({error})") from error
    if path.name != step_name(manifest.step) and _NAME.fullmatch(path.name):
        raise Damaged(f"{MANIFEST} is for step {manifest.step}")
    for name, expected in manifest.files.items():
        try:
            found = files.hash_file(path / name)
        except OSError as error:
            raise Damaged(f"{name} is missing or unreadable ({error})") from error
        if found != expected:
            raise Damaged(
                f"{name} has {found.size} of {expected.size} bytes" if found.size != expected.size else f"{name} was changed"
            )
    if (path / SHARDS).is_dir():
        _check_shards(path / SHARDS)
    return manifest


def _check_shards(folder: Path) -> None:
    from omnimask.training.checkpoints.fsdp_files import Refused, ShardedReader

    try:
        ShardedReader(folder).read_metadata()
    except (OSError, Refused) as error:
        raise Damaged(f"{SHARDS}: {error}") from error


def step_name(step: int) -> str:
    """Return the name of the directory of a step."""
    return f"step-{step:08d}"


class Checkpoints:
    """Checkpoints of one run.

    Args:
        directory: the run's ``checkpoints/``.
        keep: number of newest checkpoints to keep, in addition to the best.
        notes: contents by file name of extra files in every checkpoint.
    """

    def __init__(self, directory: Path, keep: int = 2, notes: Mapping[str, bytes] | None = None) -> None:
        self.directory = directory
        self.keep = keep
        self.notes = dict(notes or {})

    def paths(self) -> list[Path]:
        """Return the directories of published checkpoints, oldest first, intact or not."""
        if not self.directory.is_dir():
            return []
        found = [path for path in self.directory.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of a step, whether or not it exists."""
        return self.directory / step_name(step)

    def newest(self) -> Path | None:
        """Return the newest intact checkpoint after verifying it. Log a warning for every damaged one on the way.

        Raises:
            RunStopped: all existing checkpoints are damaged.
        """
        reasons: list[str] = []
        for path in reversed(self.paths()):
            try:
                verify(path)
            except Damaged as reason:
                reasons.append(f"{path}: {reason}")
                logger.warning("damaged checkpoint ignored: %s: %s", path, reason)
            else:
                return path
        if reasons:
            raise RunStopped("no intact checkpoint:\n" + "\n".join(reasons))
        return None

    def best(self) -> Path | None:
        """Return the checkpoint with the smallest validation loss, or None if there is none."""
        try:
            name = json.loads((self.directory / BEST).read_text(encoding="utf-8"))["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        path = self.directory / str(name)
        return path if _NAME.fullmatch(path.name) and path.is_dir() else None

    def save(self, step: int, writers: Writers, *, cursor: Mapping[str, int], versions: Mapping[str, str]) -> Path:
        """Write and publish a checkpoint. On failure (``OSError``), remove all of its files."""
        self.begin(step)
        return self.commit(step, writers, cursor=cursor, versions=versions)

    def begin(self, step: int) -> Path:
        """Create an empty temporary folder for the files of a step, next to its final path."""
        temporary = self._temporary(step)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def commit(self, step: int, writers: Writers, *, cursor: Mapping[str, int], versions: Mapping[str, str]) -> Path:
        """Write the remaining files to the folder of a step and publish it."""
        path, temporary = self.path(step), self._temporary(step)
        try:
            records = {str(file.relative_to(temporary)): files.hash_file(file) for file in sorted(temporary.glob("*/*"))}
            records |= {name: _write_file(temporary / name, write) for name, write in {**writers, **self._notes()}.items()}
            manifest = CheckpointManifest(step, dict(cursor), records, dict(versions))
            _write_file(temporary / MANIFEST, lambda file: file.write(manifest.to_json().encode()))
            for folder in (*(entry for entry in temporary.iterdir() if entry.is_dir()), temporary):
                files.sync_directory(folder)
            self._publish(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return path

    def _notes(self) -> Writers:
        return {name: lambda file, data=data: file.write(data) for name, data in self.notes.items()}  # pyright: ignore[reportReturnType]

    def _temporary(self, step: int) -> Path:
        return self.path(step).with_name(step_name(step) + ".tmp")

    def _publish(self, temporary: Path, path: Path) -> None:
        """Publish with one rename, after moving aside an older folder of the same step (damaged or repeated)."""
        old = _aside(path) if path.exists() else None
        files.rename(temporary, path)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def mark_best(self, path: Path, validation_loss: float) -> None:
        """Write ``best.json`` with the name of a checkpoint."""
        step = int(path.name.removeprefix("step-"))
        files.replace_json(self.directory / BEST, {"checkpoint": path.name, "step": step, "validation_loss": validation_loss})

    def forget_best(self) -> None:
        """Remove ``best.json``."""
        (self.directory / BEST).unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove all but the newest ``keep`` checkpoints and the best. Each is renamed first, so none is ever seen half removed."""
        best = self.best()
        for path in self.paths()[: -self.keep]:
            if path != best:
                shutil.rmtree(_aside(path), ignore_errors=True)

    def clean(self) -> None:
        """Remove the remains of an interrupted save."""
        for path in sorted(self.directory.glob("*.tmp")):
            logger.info("half-written checkpoint removed: %s", path)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def set_aside(self, step: int, attempt: int) -> None:
        """Rename the checkpoints after ``step``, so none is mistaken for a checkpoint of this attempt."""
        for path in self.paths():
            if int(path.name.removeprefix("step-")) > step:
                target = path.with_name(f"{path.name}.before-attempt-{attempt}")
                logger.warning("resuming from step %d; %s was renamed to %s", step, path.name, target.name)
                files.rename(path, target)


def _aside(path: Path) -> Path:
    """Rename a checkpoint to a temporary name and return it; :meth:`Checkpoints.clean` removes such folders."""
    old = path.with_name(path.name + ".old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    files.rename(path, old)
    return old


def _write_file(path: Path, write: Callable[[DurableWriter], Any]) -> FileRecord:
    with DurableWriter(path) as file:
        write(file)
    return file.record
