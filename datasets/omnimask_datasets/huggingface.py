"""Data sets of Hugging Face's library ``datasets``, with random access or streamed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from omnimask.cache import cache_folder, keep_array, kept_array
from omnimask.files import content_digest, files_state, watched
from omnimask.interfaces import Context
from omnimask_datasets.arrow_values import row_of
from omnimask_datasets.rows import Rows, check_column, file_bytes
from omnimask_datasets.sequential_rows import ForwardRows
from omnimask_datasets.sources import find_sources

try:
    import datasets.config

    import datasets
    from datasets import Dataset, DatasetDict, IterableDataset
except ImportError as error:  # a folder of this name on the path looks like the package
    raise ModuleNotFoundError("No module named 'datasets'", name="datasets") from error

logger = logging.getLogger(f"omnimask.{__name__}")

_ENDINGS = (".parquet", ".arrow")
_ROWS = 256
"""Rows of a stream to read together."""
_SAVED = ("state.json", "dataset_dict.json")


class HuggingFace(Rows):
    """Rows of a data set of the library ``datasets``, from local files or from the Hub.

    A sample contains the row's values by column, as Arrow stores them: images and sounds are the bytes of their files, for the
    modality's decoder; labels are numbers. With random access any order is cheap.

    With ``streaming`` nothing is copied to the disk, and rows are read in order only. The order of a run is still exact, at a
    price. Shards (files) are permuted, and rows are shuffled within windows of at most ``buffer``. Every loader process reads all
    shards, up to the last row assigned to it. A run that resumes in the middle of a shard reads the rows before it again. Data of
    the Hub are read once to count their rows, before the first run.

    Args:
        path: instead of a repository, a folder written by ``save_to_disk``, or Parquet or Arrow files: a folder, or one file.
        repository: instead of a path, a data set of the Hub (``user/name``).
        config: configuration of a repository; null: its only one.
        split: split of a repository, or of a folder with several.
        revision: commit or tag of the repository; required for streams, since their rows are counted once.
        columns: columns to read; null: all.
        key: column with the samples' keys; null: the keys are the rows' places.
        labels: column of the field ``label``; null: the column ``label`` if it exists.
        streaming: read rows in order, without copying the data to the disk.
        buffer: largest window of a stream (``data.window``), in rows. Twice as many stay in memory, since held-out rows lie between
            them.
    """

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        repository: str | None = None,
        config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        columns: list[str] | None = None,
        key: str | None = None,
        labels: str | None = None,
        streaming: bool = False,
        buffer: Annotated[int, Field(gt=0)] = 10_000,
    ) -> None:
        del context
        if (path is None) == (repository is None):
            raise ValueError("a Hugging Face data set needs either path (local files) or repository (of the Hub)")
        if streaming and repository is not None and revision is None:
            raise ValueError("a stream of the Hub needs a revision (a commit or a tag), so that its rows do not change")
        self.split, self.columns = split, columns
        wanted = columns and [*columns, *(column for column in (key, labels) if column is not None)]
        with _quietly():
            if streaming:
                stream = _local_stream(path, split) if path is not None else _hub_stream(repository, config, split, revision)
                self.rows: IndexedRows | StreamedRows = StreamedRows(stream, wanted, buffer)
            else:
                found = _local(path, split) if path is not None else _hub(repository, config, split, revision)
                self.rows = IndexedRows(found, wanted)
        super().__init__(key, labels)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """Return (S,) the first row of every nonempty shard of a stream."""
        return self.rows.group_starts

    @property
    def buffer(self) -> int | None:
        """Return the largest window of a stream, in rows."""
        return self.rows.buffer

    def place(self, index: int) -> str:
        """Return ``train:12``, with rows counted from 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        return f"{self.split}:{index + 1}"

    def row(self, index: int) -> dict[str, Any]:
        """Return the values by column, files as their bytes."""
        place = self.place(index)
        try:
            folder = Path(datasets.config.HF_CACHE_HOME)
            return {name: file_bytes(value, folder) for name, value in self.rows[index].items()}
        except (pa.ArrowException, ValueError) as error:
            raise ValueError(f"{place}: {error}") from error
        except OSError:
            raise
        except Exception as error:  # what a server's library raises
            raise OSError(f"{place}: {type(error).__name__}: {error}") from error

    def digest(self) -> str:
        return self.rows.digest()

    def state(self) -> str:
        return files_state(self.rows.files)


class IndexedRows:
    """Rows with random access."""

    group_starts = None
    buffer = None

    def __init__(self, found: Found, columns: list[str] | None) -> None:
        dataset = found.dataset
        self.files = found.files
        self._digest: str | None = None
        if columns:
            _check(columns, dataset.column_names)
            dataset = dataset.select_columns(list(dict.fromkeys(columns)))
        self.arrow = dataset.with_format("arrow")

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, index: int) -> dict[str, Any]:
        table: Any = self.arrow[index]
        return row_of(table, 0)

    def digest(self) -> str:
        """Return a digest of the columns' names and types, the number of rows, and the contents of the files, else of the rows."""
        if self._digest is None:
            contents = content_digest((file.name, file) for file in self.files) if self.files else self._rows_digest()
            self._digest = _digest(self.arrow.features, len(self), contents)
        return self._digest

    def _rows_digest(self) -> str:
        digest = blake2b(digest_size=16)
        for table in self.arrow.iter(batch_size=_ROWS):
            for batch in cast(pa.Table, table).combine_chunks().to_batches():
                digest.update(batch.serialize())
        return digest.hexdigest()


@dataclass(frozen=True)
class Found:
    """Data set with random access, and the files whose contents determine its rows."""

    dataset: Dataset
    files: Sequence[Path]


@dataclass(frozen=True)
class CountedStream:
    """Stream, the number of rows of each shard, and a digest of its origin."""

    dataset: IterableDataset
    lengths: list[int]
    digest: str
    files: Sequence[Path] = ()


class StreamedRows(ForwardRows):
    """Rows in the order of their shards."""

    def __init__(self, stream: CountedStream, columns: list[str] | None, buffer: int) -> None:
        dataset = stream.dataset
        if columns:
            _check(columns, dataset.column_names or columns)
            dataset = dataset.select_columns(list(dict.fromkeys(columns)))
        self._source, self.files = stream.digest, stream.files
        self.buffer = buffer
        super().__init__(_Tables(dataset), stream.lengths, 2 * buffer)

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """Return (S,) the first row of every nonempty shard."""
        starts = np.unique(self.starts)
        return starts[starts < len(self)]

    def digest(self) -> str:
        """Return a digest of the stream's origin and the shards' lengths."""
        return _digest(self._source, self.starts.tolist())


@dataclass(frozen=True)
class _Tables:
    """Rows of one shard of a stream."""

    dataset: IterableDataset

    def __call__(self, shard: int) -> Iterator[pa.Table]:
        part = self.dataset.shard(num_shards=self.dataset.num_shards, index=shard).with_format("arrow")
        return iter(part.iter(batch_size=_ROWS))  # pyright: ignore[reportArgumentType, reportReturnType]


def _local(path: Path, split: str) -> Found:
    if any((path / name).exists() for name in _SAVED):
        found = _tried(lambda: datasets.load_from_disk(str(path)), path)
        if not isinstance(found, DatasetDict):
            return _with_files(found)
        if split not in found:
            raise ValueError(f"{path} has no split {split!r}; it has {', '.join(map(str, found))}")
        return _with_files(found[split])
    kind, files, _ = _files(path)
    if kind == "arrow":
        dataset = _tried(lambda: datasets.concatenate_datasets([Dataset.from_file(file) for file in files]), path)
    else:
        dataset = _tried(lambda: datasets.load_dataset(kind, data_files={split: files}, split=split), path)  # pyright: ignore
    return Found(dataset, tuple(map(Path, files)))


def _with_files(dataset: Dataset) -> Found:
    """Return a data set with the Arrow files that it maps into memory; without files if it is a selection of their rows."""
    is_whole = dataset._indices is None  # pyright: ignore[reportPrivateUsage]
    return Found(dataset, tuple(Path(entry["filename"]) for entry in dataset.cache_files) if is_whole else ())


def _local_stream(path: Path, split: str) -> CountedStream:
    if any((path / name).exists() for name in _SAVED):
        raise ValueError(f"{path} was written by save_to_disk and has random access: remove streaming")
    kind, files, lengths = _files(path)
    stream: Any = _tried(lambda: datasets.load_dataset(kind, data_files={split: files}, split=split, streaming=True), path)
    if stream.num_shards != len(files):
        raise ValueError(f"{path}: {len(files)} files gave {stream.num_shards} shards; remove streaming")
    paths = tuple(map(Path, files))
    return CountedStream(stream, lengths, content_digest((path.name, path) for path in paths), paths)


def _hub(repository: str | None, config: str | None, split: str, revision: str | None) -> Found:
    load: Any = datasets.load_dataset
    return _with_files(_tried(lambda: load(repository, config, split=split, revision=revision), repository))


def _hub_stream(repository: str | None, config: str | None, split: str, revision: str | None) -> CountedStream:
    load: Any = datasets.load_dataset
    stream = _tried(lambda: load(repository, config, split=split, revision=revision, streaming=True), repository)
    digest = _digest(repository, config, split, revision, stream.num_shards)
    file = cache_folder() / "streams" / f"{digest}.npy"
    lengths = kept_array(file, lambda array: array.shape == (stream.num_shards,), "lengths of a stream")
    if lengths is None:
        logger.info("counting the rows of %s, once; later runs reuse the counts", repository)
        tables = _Tables(stream)
        shards = watched(range(stream.num_shards), "counting rows by shard")
        counted = [_tried(lambda n=n: sum(table.num_rows for table in tables(n)), repository) for n in shards]
        lengths = np.array(counted, np.int64)
        keep_array(file, lengths, "lengths of a stream")
    return CountedStream(stream, lengths.tolist(), digest)


def _files(path: Path) -> tuple[str, list[str], list[int]]:
    """Return ``parquet`` or ``arrow``, the nonempty files sorted by name, and their numbers of rows."""
    sources = find_sources(path, _ENDINGS)
    kinds = {source.path.suffix.removeprefix(".") for source in sources}
    if len(kinds) > 1 or f".{min(kinds)}" not in _ENDINGS:
        raise ValueError(f"{path} must contain either Parquet or Arrow files; found {', '.join(sorted(kinds))}")
    lengths = {str(source.path): _tried(lambda file=source.path: _num_rows(file), source.path) for source in sources}
    found = {file: length for file, length in lengths.items() if length}  # the library fails on a Parquet file without rows
    if not found:
        raise ValueError(f"{path} has no rows")
    return min(kinds), list(found), list(found.values())


def _num_rows(file: Path) -> int:
    return pq.read_metadata(file).num_rows if file.suffix == ".parquet" else len(Dataset.from_file(str(file)))


def _tried(action: Callable[[], Any], what: Any) -> Any:
    """Return the result of a library call. Its errors have no common base class, so all become ``ValueError``."""
    try:
        return action()
    except Exception as error:
        raise ValueError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error


def _check(columns: list[str], found: list[str]) -> None:
    for column in columns:
        check_column(column, found, "the data set")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the library's progress bars."""
    was_shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if was_shown:
            datasets.enable_progress_bars()


def _digest(*parts: Any) -> str:
    return blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
