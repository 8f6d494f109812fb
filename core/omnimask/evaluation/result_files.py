"""Files of an evaluation's results, which never replace those of other data or other settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimask.errors import RunStopped, UserError
from omnimask.recipe.yaml_text import inline
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.run_directory import RunDirectory

RESULT, FIGURE = "evaluation", "few_label"
"""Stems of the files."""
_MOST = 10_000


@dataclass(frozen=True)
class ResultPlace:
    """Paths of the scores and their figure, and a ``note`` on other results that are kept."""

    result: Path
    figure: Path
    note: str = ""


def find_place(directory: RunDirectory, settings: Mapping[str, Any], data: str | None) -> ResultPlace:
    """Return the first unused name, or one with an evaluation of the same settings, which is replaced.

    Args:
        directory: of the run, or another one for the results.
        settings: all settings that affect the numbers, as JSON values.
        data: name of other data than the run's own, for the files; None for the run's own.
    """
    stem = "" if data is None else "-" + (re.sub(r"[^\w.]+", "-", data).strip("-.") or "data")
    names = (stem, *(f"{stem}-{number}" for number in range(2, _MOST)))
    now, note = json.loads(json.dumps(settings)), ""
    for suffix in names:
        result = directory.path / f"{RESULT}{suffix}.json"
        if not result.exists() or (there := _settings_of(result)) == now:
            return ResultPlace(result, directory.figures / f"{FIGURE}{suffix}.png", note)
        note = note or _note(result.name, there, now)
    raise UserError(f"{directory.path} contains {_MOST:,} evaluations; choose another folder with --output")


def _settings_of(result: Path) -> Mapping[str, Any]:
    """Return the settings of an earlier evaluation; empty if missing or unreadable, and thus unequal to any others."""
    try:
        found = json.loads(result.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(name: str, there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a note: ``evaluation.json was made with other settings (draws: 20) and stays as it is``."""
    differ = [f"{key}: {inline(there[key])}" for key in now if key in there and there[key] != now[key] and key != "data"]
    if there and not differ:
        differ = ["other data"]
    shown = f" ({', '.join(differ)})" if differ else ""
    return f"{name} was made with other settings{shown} and is kept"


def write(place: ResultPlace, record: Mapping[str, Any], picture: bytes | None) -> tuple[Path, ...]:
    """Write the files atomically and return their paths.

    Raises:
        RunStopped: they cannot be written.
    """
    try:
        place.result.parent.mkdir(parents=True, exist_ok=True)
        if picture is not None:
            place.figure.parent.mkdir(exist_ok=True)
            files.replace(place.figure, picture)
        files.replace_json(place.result, record)
    except OSError as error:
        folder = place.result.parent
        raise RunStopped(f"the scores cannot be written to {folder}: {error.strerror or error}; choose --output") from error
    return (place.result,) if picture is None else (place.result, place.figure)
