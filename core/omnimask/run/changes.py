"""Differences between a checkpoint's run and its continuation: reported, refused or accepted, and recorded."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.messages.hints import nearest
from omnimask.recipe.old_spellings import modernised
from omnimask.recipe.problems import Problems
from omnimask.recipe.yaml_text import inline, parse
from omnimask.registry.plugin_files import MODULE
from omnimask.run.plugin_sources import CORE_PACKAGE
from omnimask.run.provenance import Origin
from omnimask.training.checkpoints import durable_files as files

logger = logging.getLogger(__name__)

MAY_CHANGE = (
    "train.steps",
    "train.workers",
    "train.threads",
    "train.log_every",
    "train.validate_every",
    "train.validate_share",
    "train.patience",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.micro_batch_tokens",
    "train.activation_checkpointing",
    "train.distributed",
    "train.timeout",
    "device",
    "plugins",
    "data.path",
    "data.url",
    "data.cache",
    "data.max_bad",
)
"""Keys a resumed run may change: length, speed and location, but never data or objective."""

HISTORY = "history.jsonl"
"""File of a run with one line for each continuation with changes."""
NOTHING = "nothing"
"""Stands for the value of an absent key."""
_SOURCE = "source."
_OWN_SOURCE = f"{_SOURCE}{CORE_PACKAGE}"


@dataclass(frozen=True)
class Change:
    """Key of the recipe, or ``source.<package>``, with its old and new values as written in a recipe."""

    key: str
    then: str
    now: str

    @property
    def is_free(self) -> bool:
        return _is_below(self.key, MAY_CHANGE)

    def __str__(self) -> str:
        if self.key.startswith(_SOURCE):
            return f"{self.key}: the plugin's source has changed since the run was trained"
        if self.then == NOTHING:
            return f"{self.key}: new since the run was trained; now {self.now}"
        return f"{self.key}: {self.then} cannot change to {self.now} in a resumed run"


@dataclass(frozen=True)
class Changes:
    """Changes of a continuation, and the explicitly accepted keys among them."""

    found: tuple[Change, ...] = ()
    accepted: tuple[str, ...] = ()

    def concern(self, prefix: str) -> bool:
        """Return whether any change is at or below a key."""
        return any(_is_below(change.key, (prefix,)) for change in self.found)


def compare(origin: Origin, now: Origin) -> list[Change]:
    """Return all differences in the order of the recipe. Package sources are compared only if known on both sides."""
    old, new = _flat(origin.recipe), _flat(now.recipe)
    found = [
        Change(key, *(inline(side[key]) if key in side else NOTHING for side in (old, new)))
        for key in {**old, **new}
        if key not in old or key not in new or not _is_same(old[key], new[key])
    ]
    if not origin.sources or not now.sources:
        return found
    for name in {**origin.sources, **now.sources}:
        then, today = (side.sources.get(name, NOTHING) for side in (origin, now))
        if then != today and (NOTHING not in (then, today) or name.startswith(MODULE)):
            found.append(Change(f"{_SOURCE}{name}", then, today))
    return found


def check(found: Sequence[Change], accept: Sequence[str], run: Path) -> Changes:
    """Return the changes if each is free, accepted now, or was accepted before.

    Args:
        found: differences from the checkpoint.
        accept: keys accepted by the user; a key includes all keys below it.
        run: the run's folder, whose history contains earlier acceptances.

    Raises:
        UserError: with one message for each other change, with both values.
    """
    before = _accepted_before(run)
    taken: list[str] = []
    refused: list[Change] = []
    for change in found:
        if change.is_free:
            continue
        if change.key == _OWN_SOURCE:
            logger.warning("omnimask itself has changed since the checkpoint; results may differ from here on")
        elif _is_below(change.key, accept) or before.get(change.key) == change.now:
            taken.append(change.key)
        else:
            refused.append(change)
    for key in accept:
        if not any(_is_below(change.key, (key,)) for change in found):
            hint = nearest(key, [change.key for change in found])
            logger.warning("--accept-changes %s: no change of this name%s", key, hint)
    if refused:
        keys = " ".join(f"--accept-changes {change.key}" for change in refused)
        raise UserError(
            *map(str, refused),
            f"a resumed run may change {', '.join(MAY_CHANGE)}; any other change makes it a different run: undo "
            f"it, start a new run, or accept it with {keys}",
        )
    _check_steps(found)
    return Changes(tuple(found), tuple(taken))


def check_edits(found: Sequence[Change], recipe: Path, kept: Path) -> None:
    """Reject edits of a run's recipe if trained weights are used.

    Args:
        found: differences between ``recipe`` and the recipe of the weights.
        recipe: of the run's folder, whose history contains changes accepted when the run was resumed.
        kept: the recipe in the checkpoint.

    Raises:
        UserError: with one message for each edit that is neither free nor accepted, with both values.
    """
    before = _accepted_before(recipe.parent)
    edits = [change for change in found if not change.is_free and before.get(change.key) != change.now]
    if edits:
        raise UserError(
            *(f"{recipe}: {change.key}: is {change.now}, but the weights were trained with {change.then}" for change in edits),
            f"{recipe} was edited after the run: undo it (the recipe of the weights is {kept}). To use other data: --data",
        )


def remember(run: Path, changes: Changes, *, step: int, attempt: int) -> None:
    """Append the changes of a continuation to the run's history. Raise ``OSError`` if writing fails."""
    if not changes.found:
        return
    line = {
        "step": step,
        "attempt": attempt,
        "changes": {change.key: [change.then, change.now] for change in changes.found},
        "accepted": list(changes.accepted),
    }
    path = run / HISTORY
    before = path.read_bytes() if path.exists() else b""
    files.replace(path, before + (json.dumps(line, ensure_ascii=False) + "\n").encode())


def _accepted_before(run: Path) -> dict[str, str]:
    """Return the last accepted value of every key."""
    try:
        lines = (run / HISTORY).read_text(encoding="utf-8").splitlines()
        history = [json.loads(line) for line in lines]
        return {key: line["changes"][key][1] for line in history for key in line["accepted"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _check_steps(found: Sequence[Change]) -> None:
    for change in found:
        if change.key == "train.steps" and int(change.now) < int(change.then):
            raise UserError(f"train.steps: {change.then} can only increase; got {change.now}")


def _is_below(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equivalent, like 1 and 1.0, or two NaN."""
    if isinstance(one, bool) is isinstance(other, bool) and one == other:
        return True
    return inline(one) == inline(other)


def _flat(recipe: str) -> Mapping[str, Any]:
    return dict(_leaves(modernised(parse(recipe, "recipe"), Problems()).data, ()))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield every value that is not a mapping, with its dotted path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, str(number)))
    else:
        yield ".".join(path), value
