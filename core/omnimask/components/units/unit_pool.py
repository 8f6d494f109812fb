"""Pools of the units of a corpus, by class: extraction, file format and sampling. L tokens of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omnimask.components.units.unit_files import read_unit_file

_FIRST_LINE = "# omnimask units 1"
Ints = NDArray[np.int64]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Stretch:
    """A unit in a sample: tokens ``[start, stop)``, its number, and its class, -1 if units have none."""

    start: int
    stop: int
    number: int
    kind: int


def stretches(number: Ints, kind: Ints | None) -> list[Stretch]:
    """Return runs of adjacent tokens with one number, from left to right.

    Args:
        number: (L,) of each token's unit, negative for none.
        kind: (L,) class of each token's unit; None if units have none.
    """
    begins = (number >= 0) & np.concatenate([np.ones(min(len(number), 1), bool), number[1:] != number[:-1]])
    ends = (number >= 0) & np.concatenate([number[1:] != number[:-1], np.ones(min(len(number), 1), bool)])
    pairs = zip(np.flatnonzero(begins).tolist(), np.flatnonzero(ends).tolist(), strict=True)
    return [Stretch(start, stop + 1, int(number[start]), -1 if kind is None else int(kind[start])) for start, stop in pairs]


@dataclass(frozen=True)
class UnitPool:
    """The distinct units of every class, ascending, each of one or more ids below ``vocabulary``.

    Raises:
        ValueError: a unit is empty, or has an id outside of the vocabulary.
    """

    vocabulary: int
    units: Mapping[int, tuple[Ids, ...]]

    def __post_init__(self) -> None:
        for kind, units in self.units.items():
            for unit in units:
                if not unit or min(unit) < 0 or max(unit) >= self.vocabulary:
                    raise ValueError(
                        f"unit {unit} of class {kind} is empty, or has ids outside the vocabulary of {self.vocabulary}"
                    )

    def __len__(self) -> int:
        return sum(map(len, self.units.values()))

    @cached_property
    def _by_length(self) -> dict[tuple[int, int], list[Ids]]:
        found: dict[tuple[int, int], list[Ids]] = {}
        for kind, units in self.units.items():
            for unit in units:
                found.setdefault((kind, len(unit)), []).append(unit)
        return found

    def other(self, kind: int, ids: Ids, uniform: float, *, same_length: bool) -> Ids | None:
        """Return another unit of a class, uniformly drawn, or None if there is none.

        Args:
            kind: the class.
            ids: the unit to exclude.
            uniform: in [0, 1).
            same_length: only units with the same number of ids.
        """
        known = self._by_length.get((kind, len(ids)), []) if same_length else self.units.get(kind, ())
        others = len(known) - ((kind, ids) in self._members)
        if others < 1:
            return None
        drawn = known[int(uniform * others)]
        return known[-1] if drawn == ids else drawn  # the last one is never drawn and replaces the unit itself

    @cached_property
    def _members(self) -> frozenset[tuple[int, Ids]]:
        return frozenset((kind, unit) for kind, units in self.units.items() for unit in units)

    def text(self) -> str:
        """Return the file content: three lines that begin with ``#``, then a line ``class TAB id id ...`` for every unit, in
        order."""
        rows = [f"{kind}\t{' '.join(map(str, unit))}\n" for kind in sorted(self.units) for unit in self.units[kind]]
        return f"{_FIRST_LINE}\n# vocabulary {self.vocabulary}\n# units {len(self)}\n{''.join(rows)}"

    def save(self, path: Path) -> None:
        """Write to a file. Raise ``OSError`` on failure."""
        path.write_text(self.text(), encoding="ascii", newline="\n")


def find_units(samples: Iterable[tuple[Ints, Ints, Ints | None]], vocabulary: int) -> UnitPool:
    """Collect the units of samples: (L,) ids, and (L,) number and class of each token's unit, as for :func:`stretches`."""
    found: dict[int, set[Ids]] = {}
    for ids, number, kind in samples:
        for stretch in stretches(number, kind):
            found.setdefault(stretch.kind, set()).add(tuple(ids[stretch.start : stretch.stop].tolist()))
    return UnitPool(vocabulary, {kind: tuple(sorted(found[kind])) for kind in sorted(found)})


def read_units(path: Path) -> UnitPool:
    """Read units from their file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or in another format; the message names the line.
    """
    vocabulary, rows = read_unit_file(path, _FIRST_LINE, "pool of units", "units", "CLASS")
    found: dict[int, list[Ids]] = {}
    try:
        for kind, unit in rows:
            found.setdefault(int(kind), []).append(unit)
        return UnitPool(vocabulary, {kind: tuple(sorted(set(units))) for kind, units in found.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
