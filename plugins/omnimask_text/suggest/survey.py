"""Survey of a folder or file of texts: the data set that reads it, the column, number and length of documents."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median_low
from typing import Any

from omnimask.interfaces import Context
from omnimask.suggest import describe_unreadable
from omnimask_datasets.csv_files import Csv
from omnimask_datasets.jsonl import Jsonl
from omnimask_datasets.parquet import Parquet
from omnimask_text.data import TextFiles
from omnimask_text.decode import Utf8Decoder

SAMPLE = 200
"""Maximum number of documents to read."""
MOST_CHARACTERS = 5_000_000
FEW_DOCUMENTS = 20
"""Minimum number of files. Fewer files are divided at blank lines, or line by line, so that some documents can be held out."""
_MOST_CLASSES = 20

READERS: Mapping[str, type] = {"text.files": TextFiles, "jsonl": Jsonl, "csv": Csv, "parquet": Parquet}


@dataclass(frozen=True)
class Survey:
    """Content of a folder or file of texts.

    ``data`` are the options of the data set ``name`` besides its path. In rows, ``column`` holds the texts and ``label`` the
    classes. ``texts`` were read out of ``num_documents``. ``unreadable`` pairs names with reasons.
    """

    name: str
    data: Mapping[str, str]
    num_files: int
    num_documents: int
    texts: tuple[str, ...]
    column: str = "text"
    label: str | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()

    @property
    def num_looked_at(self) -> int:
        return len(self.texts) + len(self.unreadable)

    @property
    def mean_length(self) -> float:
        """Characters per document."""
        return fmean(map(len, self.texts))

    @property
    def characters(self) -> float:
        """Characters of all documents, estimated from those that were read."""
        return self.mean_length * self.num_documents

    def summary(self) -> dict[str, str]:
        """Return the survey as text by name, for users to check."""
        lengths = sorted(map(len, self.texts))
        found = {
            "data set": self.name + "".join(f", {key}: {value}" for key, value in self.data.items()),
            "documents": f"{self.num_documents:,} in {self.num_files:,} files",
            "looked at": f"{self.num_looked_at:,}",
            "characters": f"median {median_low(lengths):,}, longest {lengths[-1]:,}, about {self.characters:,.0f} in all",
            "unreadable": describe_unreadable(self.unreadable, self.num_looked_at),
        }
        if self.name != "text.files":
            found["column"] = f"{self.column}" + (f"; classes in {self.label}" if self.label else "")
        if self.others:
            found["left out"] = f"files that {', '.join(self.others)} would read"
        return found


def reader_of(path: Path) -> tuple[str, Any, tuple[str, ...]] | None:
    """Return the data set that reads most files of a folder, or a single file by its ending.

    Returns its name, the data set, and the names of others that can read some files. None without any text.
    """
    found: dict[str, Any] = {}
    for name, reader in READERS.items():
        if path.is_file() and not _ends_so(path, reader.extensions):
            continue
        try:
            found[name] = reader(Context(), path=path)
        except (OSError, ValueError):
            continue
    if not found:
        return None
    best = max(found, key=lambda name: _num_files(found[name]))
    return best, found[best], tuple(name for name in found if name != best)


def survey(path: Path) -> Survey | None:
    """Survey a folder or a file; None if it holds no texts.

    Raises:
        ValueError: none of the inspected documents can be read, or no column holds texts.
    """
    chosen = reader_of(path)
    if chosen is None:
        return None
    name, dataset, others = chosen
    num_files, options = _num_files(dataset), {}
    if name == "text.files" and len(dataset) < FEW_DOCUMENTS:
        dataset, options = _divided(path, dataset)
    rows, unreadable = _read(dataset)
    column, label = ("text", None) if name == "text.files" else _columns(rows, path)
    texts = tuple(str(row[column]) for row in rows if isinstance(row.get(column), str) and row[column].strip())
    if not texts:
        reason = f": {': '.join(unreadable[0])}" if unreadable else ""
        raise ValueError(f"{path} looks like texts for {name}, but none of {len(rows) + len(unreadable)} is readable{reason}")
    return Survey(name, options, num_files, len(dataset), texts, column, label, tuple(unreadable), others)


def _divided(path: Path, whole: Any) -> tuple[Any, dict[str, str]]:
    """Divide few files into many documents, if their lines allow it."""
    for way in ("blank_line", "line"):
        try:
            divided = TextFiles(Context(), path=path, documents=way)
        except (OSError, ValueError):
            continue
        if len(divided) >= FEW_DOCUMENTS:
            return divided, {"documents": way}
    return whole, {}


@dataclass
class _SampledRows:
    rows: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    unreadable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def _read(dataset: Any) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    decode, found, read = Utf8Decoder(Context()), _SampledRows(), 0
    for index in random.Random(0).sample(range(len(dataset)), min(SAMPLE, len(dataset))):
        if read > MOST_CHARACTERS:
            break
        try:
            row = {key: decode(value) if isinstance(value, bytes) else value for key, value in dataset[index].items()}
        except (OSError, ValueError) as error:
            found.unreadable.append((dataset.key(index), str(error)))
            continue
        found.rows.append(row)
        read += sum(len(value) for value in row.values() if isinstance(value, str))
    return found.rows, found.unreadable


def _columns(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[str, str | None]:
    """Return the column with the longest texts, and one that holds a few classes."""
    lengths: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str):
                lengths.setdefault(name, []).append(len(value))
    if not lengths:
        raise ValueError(f"{path}: no column contains texts; columns: {sorted({name for row in rows for name in row})}")
    column = max(lengths, key=lambda name: fmean(lengths[name]) * len(lengths[name]))
    others = dict.fromkeys(name for row in rows for name in row if name != column)
    return column, next((name for name in sorted(others, key=lambda name: name != "label") if _holds_classes(name, rows)), None)


def _holds_classes(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a column has few values, each of them several times."""
    values = [row[name] for row in rows if isinstance(row.get(name), str | int)]
    counted = Counter(values)
    return len(values) == len(rows) and 2 <= len(counted) <= min(_MOST_CLASSES, len(rows) // 3)


def _ends_so(path: Path, extensions: Sequence[str]) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(tuple(extensions))


def _num_files(dataset: Any) -> int:
    sources = getattr(dataset, "sources", None)
    return len(sources if sources is not None else dataset.ranges.sources)
