"""Selection of labelled and scored samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from omnimask.builder.build import Built
from omnimask.data.label_tables import Row, unknown_keys
from omnimask.data.sample_errors import of_one_sample
from omnimask.data.validation_split import held_out, whole_key, whole_keys
from omnimask.errors import UserError
from omnimask.interfaces import Dataset, Draw

FIELD = "label"
"""Field of a data set's samples with their label."""
LIMIT = 10_000
"""Default maximum number of samples on each side."""
_TRIED = 50
_ABSENT = -1

Label: TypeAlias = int | str


class NoLabels(UserError):
    """Error: the samples have no labels, and none were given."""


@dataclass(frozen=True)
class Sides:
    """Ascending data set indices of the samples to label and to score, with all parts of each.

    ``split_from`` describes the origin of the split, ``notes`` the samples that were left out.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    split_from: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelRecorder:
    """Data set that records the label of every sample read from it, so that no sample is read twice."""

    dataset: Dataset
    labels: dict[int, Any] = field(default_factory=dict[int, Any])

    def __len__(self) -> int:
        return len(self.dataset)

    def key(self, index: int) -> str:
        return self.dataset.key(index)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        sample = self.dataset[index]
        self.labels[index] = sample.get(FIELD)
        return sample

    def fingerprint(self) -> str:
        return self.dataset.fingerprint()


def choose_sides(built: Built, table: Mapping[str, Row] | None, source: str, limit: int = LIMIT) -> Sides:
    """Choose the two sides: the table's own split, or the run's training samples for labels and held-out samples for scores.

    Args:
        built: its data set, seed and share of held-out samples are used.
        table: labels by key, with or without a split; for parts, by the key of the whole.
        source: name of the table in messages.
        limit: maximum number of samples (for parts, wholes) on each side; the recipe's seed selects them.

    Raises:
        UserError: the table names unknown samples, or one side has no samples.
    """
    keys = list(whole_keys(built.dataset))
    if table is not None and (problems := unknown_keys(table, keys, source, "sample")):
        raise UserError(*problems)
    if table is not None and any(row.split for row in table.values()):
        sides = {side: [i for i, key in enumerate(keys) if key in table and table[key].split == side] for side in ("train", "test")}
        split_from = f"the column split of {source}"
        for side, indices in sides.items():
            if not indices:
                raise UserError(f"{source}: no row has the split {side}; both train and test are needed")
    else:
        sides, split_from = _by_hash(built, keys, None if table is None else set(table)), "the run's held-out samples"
    notes = (
        [f"{unlabelled} samples have no row in {source} and were skipped"]
        if table and (unlabelled := sum(key not in table for key in keys))
        else []
    )
    number = {side: len({keys[index] for index in found}) for side, found in sides.items()}
    notes += [f"{limit} of {count} {side} samples are used" for side, count in number.items() if count > limit]
    taken = {side: _limited(found, keys, limit, built.recipe.seed) for side, found in sides.items()}
    return Sides(taken["train"], taken["test"], split_from, tuple(notes))


def _by_hash(built: Built, keys: Sequence[str], wanted: Collection[str] | None) -> dict[str, list[int]]:
    fraction = built.recipe.data.options.validation
    train, test = held_out(keys, fraction, built.recipe.seed)
    sides = {
        "train": [i for i in train.tolist() if wanted is None or keys[i] in wanted],
        "test": [i for i in test.tolist() if wanted is None or keys[i] in wanted],
    }
    for side, indices in sides.items():
        if not indices:
            raise UserError(
                f"data.validation: {fraction} leaves no labeled {side} samples among the {len(keys)}; give a "
                "table with a column split (--labels), or hold samples out in pretraining"
            )
    return sides


def _limited(indices: Sequence[int], keys: Sequence[str], limit: int, seed: int) -> tuple[int, ...]:
    """Return all samples of at most ``limit`` keys."""
    there = list(dict.fromkeys(keys[index] for index in indices))
    if len(there) <= limit:
        return tuple(indices)
    order = Draw(seed, 0, "samples", stage=("evaluation",)).rng("limit").permutation(len(there))
    chosen = {there[place] for place in order[:limit]}
    return tuple(index for index in indices if keys[index] in chosen)


def check_labels(dataset: Dataset, indices: Sequence[int]) -> None:
    """Read a few samples and raise :class:`NoLabels` if none has a label usable in probes."""
    places = np.unique(np.linspace(0, len(indices) - 1, min(_TRIED, len(indices))).astype(int)).tolist()
    found = [label for label in _read(dataset, [indices[place] for place in places]) if label is not None]
    if not found:
        raise NoLabels(
            f"the samples have no field {FIELD!r}, but probes need labels; give them with --labels FILE.csv, with "
            f"columns key,label (keys look like {whole_key(dataset, indices[0])!r})"
        )


def _read(dataset: Dataset, indices: Sequence[int]) -> Iterator[Label | None]:
    for index in indices:
        try:
            with of_one_sample:
                sample = dataset[index]
        except (OSError, ValueError):
            continue  # counted when all samples are read
        yield as_label(sample.get(FIELD), dataset.key(index))


def as_label(value: Any, key: str) -> Label | None:
    """Return a class, or None for a sample without one (None, or -1 as in integer fields).

    Raises:
        UserError: the value is not a class.
    """
    value = value.item() if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0 else value
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int):
        return None if value == _ABSENT and not isinstance(value, bool) else int(value)
    kind = type(value).__name__
    raise UserError(
        f"the label of {key} is {value!r:.60} ({kind}); probes are classifiers, so a label must be an integer or "
        "a string (regression is not supported)"
    )
