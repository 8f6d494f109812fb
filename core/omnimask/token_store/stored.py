"""Reading of a store: tokens by row, from files that are checked when they are first read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omnimask.data.part_index import PartIndex
from omnimask.interfaces import Draws, TokenColumns, Tokens, TokenSpec
from omnimask.token_store.range_file import RangeFile
from omnimask.token_store.range_folder import DamagedStore
from omnimask.token_store.row_columns import joined_rows

_TRIES = 5


class StoreFiles(Protocol):
    """Location of the range files of a store. Their sizes in bytes and CRC-32 are those of the index."""

    @property
    def remedy(self) -> str:
        """Return how a missing or damaged file is mended; "" if the errors contain it."""
        ...

    @property
    def is_bounded(self) -> bool:
        """Return whether files are copies, of which the least recently used are removed."""
        ...

    def path(self, number: int, size: int, crc32: int) -> Path:
        """Return the path of a file, which another process may remove. Raise :class:`DamagedStore` if it cannot be had."""
        ...

    def check(self, number: int, size: int, crc32: int) -> None:
        """Raise :class:`DamagedStore` unless a file has the bytes that were written."""
        ...

    def keys(self, sizes: list[int]) -> dict[int, list[str]]:
        """Return the keys of the rows of files by number, for files whose keys are had without the rest."""
        ...


@dataclass
class StoredTokens:
    """Tokens of the parts of a data set, one row each, in the order of ``index``.

    Args:
        files: location of the range files.
        specs: of the modalities.
        index: of the parts.
        size: samples in a file, except the last one.
        sizes, checksums: (F,) bytes and CRC-32 of each file.
    """

    files: StoreFiles
    specs: Mapping[str, TokenSpec]
    index: PartIndex
    size: int
    sizes: NDArray[Any]
    checksums: NDArray[Any]

    def __post_init__(self) -> None:
        self._files: dict[int, RangeFile] = {}
        self._checked: set[int] = set()
        self._keys: dict[int, list[str]] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def key(self, row: int) -> str:
        """Return the key of the whole sample of a row.

        Raises:
            DamagedStore: its file is missing or damaged.
        """
        number, place = self._address(row)
        if self._keys is not None and number in self._keys:
            return self._keys[number][place]
        return self._file(number, is_checked=False).keys[place]

    def read_keys(self) -> None:
        """Read the keys of all rows ahead, if that takes only a part of the files.

        Raises:
            DamagedStore: a file is missing or damaged.
        """
        if self._keys is None:
            self._keys = self.files.keys(self.sizes.tolist())

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
        return {**self.__dict__, "_files": {}, "_checked": set(), "_keys": None}

    def _place(self, row: int) -> tuple[RangeFile, int]:
        number, place = self._address(row)
        return self._file(number), place

    def _address(self, row: int) -> tuple[int, int]:
        """Return the number of a row's file, and the row's place in it."""
        number = self.index.sample(row) // self.size
        return number, row - int(self.index.first[number * self.size])

    def _file(self, number: int, *, is_checked: bool = True) -> RangeFile:
        """Return an open file. Its checksum is compared when its tokens are first read: keys alone need a few of its pages."""
        if is_checked and number not in self._checked:
            self._check(number)
            self._checked.add(number)
        if number not in self._files:
            self._files[number] = self._open(number)
            if self.files.is_bounded:
                self._release_removed(but=number)
        return self._files[number]

    def _open(self, number: int) -> RangeFile:
        path = self.files.path(number, *self._written(number))
        for _ in range(_TRIES):
            try:
                return RangeFile(path, self.specs)
            except FileNotFoundError:  # removed by another process since it was found
                path = self.files.path(number, *self._written(number))
            except (OSError, ValueError) as error:
                raise DamagedStore(str(error)) from error
        hint = "; data.cache.size is too small" if self.files.is_bounded else ""
        raise DamagedStore(f"{path} is missing{hint}")

    def _release_removed(self, but: int) -> None:
        """Close the files that were removed, except one, because their bytes take space until then."""
        for number in [number for number, file in self._files.items() if number != but and not file.path.exists()]:
            del self._files[number]

    def _check(self, number: int) -> None:
        self.files.check(number, *self._written(number))

    def _written(self, number: int) -> tuple[int, int]:
        return int(self.sizes[number]), int(self.checksums[number])
