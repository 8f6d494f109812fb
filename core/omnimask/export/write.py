"""Export of a run's model in the format of another program: either complete and compared with the original, or absent."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from omnimask.builder.build import build
from omnimask.component import Component
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import Context, Exported, Exporter, Trained
from omnimask.messages.hints import listed, nearest
from omnimask.registry import Registry, discover
from omnimask.run.figures import held_out_samples
from omnimask.run.trained_run import load_checkpoint, open_trained
from omnimask.training.checkpoints import durable_files as files

logger = logging.getLogger(__name__)

NUM_SAMPLES = 4
"""Held-out samples for comparing the outputs of both models."""


@dataclass(frozen=True)
class Written:
    """Exported model: its folder, exporter and checkpoint, and the measured difference."""

    path: Path
    exporter: str
    checkpoint: str
    measured: Exported
    tolerance: float

    def __str__(self) -> str:
        measured = self.measured
        equality = "equal bit for bit"
        if measured.difference:
            equality = f"at most {measured.difference:.2g} apart (the largest is {measured.scale:.3g})"
        return f"{self.path}: {self.checkpoint}, written by {self.exporter} and read back; {measured.outputs} are {equality}"


def export_run(
    run: Path,
    format: str,
    out: Path,
    *,
    checkpoint: str = "best",
    changes: Sequence[str] = (),
    registry: Registry | None = None,
) -> Written:
    """Export a run's model with the first installed exporter of a format that accepts it. Equivalent to ``omnimask export``.

    Args:
        run: the run's folder.
        format: name of the format: ``transformers``, ``safetensors``.
        out: the folder to write. It must not exist; its parent must.
        checkpoint: ``best``, ``last`` or the name of one.
        changes: ``key=value`` changes of the run's recipe, if its data have moved.
        registry: source of the exporters; default: the installed ones.

    Raises:
        UserError: the run, checkpoint or format is missing, ``out`` exists, or every exporter refuses the model, with their
        reasons.
        RunStopped: a file cannot be written, or the export differs from the model; nothing is left of it.
    """
    _check_output(out)
    exporters = _exporters(format, registry or discover())
    trained, chosen = _trained(run, checkpoint, changes)
    reasons: list[str] = []
    for name, component in exporters:
        try:
            measured, tolerance = _write(component, trained, out)
        except ValueError as error:
            reasons.append(f"{name}: {error}")
            continue
        return Written(out, name, chosen.name, measured, tolerance)
    raise UserError(f"this model cannot be written for {format}", *reasons)


def _check_output(out: Path) -> None:
    """Raise ``UserError`` before anything is loaded, which may take a while."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists; choose another folder")
    if not out.absolute().parent.is_dir():
        raise UserError(f"folder {out.parent} of {out.name} does not exist")


def _exporters(format: str, registry: Registry) -> list[tuple[str, Component[Exporter]]]:
    """Return the exporters of a format by name. Unloadable ones matter only without others."""
    found: list[tuple[str, Component[Exporter]]] = []
    formats: set[str] = set()
    failures: list[str] = []
    for name in registry.names("exporter"):
        try:
            cls: type[Exporter] = registry.load("exporter", name)
        except UserError as error:
            failures += error.messages
            continue
        formats.add(cls.format)
        if cls.format == format:
            found.append((name, Component("exporter", name, cls=cls)))
    if not found:
        known = f"--to: unknown format {format!r}{nearest(format, sorted(formats))}; formats: {listed(sorted(formats))}"
        raise UserError(known, *failures)
    return found


def _trained(run: Path, checkpoint: str, changes: Sequence[str]) -> tuple[Trained, Path]:
    """Return the model of a checkpoint, and the checkpoint."""
    recipe, chosen = open_trained(run, checkpoint, changes)
    built = build(recipe, initialise=False)
    load_checkpoint(built.model, chosen)
    batch = built.validation.pack(held_out_samples(built, NUM_SAMPLES))
    return Trained(built.model.eval(), built.tokenizers, built.specs, recipe.to_yaml(), batch), chosen


def _write(component: Component[Exporter], trained: Trained, out: Path) -> tuple[Exported, float]:
    """Write and compare in a folder beside ``out``, then rename it."""
    specs = trained.specs
    exporter = component(Context(specs=specs, modalities=tuple(specs)))
    try:
        with _beside(out) as folder:
            measured = exporter(trained, folder)
            if not measured.difference <= exporter.tolerance * measured.scale:
                raise RunStopped(_another_model(component.name, measured, exporter.tolerance))
            _make_last(folder)
            _check_output(out)
            files.rename(folder, out)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        free = f"{shutil.disk_usage(files.nearest_existing(out)).free / 1e6:,.1f} MB free there"
        raise RunStopped(f"cannot write {out}: {reason} ({free}); the partial export was removed") from error
    return measured, exporter.tolerance


def _another_model(name: str, measured: Exported, tolerance: float) -> str:
    return (
        f"exporter {name}: after reading back, {measured.outputs} differ by {measured.difference:.3g}; at most "
        f"{tolerance * measured.scale:.3g} is allowed ({tolerance:g} of the largest, {measured.scale:.3g}); nothing was written"
    )


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """Yield a new folder on the same disk. It is removed at the end, unless it was renamed."""
    folder = out.with_name(f"{out.name}.partial-{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_last(folder: Path) -> None:
    """Sync everything below. Give files the folder's read permissions, since some libraries restrict them to their owner."""
    readers = folder.stat().st_mode & 0o666
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            files.sync_directory(path)
            continue
        path.chmod(readers)
        with path.open("rb") as file:
            os.fsync(file.fileno())
