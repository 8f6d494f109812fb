"""Checkpoints on disk: ``checkpoints/step-00001000/``, each complete or absent.

A checkpoint is written beside its final place, file by file, synced; ``manifest.json`` comes last and holds sizes and digests of
the others and of itself; then one rename publishes all. What has no valid manifest is no checkpoint. Digests guard against
damage, not malice.
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

FORMAT = 1
MANIFEST = "manifest.json"
BEST = "best.json"
SHARDS = "shards"
"""Folder in a checkpoint whose tensors were shared out over ranks."""

_NAME = re.compile(r"step-(\d{8,})")

Writers = Mapping[str, Callable[[DurableWriter], None]]


class Damaged(ValueError):
    """A checkpoint that is incomplete or was changed; the message says how."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says: the step, the loader's cursor, the files, and the versions of the packages that wrote them."""

    step: int
    cursor: Mapping[str, int]
    files: Mapping[str, FileRecord]
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """JSON that carries its own digest."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps({**content, "sha256": _digest(content)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises :class:`Damaged`, or ``UserError`` for a format that this version does not know."""
        try:
            content = json.loads(text)
            digest = content.pop("sha256")
        except (ValueError, KeyError, AttributeError) as error:
            raise Damaged(f"{MANIFEST} is unreadable ({error})") from error
        if digest != _digest(content):
            raise Damaged(f"{MANIFEST} was changed")
        if content["format"] != FORMAT:
            raise UserError(f"checkpoint format {content['format']} is unknown; this version reads {FORMAT}: update omnimask")
        records = {name: FileRecord(**record) for name, record in content["files"].items()}
        return cls(content["step"], content["cursor"], records, content["versions"])


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(path: Path) -> Manifest:
    """Reads every file of a checkpoint and compares it with the manifest.

    Raises:
        Damaged: something is missing or differs.
    """
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{MANIFEST} is missing or unreadable ({error})") from error
    if path.name != step_name(manifest.step) and _NAME.fullmatch(path.name):
        raise Damaged(f"{MANIFEST} is of step {manifest.step}")
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
    from omnimask.training.checkpoints.fsdp_files import Reader, Refused

    try:
        Reader(folder).read_metadata()
    except (OSError, Refused) as error:
        raise Damaged(f"{SHARDS}: {error}") from error


def step_name(step: int) -> str:
    """Name of the directory of a step."""
    return f"step-{step:08d}"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: the run's ``checkpoints/``.
        keep: how many of the newest stay, beside the best.
        notes: contents by name of files that every checkpoint carries beside its state.
    """

    def __init__(self, directory: Path, keep: int = 2, notes: Mapping[str, bytes] | None = None) -> None:
        self.directory = directory
        self.keep = keep
        self.notes = dict(notes or {})

    def paths(self) -> list[Path]:
        """Directories of published checkpoints, oldest first, intact or not."""
        if not self.directory.is_dir():
            return []
        found = [path for path in self.directory.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies, or would."""
        return self.directory / step_name(step)

    def newest(self) -> Path | None:
        """The newest intact checkpoint, verified; a warning names every damaged one that was passed over.

        Raises:
            RunStopped: there are checkpoints, and all are damaged.
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
            raise RunStopped("no checkpoint of the run is intact:\n" + "\n".join(reasons))
        return None

    def best(self) -> Path | None:
        """The checkpoint with the smallest validation loss, None if there is none."""
        try:
            name = json.loads((self.directory / BEST).read_text(encoding="utf-8"))["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        path = self.directory / str(name)
        return path if _NAME.fullmatch(path.name) and path.is_dir() else None

    def save(self, step: int, writers: Writers, *, cursor: Mapping[str, int], versions: Mapping[str, str]) -> Path:
        """Writes and publishes one checkpoint; nothing of it remains when that fails (``OSError``)."""
        self.begin(step)
        return self.commit(step, writers, cursor=cursor, versions=versions)

    def begin(self, step: int) -> Path:
        """An empty folder for a step's files, beside its final place."""
        temporary = self._temporary(step)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        return temporary

    def commit(self, step: int, writers: Writers, *, cursor: Mapping[str, int], versions: Mapping[str, str]) -> Path:
        """Writes more files beside those that are in the step's folder, and publishes all."""
        path, temporary = self.path(step), self._temporary(step)
        try:
            records = {str(file.relative_to(temporary)): files.hash_file(file) for file in sorted(temporary.glob("*/*"))}
            records |= {name: _write_file(temporary / name, write) for name, write in {**writers, **self._notes()}.items()}
            manifest = Manifest(step, dict(cursor), records, dict(versions))
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
        """One rename; what holds the place already is of this step too (damaged, or a repetition) and gives way first."""
        old = _aside(path) if path.exists() else None
        files.rename(temporary, path)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def mark_best(self, path: Path, validation_loss: float) -> None:
        """Points ``best.json`` at a checkpoint."""
        step = int(path.name.removeprefix("step-"))
        files.replace_json(self.directory / BEST, {"checkpoint": path.name, "step": step, "validation_loss": validation_loss})

    def forget_best(self) -> None:
        """Removes the pointer to the best checkpoint."""
        (self.directory / BEST).unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove all but the newest ``keep`` and the best. None is ever seen half removed."""
        best = self.best()
        for path in self.paths()[: -self.keep]:
            if path != best:
                shutil.rmtree(_aside(path), ignore_errors=True)

    def clean(self) -> None:
        """Removes what an interrupted save left behind."""
        for path in sorted(self.directory.glob("*.tmp")):
            logger.info("half-written checkpoint removed: %s", path)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def set_aside(self, step: int, attempt: int) -> None:
        """Renames the checkpoints after ``step``, from which this attempt does not continue, so that none is taken for its own."""
        for path in self.paths():
            if int(path.name.removeprefix("step-")) > step:
                target = path.with_name(f"{path.name}.before-attempt-{attempt}")
                logger.warning("the run continues from step %d; %s is set aside as %s", step, path.name, target.name)
                files.rename(path, target)


def _aside(path: Path) -> Path:
    """Rename a checkpoint to a name under which it is none, and return that; :meth:`Checkpoints.clean` removes such ones too."""
    old = path.with_name(path.name + ".old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    files.rename(path, old)
    return old


def _write_file(path: Path, write: Callable[[DurableWriter], Any]) -> FileRecord:
    with DurableWriter(path) as file:
        write(file)
    return file.record
