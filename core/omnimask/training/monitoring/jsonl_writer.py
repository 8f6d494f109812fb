"""``metrics.jsonl``: one JSON object per logged step and per validation. Non-finite values are null.

:mod:`omnimask.training.monitoring.metrics` lists the keys.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omnimask.training.checkpoints import durable_files as files

logger = logging.getLogger(__name__)


class MetricsFile:
    """Metrics file. Lines are appended, and truncated to the checkpoint's step when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: files.Appender | None = None

    def append(self, values: Mapping[str, Any]) -> None:
        """Append one line. Numbers are restored bit for bit. Raise ``OSError`` if writing fails."""
        self._file = self._file or files.Appender(self.path)
        self._file.append(json.dumps({name: _plain(value) for name, value in values.items()}, allow_nan=False))

    def sync(self) -> None:
        """Sync the lines so far to disk."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def cut(self, step: int) -> None:
        """Remove the lines after ``step``, and an incomplete one."""
        if not self.path.exists():
            return
        self.close()
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        data = "".join(json.dumps(line) + "\n" for line in kept).encode()
        if data != self.path.read_bytes():
            files.replace(self.path, data)

    def last_attempt(self) -> int:
        """Return the largest attempt in the file, or 0 if it has no lines."""
        return max((line.get("attempt", 0) for line in read_metrics(self.path)), default=0) if self.path.exists() else 0


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a ``metrics.jsonl``, without a line left incomplete by a crash."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            values = json.loads(line) if line else None
        except ValueError:
            logger.warning("skipping %s:%d, which is truncated", path, number)
            continue
        if isinstance(values, dict) and "step" in values:
            yield values


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
