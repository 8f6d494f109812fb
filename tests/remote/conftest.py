"""Every test has a cache of its own, and short pauses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..http_server import Server


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OMNIMASK_CACHE", str(folder))
    monkeypatch.setattr("omnimask.remote.server._LONGEST_PAUSE", 0.01)
    return folder


@pytest.fixture
def server(serve: Callable[[Path], Server], tmp_path: Path) -> Server:
    """An empty folder of a server."""
    root = tmp_path / "served"
    root.mkdir()
    return serve(root)


def copies(cache: Path) -> dict[str, int]:
    """Sizes of the copies in the cache, by the names of their files."""
    found = [path for path in (cache / "remote").glob("*") if path.suffix not in (".lock", ".part")]
    return {path.name.partition("-")[2]: path.stat().st_size for path in found}
