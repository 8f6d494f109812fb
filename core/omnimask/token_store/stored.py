"""Reading of a store: tokens by row, from files that are checked when they are first read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.data.part_index import PartIndex
from omnimask.interfaces import Draws, TokenColumns, Tokens, TokenSpec
from omnimask.token_store.range_file import RangeFile
from omnimask.token_store.row_columns import joined_rows
from omnimask.token_store.tokenize import checksum, file_name


class DamagedStore(ValueError):
    """File of a store that is missing or has other bytes than were written."""


@dataclass
class StoredTokens:
    """Tokens of the parts of a data set, one row each, in the order of ``index``.

    Args:
        folder: of the files.
        specs: of the modalities.
        index: of the parts.
        size: samples in a file, except the last one.
        sizes, checksums: (F,) bytes and CRC-32 of each file.
    """

    folder: Path
    specs: Mapping[str, TokenSpec]
    index: PartIndex
    size: int
    sizes: NDArray[Any]
    checksums: NDArray[Any]

    def __post_init__(self) -> None:
        self._files: dict[int, RangeFile] = {}
        self._checked: set[int] = set()

    def __len__(self) -> int:
        return len(self.index)

    def key(self, row: int) -> str:
        """Return the key of the whole sample of a row.

        Raises:
            DamagedStore: its file is missing or damaged.
        """
        file, place = self._place(row, is_checked=False)
        return file.keys[place]

    def error(self, row: int) -> str | None:
        """Return why a row has no tokens, or None.

        Raises:
            DamagedStore: its file is missing or damaged.
        """
        file, place = self._place(row)
        return file.error(place)

    def held(self, row: int) -> tuple[Mapping[str, Tokens], Mapping[str, Any]]:
        """Return the tokens of a row by modality, and the kept fields of its sample.

        Raises:
            DamagedStore: its file is missing or damaged.
            ValueError: the row has no tokens.
        """
        file, place = self._place(row)
        if (error := file.error(place)) is not None:
            raise ValueError(error)
        return file.tokens(place), file.fields(place)

    def columns(self, rows: Sequence[int], draws: Draws) -> tuple[dict[str, TokenColumns], dict[str, NDArray[np.int64]]] | None:
        """Return the tokens of many rows; see :class:`omnimask.interfaces.HoldsColumns`.

        Raises:
            DamagedStore: a file is missing or damaged.
        """
        places = [self._place(row) for row in rows]
        if any(file.is_bad[place] for file, place in places):
            return None
        tokens: dict[str, TokenColumns] = {}
        numbers: dict[str, NDArray[np.int64]] = {}
        for name, spec in self.specs.items():
            held = [(file.columns[name], place) for file, place in places]
            present = [number for number, (columns, place) in enumerate(held) if columns.is_present(place)]
            numbers[name] = np.array(present, np.int64)
            tokens[name] = joined_rows([held[number] for number in present], spec, draws.take(numbers[name]))
        return tokens, numbers

    def damaged(self) -> Iterator[tuple[int, DamagedStore]]:
        """Check every file. Yield the number of each missing or damaged one, and what is wrong with it."""
        for number in range(len(self.sizes)):
            try:
                self._check(number)
            except DamagedStore as damage:
                yield number, damage

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_checked": set()}

    def _place(self, row: int, *, is_checked: bool = True) -> tuple[RangeFile, int]:
        number = self.index.sample(row) // self.size
        return self._file(number, is_checked=is_checked), row - int(self.index.first[number * self.size])

    def _file(self, number: int, *, is_checked: bool = True) -> RangeFile:
        """Return an open file. Its checksum is compared when its tokens are first read: keys alone need a few of its pages."""
        if is_checked and number not in self._checked:
            self._check(number)
            self._checked.add(number)
        if number not in self._files:
            try:
                self._files[number] = RangeFile(self.folder / file_name(number), self.specs)
            except (OSError, ValueError) as error:
                raise DamagedStore(str(error)) from error
        return self._files[number]

    def _check(self, number: int) -> None:
        path, size = self.folder / file_name(number), int(self.sizes[number])
        try:
            found = path.stat().st_size
            if found != size:
                raise DamagedStore(f"{path} has {found:,} bytes, but {size:,} were written")
            if checksum(path) != int(self.checksums[number]):
                raise DamagedStore(f"{path} is damaged: its checksum differs from the one that was written")
        except OSError as error:
            raise DamagedStore(f"{path} cannot be read: {error.strerror or error}") from error
