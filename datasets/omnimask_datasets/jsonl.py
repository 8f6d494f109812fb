"""JSON lines as a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.byte_ranges import by_line, find_ranges
from omnimask_datasets.rows import RangeRows
from omnimask_datasets.sources import CACHE, INSTEAD, sources_at


class Jsonl(RangeRows):
    """Lines of one file, or of a folder's files that end in .jsonl or .ndjson (optionally with .gz). Each line is a JSON object.

    A sample contains the object's values by name. Blank lines are skipped. Lines are read individually, whatever the file's size.
    Packed files are unpacked into the cache.

    Args:
        path: a folder, or one file with any ending.
        url: instead of a path, a URL for ``fsspec`` (``https://host/rows.jsonl``, ``s3://bucket/folder``, ``gs://bucket/a-*.jsonl``).
            Files are copied into a cache on their first read.
        cache: location and size of the copies, timeouts and retries.
        key: column with the samples' keys; null: the keys are file and line.
        labels: column of the field ``label``; null: the column ``label`` if it exists.
        follow_links: whether to follow links to folders outside of a folder. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    instead_of: ClassVar[Mapping[str, str]] = INSTEAD

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: CacheOptions = CACHE,
        key: str | None = None,
        labels: str | None = None,
        follow_links: bool = False,
    ) -> None:
        del context
        ranges = find_ranges(sources_at(path, url, cache, self.extensions, follow_links=follow_links), by_line, "line")
        if not len(ranges):
            raise ValueError(f"{path or url} has no rows")
        super().__init__(ranges, key, labels)

    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """Return the object of a line."""
        row = json.loads(data)
        if not isinstance(row, dict):
            raise ValueError(f'a row must be an object like {{"name": ...}}, not {type(row).__name__}')
        return row
