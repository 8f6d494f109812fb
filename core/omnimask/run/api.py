"""Functions equivalent to the commands, for notebooks and scripts."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimask.errors import Interrupted
from omnimask.recipe import Recipe, load_recipe
from omnimask.run.finish import FIGURE, draw, finish
from omnimask.run.prepare import PreparedRun, start
from omnimask.run.resume import is_finished, reopen
from omnimask.training.devices.ranks import joined

if TYPE_CHECKING:
    from omnimask.run.tokenize import Tokenized

logger = logging.getLogger(__name__)

_MIME = {".png": "image/png", ".svg": "image/svg+xml", ".html": "text/html"}


@dataclass(frozen=True)
class Finished:
    """Finished run: its folder, the contents of its ``summary.json``, and its figures. A notebook shows the first figure."""

    path: Path
    summary: Mapping[str, Any]
    figures: tuple[Path, ...]

    def __repr__(self) -> str:
        parts = [f"{self.summary['status']} at step {self.summary['step']}"]
        parts += [f"{name.replace('_', ' ')} {self.summary[name]:.4f}" for name in _LOSSES if self.summary.get(name) is not None]
        return f"{self.path}: {', '.join(parts)}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the IPython representation: the first displayable figure, and text."""
        bundle = {"text/plain": repr(self)}
        for figure in self.figures:
            kind = _MIME.get(figure.suffix)
            if kind is not None:
                data = figure.read_bytes()
                return {**bundle, kind: base64.b64encode(data).decode() if kind == "image/png" else data.decode("utf-8")}
        return bundle


_LOSSES = ("loss", "best_validation_loss")


def pretrain(recipe: str | Path | Recipe, run: str | Path, changes: Sequence[str] = (), *, show: bool = True) -> Finished:
    """Train a recipe from the start; equivalent to ``omnimask pretrain``.

    Processes started by ``torchrun`` train together. Interrupting the cell (or Ctrl-C) ends the run after a checkpoint;
    :func:`resume` continues it.

    Args:
        recipe: a file, a shipped recipe (``image/mae``), a modality for its quick start, or a loaded recipe.
        run: the run's folder, which must be missing or empty.
        changes: ``key=value`` (``["train.steps=100"]``); for a loaded recipe, apply them when loading it.
        show: whether progress is shown.

    Raises:
        UserError: the input is invalid; nothing was written.
        RunStopped: data, numbers, memory or the disk end the run; its last checkpoint is intact.
        Interrupted: a signal ended it, after a checkpoint.
    """
    loaded = _loaded(recipe, changes)
    with joined():
        return _finish(start(loaded, Path(run), show=show))


def _loaded(recipe: str | Path | Recipe, changes: Sequence[str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, changes)
    if changes:
        raise TypeError("changes need a recipe name; for a Recipe use load_recipe(name, changes)")
    return recipe


def tokenize(
    recipe: str | Path | Recipe, path: str | Path, changes: Sequence[str] = (), *, part: tuple[int, int] = (1, 1)
) -> Tokenized:
    """Make the tokens of a recipe's data once, for training on them; equivalent to ``omnimask tokenize``.

    Repeating an interrupted call continues it.

    Args:
        recipe, changes: as in :func:`pretrain`.
        path: folder of the store, for ``data.name=tokens``.
        part: (I, N) for the I-th of N parts, counted from 1.

    Raises:
        UserError: the recipe's tokens cannot be stored, or the folder has other contents.
        RunStopped: the folder cannot be written, or a worker process died.
    """
    from omnimask.run.tokenize import tokenize

    return tokenize(_loaded(recipe, changes), Path(path), part)


def resume(run: str | Path, changes: Sequence[str] = (), *, accept_changes: Sequence[str] = (), show: bool = True) -> Finished:
    """Continue a run exactly from its newest checkpoint; equivalent to ``omnimask resume``.

    A finished run is returned unchanged.

    Args:
        run: the run's folder.
        changes: ``key=value`` for keys that may change (``["train.steps=200"]``).
        accept_changes: keys allowed to differ from the checkpoint although they make it another run (``["source.my_plugin"]``).
        show: whether progress is shown.

    Raises:
        UserError: there is nothing to continue, a change is not allowed, or the data are not those of the run.
        RunStopped, Interrupted: as in :func:`pretrain`.
    """
    with joined():
        return _finish(reopen(Path(run), changes, accept_changes, show=show))


def _finish(run: PreparedRun) -> Finished:
    try:
        if not is_finished(run):
            finish(run)
        elif run.trainer.ranks.is_first and not any(run.directory.figures.glob(f"{FIGURE}*")):
            draw(run)  # the process ended between the summary and the figure
    except Interrupted:
        logger.warning("continue with omnimask.resume(%r)", str(run.directory.path))
        raise
    summary = json.loads(run.directory.summary.read_text(encoding="utf-8"))
    figures = tuple(sorted(run.directory.figures.glob(f"{FIGURE}*")))
    return Finished(run.directory.path, summary, figures)
