"""JSON lines as a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from omnimask.interfaces import Context
from omnimask_datasets.byte_ranges import by_line, find_ranges
from omnimask_datasets.rows import RangeRows
from omnimask_datasets.sources import find_sources


class Jsonl(RangeRows):
    """The lines of a file, or of the files of a folder that end in .jsonl, .ndjson or these and .gz; each is a JSON object.

    Gives the object's values by name. Blank lines are left out. Lines are read one by one, whatever the file's size; packed files
    are unpacked into the cache.

    Args:
        path: a folder, or one file, whatever it ends in.
        key: the column whose values name the samples; null: they are named by file and line.
        labels: the column that the field ``label`` comes from; null: the column ``label``, where there is one.
        follow_links: whether links to folders outside of a folder are followed. Links to files always are.
    """

    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def __init__(
        self, context: Context, *, path: Path, key: str | None = None, labels: str | None = None, follow_links: bool = False
    ) -> None:
        del context
        ranges = find_ranges(find_sources(path, self.extensions, follow_links=follow_links), by_line, "line")
        if not len(ranges):
            raise ValueError(f"{path} has no rows")
        super().__init__(ranges, key, labels)

    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """The object in a line."""
        row = json.loads(data)
        if not isinstance(row, dict):
            raise ValueError(f'a row is an object like {{"name": ...}}, not {type(row).__name__}')
        return row
