"""Every test of data sets has a cache of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OMNIMASK_CACHE", str(folder))
    return folder


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files by relative name, an hour old: what is known of files that have just changed is not kept."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        age(root / name)
    return root


def age(path: Path) -> None:
    """Make a file an hour old."""
    before = time.time() - 3600
    os.utime(path, (before, before))
