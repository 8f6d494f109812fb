"""Tokenization of a range of samples into one file of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from omnimask.cache import checksum, write_whole
from omnimask.data.fields import names_of, raw_value
from omnimask.data.part_index import chunks_of, few_samples, mean_tokens, part_columns
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.raw_digest import memory_of
from omnimask.data.sample_errors import of_one_sample
from omnimask.data.sample_reads import read_samples
from omnimask.data.scans import Columns
from omnimask.interfaces import Dataset, Draw, Splits, TokenizesColumns, TokenizesMany, Tokens, TokenSpec
from omnimask.token_store.part_border import checked_columns
from omnimask.token_store.range_file import RowList, file_name, write_rows

Parts: TypeAlias = "Sequence[tuple[int, int, int, Mapping[str, Tokens] | Exception]]"
"""(start, stop, number of tokens, tokens by modality) of the parts of one sample; an exception for a part that has no tokens."""
_One: TypeAlias = "tuple[int, Any, Sequence[tuple[int, int, int]] | Exception]"
"""Number of a sample, its raw value, and its parts with their numbers of tokens, or why it is unreadable."""


@dataclass(frozen=True)
class TokenSource:
    """Samples to tokenize: the whole samples of a data set, as a recipe reads them.

    ``readers`` by modality, without augmentation. ``fields`` of the samples are kept beside their tokens.
    """

    dataset: Dataset
    readers: Mapping[str, ModalityPipeline]
    fields: tuple[str, ...] = ()

    @property
    def specs(self) -> dict[str, TokenSpec]:
        return {name: reader.tokenizer.spec for name, reader in self.readers.items()}


def tokenize_range(source: TokenSource, folder: Path, numbers: range, size: int) -> Columns:
    """Write the file of one range, and return the columns of its parts, with the file's ``bytes`` and ``crc32``, and
    ``per_file``, the samples of a file.

    Args:
        source: of the samples.
        folder: of the store.
        numbers: of the range's samples.
        size: samples in a range, except the last one.

    Raises:
        OSError: the file cannot be written.
    """
    rows = RowList()
    columns = part_columns(source.dataset, _into(rows, source, numbers))
    file = folder / file_name(numbers.start // size)
    write_whole(file, lambda stream: write_rows(stream, rows, source.specs))
    about = {"bytes": file.stat().st_size, "crc32": checksum(file), "per_file": size}
    return {**columns, **{name: np.array([value]) for name, value in about.items()}}


def tokens_per_sample(source: TokenSource) -> float:
    """Return the average number of tokens of a few samples."""
    few = (_into(RowList(), source, range(number, number + 1)) for number in few_samples(source.dataset))
    return mean_tokens(sum(part[2] for part in parts) for ((*_, parts),) in few if not isinstance(parts, Exception))


def _into(rows: RowList, source: TokenSource, numbers: range) -> Iterator[_One]:
    """Add the tokens of samples to ``rows``. Yield the number, the raw value, and the parts with their numbers of tokens."""
    for chunk in chunks_of(_read(source, numbers), size_of=_memory_of):
        for is_readable, items in groupby(chunk, lambda item: isinstance(item[1], _Raw)):
            if is_readable:
                yield from _add_many(rows, source, cast("list[tuple[int, _Raw]]", list(items)))
                continue
            for number, item in items:  # empty, or unreadable
                if isinstance(item, Exception):
                    rows.add(source.dataset.key(number), None, {}, str(item))
                yield number, None, cast("Exception | tuple[()]", item)


def _add_many(rows: RowList, source: TokenSource, read: Sequence[tuple[int, _Raw]]) -> Iterator[_One]:
    """Add the tokens of samples to ``rows``; see :func:`_into`."""
    (name, reader), *others = source.readers.items()
    if others:
        yield from (_add(rows, number, raw, _joint(source.readers, raw)) for number, raw in read)
        return
    values = [raw.values[name] for _, raw in read]
    try:
        with of_one_sample:
            tokenizer = cast(TokenizesMany, reader.tokenizer)
            together = tokenizer.tokenize_columns(values) if isinstance(tokenizer, TokenizesColumns) else None
            found = tokenizer.tokenize_many(values) if together is None else []
            if together is None and len(found) != len(read):
                raise ValueError(f"tokenize_many of {len(read)} values returned {len(found)} lists of parts")
    except (OSError, ValueError):
        if len(read) == 1:
            yield _add(rows, *read[0], _alone(reader, name, read[0][1]))
            return
        for half in (read[: len(read) // 2], read[len(read) // 2 :]):  # a bad sample costs the others a few more calls
            yield from _add_many(rows, source, half)
        return
    if together is not None:
        yield from _add_columns(rows, reader, name, read, together)
    else:
        for (number, raw), parts in zip(read, found, strict=True):
            yield _add(rows, number, raw, _checked(reader, name, raw, parts))


def _add_columns(
    rows: RowList, reader: ModalityPipeline, name: str, read: Sequence[tuple[int, _Raw]], found: Any
) -> Iterator[_One]:
    keys = [raw.key for _, raw in read]
    columns = checked_columns(reader, found, keys)
    rows.add_columns(keys, name, columns, [raw.fields for _, raw in read])
    bounds = list(zip(columns.start.tolist(), columns.stop.tolist(), columns.lengths.tolist(), strict=True))
    first = 0
    for (number, raw), count in zip(read, columns.parts.tolist(), strict=True):
        yield number, raw.digested, bounds[first : first + count]
        first += count


def _add(rows: RowList, number: int, raw: _Raw, parts: Parts | Exception) -> _One:
    """Add the tokens of one sample to ``rows``."""
    if isinstance(parts, Exception):
        rows.add(raw.key, None, {}, str(parts))
        return number, None, parts
    for *_, tokens in parts:
        if isinstance(tokens, Exception):
            rows.add(raw.key, None, {}, str(tokens))
        else:
            rows.add(raw.key, tokens, raw.fields)
    return number, raw.digested, [part[:3] for part in parts]


class _Raw(NamedTuple):
    """Decoded raw values of one sample by modality, its key, and its kept fields."""

    key: str
    values: Mapping[str, Any]
    fields: Mapping[str, Any]

    @property
    def digested(self) -> Any:
        """The raw value whose digest the index of parts holds: that of the only modality."""
        return next(iter(self.values.values())) if len(self.values) == 1 else self.values


def _memory_of(item: Any) -> int:
    return memory_of(item.digested if isinstance(item, _Raw) else item)


def _read(source: TokenSource, numbers: range) -> Iterator[tuple[int, _Raw | Parts | Exception]]:
    """Yield the number and the raw values of each sample; no parts if it is empty, an exception if it is unreadable."""
    for number, sample in read_samples(source.dataset, numbers):
        yielded: _Raw | Parts | Exception
        if isinstance(sample, Exception):
            yielded = sample
        else:
            try:
                with of_one_sample:
                    yielded = _raw(source, number, sample)
            except (OSError, ValueError) as error:
                yielded = error
        yield number, yielded


def _raw(source: TokenSource, number: int, sample: Mapping[str, Any]) -> _Raw | Parts:
    values: dict[str, Any] = {}
    for name, reader in source.readers.items():
        if (value := raw_value(sample, reader.field)) is not None:
            values[name] = reader.decoded(value)
    if not values:
        mains = [names_of(reader.field)[0] for reader in source.readers.values()]
        if not any(name in sample for name in mains):
            raise ValueError(f"it has no field {mains[0]!r}; it has {sorted(sample)}")
        return ()
    fields = {name: _scalar(sample[name]) for name in source.fields if sample.get(name) is not None}
    return _Raw(source.dataset.key(number), values, fields)


def _scalar(value: Any) -> Any:
    """Return a label as a value that JSON can hold; any other value as text, which no label accepts."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float) else repr(value)


def _checked(reader: ModalityPipeline, name: str, raw: _Raw, parts: Sequence[tuple[int, int, Tokens]]) -> Parts:
    return [(start, stop, len(tokens), {name: reader.checked(tokens, raw.key)}) for start, stop, tokens in parts]


def _alone(reader: ModalityPipeline, name: str, raw: _Raw) -> Parts | Exception:
    """Split and tokenize one sample, with an exception for each part that has no tokens."""
    tokenizer, value = reader.tokenizer, raw.values[name]
    if not isinstance(tokenizer, Splits):
        return _joint({name: reader}, raw)
    try:
        with of_one_sample:
            cut = [(*part, tokenizer.part(value, *part[:2])) for part in tokenizer.split(value)]
    except (OSError, ValueError) as error:
        return error
    return [(start, stop, count, _part(reader, name, raw, part, count)) for start, stop, count, part in cut]


def _part(reader: ModalityPipeline, name: str, raw: _Raw, value: Any, count: int) -> Mapping[str, Tokens] | Exception:
    try:
        tokens = reader.tokenized(value, Draw(0, 0, raw.key))
    except (OSError, ValueError) as error:
        return error
    if len(tokens) != count:
        return ValueError(f"a part has {len(tokens):,} tokens, but {count:,} according to the tokenizer's split")
    return {name: tokens}


def _joint(readers: Mapping[str, ModalityPipeline], raw: _Raw) -> Parts | Exception:
    """Tokenize a whole sample, which has no parts."""
    try:
        tokens = {name: readers[name].tokenized(value, Draw(0, 0, raw.key)) for name, value in raw.values.items()}
    except (OSError, ValueError) as error:
        return error
    return [(0, 0, sum(map(len, tokens.values())), tokens)]
